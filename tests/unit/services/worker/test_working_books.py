"""What a worker keeps of its work, to the bit, over any sequence of rounds, ends and restarts.

The real worker, trainer, state folder and replica stand beside a reference that follows
docs/arithmetic.md in float32: `tests/rig/rounds/arithmetic.py` for what commits decide,
`tests/rig/rounds/kept_work.py` for what is the worker's own. After every event, bit for bit:

    theta    the live parameters; base, and so the head's theta, acc, momentum, scales, Phi
    e        the residual on the disk: y - q*step where a block travelled, else what it was

and, but for float32's roundings, nothing is lost: in every block

    trained         = contributed + spent + (theta - base)
    H . signs . w*D = q*step of all that was encoded + e        topk without H; where beta_e = 1

Only the rotation is the product's own: the page does not fix its bits, so it is compared closely.
C is off. It is long because all that may happen to one worker has its method here.
"""

import asyncio
import random
import shutil
import tempfile
from collections.abc import Callable, Coroutine
from dataclasses import replace
from pathlib import Path
from threading import Event
from typing import Any

import numpy as np
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from common import canonical
from common.codec.loops import rotate
from common.documents import (
    Abort,
    Algorithm,
    Answer,
    Codec,
    Numbers,
    Offer,
    Outer,
    Plan,
    Record,
    Takeover,
    Version,
)
from common.ids import RoundId, WorkerId
from common.shards import PayloadLayout, unpack_side_values
from common.terms import round_terms
from common.weight.share import share
from coordinator.sums.aggregate import aggregate
from protos.v1 import session_pb2
from services.worker.messages import Build, Progress
from services.worker.trainer_process import PacedTrainer
from tests.rig.rounds import arithmetic
from tests.rig.rounds.arithmetic import BLOCK, F32, F64, Rules
from tests.rig.rounds.kept_work import Kept, Round, Sent, blocks_of, vector
from tests.rig.rounds.small_chain import Coordinator
from tests.rig.rounds.small_run import NUMBERS, SEED, Run, bytes_of, random_vector
from tests.rig.workers.local_worker import LocalWorker
from tests.rig.workers.walking_learner import SCHEMA, Walking, stride
from worker.rounds.conduct import SAVE_INTERVAL_S
from worker.rounds.participation import RoundPhase
from worker.rounds.round import WorkState
from worker.rounds.tls_tier import TlsTier

ME = WorkerId("aws")
OTHERS = tuple(WorkerId(w) for w in ("azure", "gcp", "onprem"))
SPEEDS = (4, 2, 1)
NUM_BLOCKS = SCHEMA.num_blocks
FOLDER = Path("/dev/shm") if Path("/dev/shm").is_dir() else None

CODECS = (
    Codec("dense", 8, 16),
    Codec("dense", 4, 12),
    Codec("cyclic", 8, 16, one_in=3),
    Codec("cyclic", 12, 8, one_in=2),
    Codec("randk", 8, 8, one_in=3),
    Codec("heavy", 4, 8, one_in=4),
    Codec("topk", 2, 2, one_in=64),
    Codec("float32", 32, 32),
)

SIZES = (0.0, 1e-4, 0.01, 0.01, 1.0)
ENDS = ("contributed", "dropped", "aborted", "given up", "lost")


def algorithm(codec: Codec, *, masked: bool, momentum: float, max_staleness: float) -> Algorithm:
    """In the masked tier nothing is masked here: its work is exposed, and spent, all the same."""
    return Algorithm(
        tier="masked" if masked else "tls",
        min_cohort=1,
        max_staleness=max_staleness,
        max_share=0.95,
        clipping=False,
        local_steps=1,
        min_local_steps=1,
        codec=codec,
        outer=Outer("nesterov" if momentum else "sgd", 0.7, momentum),
    )


class Trained:
    """The trainer in this process."""

    def __init__(self, build: Build) -> None:
        self.progress: Progress | None = None
        self._answer: Any = None
        self.paced = PacedTrainer(self, build, lambda: 0.0)

    @property
    def learner(self) -> Walking:
        learner = self.paced.trainer.learner
        assert isinstance(learner, Walking)
        return learner

    def send(self, message: object) -> None:
        if isinstance(message, Progress):
            self.progress = message
        else:
            self._answer = message

    async def tell(self, message: object) -> None:
        self.paced.handle(message)
        self.paced.report()

    async def close(self, question: object) -> Any:
        await self.tell(question)
        return self._answer

    merge = roll_back = save = close


async def push(
    round_id: RoundId, num_shards: int, read_shard: Callable[[int], bytes], *, give_up: Event
) -> None:
    assert not give_up.is_set()


class Books(RuleBasedStateMachine):
    """One worker, a coordinator that it believes, and three others that are drawn."""

    codec: Codec

    @initialize(
        masked=st.booleans(),
        momentum=st.sampled_from([0.0, 0.8]),
        decay=st.sampled_from([1.0, 1.0, 0.9]),
        max_staleness=st.sampled_from([8.0, 1.0]),
    )
    def begin(self, masked: bool, momentum: float, decay: float, max_staleness: float) -> None:
        codec = self.codec
        self.algorithm = algorithm(
            replace(codec, residual_decay=decay),
            masked=masked and codec.kind not in ("topk", "float32"),
            momentum=momentum,
            max_staleness=max_staleness,
        )
        theta = random_vector(SCHEMA, 0)
        run = Run(self.algorithm, SCHEMA, theta, OTHERS, SPEEDS)
        run.genesis = replace(run.genesis, learner="tests.rig.workers.walking_learner:build")
        self.coordinator = Coordinator(run)
        padding = np.zeros(SCHEMA.length, bool)
        for start, stop in SCHEMA.padding():
            padding[start:stop] = True
        self.sum_rules = Rules(
            codec.kind,
            codec.one_in,
            codec.step_multiple,
            SEED,
            padding,
            SCHEMA.parameter_length,
            0.7,
            momentum,
        )
        self.head = arithmetic.first(self.sum_rules, theta)
        self.versions: list[tuple[Version, arithmetic.State]] = [(run.version, self.head)]
        self.num_rounds = 0
        self.now_s = 0.0
        self.folder = Path(tempfile.mkdtemp(dir=FOLDER))
        self.loop = asyncio.new_event_loop()
        self._commit(self._plan(()), dict.fromkeys(OTHERS, NUMBERS), OTHERS, {})
        self._start()
        self._welcome()
        self.kept = Kept(self.head.theta, self.head.theta)
        self.saved = self.kept.copy()

    def teardown(self) -> None:
        if hasattr(self, "loop"):
            self._do(self.loop.shutdown_default_executor())
            self.loop.close()
            shutil.rmtree(self.folder)

    # What may happen ------------------------------------------------------------------------------

    def train(self, num: int, size: float) -> None:
        for _ in range(num):
            if self.trainer.paced.may_step():
                learner = self.trainer.learner
                learner.size = size
                self.kept.step(stride(learner.batch, size))
                self.trainer.paced.step()
        self.trainer.paced.report()

    @precondition(lambda self: self.kept.round is None)
    @rule(chance=st.integers(0, 2**32))
    def take_part(self, chance: int) -> None:
        """A round, or the beginning of one; drawn evenly, which Hypothesis does not do."""
        rng = random.Random(chance)
        self.train(rng.randint(1, 3), rng.choice(SIZES))
        self.close()
        if self.kept.round is None:  # refused
            return
        if rng.random() < 0.8:
            self.upload()
        self.train(rng.randint(0, 2), rng.choice(SIZES))
        if rng.random() < 0.3:
            self.restart()
        if rng.random() < 0.9:
            self.end_round(rng.choice(("contributed", *ENDS)), rng.randint(2, 3))

    @rule(chance=st.integers(0, 2**32))
    def go_on(self, chance: int) -> None:
        """Whatever may happen at any time, or between rounds."""
        rng = random.Random(chance)
        between = [self.commit_of_others, self.commit_of_others, self.save]
        rest = [self.takeover, self.restart] * 2 + [lambda: self.roll_back(rng.randint(1, 3))]
        self.train(rng.randint(0, 2), rng.choice(SIZES))
        rng.choice(rest + (between if self.kept.round is None else []))()

    @precondition(lambda self: self.kept.round is not None)
    @rule(end=st.sampled_from(ENDS), num_others=st.integers(2, 3))
    def end_round(self, end: str, num_others: int) -> None:
        closed = self.kept.round
        assert closed is not None
        match end:
            case "contributed" if closed.exposed is not None:
                self.commit_with_it(num_others)
            case "given up" if self.algorithm.masked:
                self.give_up()
            case "aborted":
                self.abort()
            case "lost":
                self.commit_of_another_round()
            case _:
                self.commit_of_its_round_without_it()

    def close(self) -> None:
        """A cohort closes; this worker answers, or refuses because its work is too old."""
        self._do(self.worker.consider_offering())
        offer = canonical.decode(self.sent[-1].offer.offer, Offer)
        plan = self._plan((offer,))
        self._do(self.worker.planned(plan))
        kept = self.kept
        last = self.sent[-1]
        if last.HasField("refuse"):
            assert last.refuse.rule == 15
            kept.round = Round(plan, kept.theta, kept.pending, NUMBERS)
            kept.pending = 0
            kept.spend()
            self.saved = kept.copy()
            return
        numbers = canonical.decode(last.answer.answer, Answer).numbers
        assert numbers.steps == kept.pending
        kept.round = Round(plan, kept.theta, kept.pending, numbers)
        kept.pending = 0
        self.closed = kept.copy()

    def upload(self) -> None:
        """U2 is named, and everything is uploaded."""
        closed = self.kept.round
        assert closed is not None
        if (
            self.worker.part.phase is RoundPhase.REMEMBERED
        ):  # after a restart it takes no further part
            return
        digest = canonical.digest(closed.plan)
        told = {ME: closed.numbers, **dict.fromkeys(OTHERS, NUMBERS)}
        answers = {str(w): canonical.encode(Answer(digest, w, n)) for w, n in told.items()}
        round_id = bytes.fromhex(closed.plan.round)
        self._do(self._name(session_pb2.Members(round_id=round_id, answers=answers)))
        closed.exposed = self._sent(closed, told)

    def commit_with_it(self, num_others: int) -> None:
        closed = self.kept.round
        assert closed is not None
        told = {ME: closed.numbers, **dict.fromkeys(OTHERS, NUMBERS)}
        own = self.worker.state.stage.payload.read_bytes()
        survivors = (ME, *OTHERS[:num_others])
        self._tell(self._commit(closed.plan, told, survivors, {ME: own}))
        self.kept.contribute(self.head.theta)
        self.saved = self.kept.copy()

    def commit_of_its_round_without_it(self) -> None:
        """It was dropped; in the masked tier nothing proves that its masks stay on."""
        closed = self.kept.round
        assert closed is not None
        told = dict.fromkeys(OTHERS, NUMBERS)
        if closed.exposed is not None:
            told[ME] = closed.numbers
        self._tell(self._commit(closed.plan, told, OTHERS, {}))
        self._end_unproved(closed)
        self.kept.merge(self.head.theta)
        self.saved = self.kept.copy()

    def commit_of_another_round(self) -> None:
        """A coordinator that restarted has lost its round: nobody ever says how that ended."""
        closed = self.kept.round
        assert closed is not None
        self._tell(self._commit(self._plan(()), dict.fromkeys(OTHERS, NUMBERS), OTHERS, {}))
        self._end_unproved(closed)
        self.kept.merge(self.head.theta)
        self.saved = self.kept.copy()

    def commit_of_others(self) -> None:
        self._tell(self._commit(self._plan(()), dict.fromkeys(OTHERS, NUMBERS), OTHERS, {}))
        self.kept.merge(self.head.theta)
        self.saved = self.kept.copy()

    def abort(self) -> None:
        closed = self.kept.round
        assert closed is not None
        abort = Abort(closed.plan.round, closed.plan.roster, "stopped", "")
        self._tell(self.coordinator.append(abort=abort))
        self._end_unproved(closed)
        self.saved = self.kept.copy()

    def takeover(self) -> None:
        """In the tls tier it frees whatever a round holds; in the masked tier it says nothing."""
        had = self.kept.round
        self._tell(self.coordinator.append(takeover=Takeover("b")))
        if had is not None and not self.algorithm.masked:
            self.kept.free()
            self.saved = self.kept.copy()

    def roll_back(self, back: int) -> None:
        number = max(0, len(self.versions) - 1 - back)
        version, self.head = self.versions[number]
        self.versions.append(self.versions[number])
        self._tell(self.coordinator.roll_back(number, version))
        self.kept = Kept(self.head.theta, self.head.theta)
        self.saved = self.kept.copy()

    def give_up(self) -> None:
        """Nobody says how the round ended."""
        closed = self.kept.round
        assert closed is not None
        self._wait(100.0)
        self._end_unproved(closed)
        self.saved = self.kept.copy()

    def save(self) -> None:
        self._wait(SAVE_INTERVAL_S + 1)
        self.saved = self.kept.copy()

    def restart(self) -> None:
        """It is killed; the stage is loaded, else the save."""
        was = self.kept.round
        self.kept = self.saved.copy()
        if was is not None:
            self.kept = self.closed.copy()
            self.kept.round = was
        self._start()
        self._do(self.worker.resume())
        self._welcome()
        for record in self.coordinator.records[self.replica.position.next_seq :]:
            self._tell(record)
        exposed = was is not None and was.exposed is not None
        assert (self.worker.round.work is WorkState.EXPOSED) == exposed

    # What must be so ------------------------------------------------------------------------------

    @invariant()
    def every_bit_is_as_the_page_says(self) -> None:
        version, head = self.coordinator.run.version, self.head
        read = self.coordinator.run.blobs.vector
        assert read(version.theta).tobytes() == head.theta.tobytes()
        assert read(version.scales).tobytes() == head.scales(self.sum_rules)
        if self.sum_rules.mu:
            assert read(version.state["momentum"]).tobytes() == head.momentum.tobytes()
            assert read(version.state["acc"]).tobytes() == head.acc.tobytes()
            assert read(version.state["share"]).tobytes() == head.phi.tobytes()
        live = np.empty(SCHEMA.length, np.float32)
        self.trainer.paced.trainer.vector.read(0, SCHEMA.length, live)
        assert live.tobytes() == self.kept.theta.tobytes()
        assert self._residual().tobytes() == self._e().tobytes()
        ledger, closed = self.trainer.paced.trainer.ledger, self.kept.round
        assert ledger.pending.steps == self.kept.pending
        assert ledger.steps == self.kept.pending + (0 if closed is None else closed.steps)

    @invariant()
    def nothing_is_lost(self) -> None:
        kept, codec = self.kept, self.algorithm.codec
        moved = kept.theta.astype(np.float64) - kept.base
        accounted = kept.contributed + kept.spent + moved
        np.testing.assert_allclose(accounted, kept.trained, atol=2e-5)
        if codec.residual_decay == 1 and codec.kind != "float32":
            np.testing.assert_allclose(kept.read + self._e(), kept.wire, atol=2e-5)

    # How it is done -------------------------------------------------------------------------------

    def _welcome(self) -> None:
        records = self.coordinator.records
        self._do(self.worker.welcomed(records[-1], len(records)))

    def _do(self, work: Coroutine[Any, Any, Any]) -> Any:
        return self.loop.run_until_complete(work)

    def _start(self) -> None:
        self._do(self._started())

    async def _started(self) -> None:
        genesis = self.coordinator.run.genesis
        self.trainer = Trained(Build(genesis, ME, {}))
        self.worker = LocalWorker(
            ME,
            genesis,
            self.folder / "state",
            tier=TlsTier(ME),
            fetch=self.coordinator.fetch_into(),
            push=push,
            trainer=self.trainer,
            now_s=lambda: self.now_s,
            resolve_timeout_s=50.0,
        )
        self.replica, self.sent = self.worker.replica, self.worker.sent

    def _tell(self, record: Record) -> None:
        self._do(self.worker.recorded(record))

    def _wait(self, seconds: float) -> None:
        self.now_s += seconds
        self._do(self.worker.ticked())

    async def _name(self, members: session_pb2.Members) -> None:
        await self.worker.named(members)
        await self.worker.uploaded()

    def _end_unproved(self, closed: Round) -> None:
        if self.algorithm.masked and closed.exposed is not None:
            self.kept.spend()
        else:
            self.kept.free()

    def _plan(self, own: tuple[Offer, ...]) -> Plan:
        run, number = self.coordinator.run, len(self.versions) - 1
        others = tuple(replace(o, version=number) for o in run.plan().offers)
        self.num_rounds += 1
        plan = run.draft(self.num_rounds, (*own, *others), version=number)
        return replace(plan, live_speed=plan.live_speed + self.num_rounds % 3)

    def _commit(
        self,
        plan: Plan,
        numbers: dict[WorkerId, Numbers],
        survivors: tuple[WorkerId, ...],
        own: dict[WorkerId, bytes],
    ) -> Record:
        """Commit a round, for the product and for the reference."""
        run = self.coordinator.run
        terms = round_terms(run.genesis, run.version, plan, numbers, run.blobs.read)
        spool = dict(own)
        for i, worker in enumerate(w for w in survivors if w != ME):
            seed = 10 * self.num_rounds + i
            moved = run.theta() - random_vector(SCHEMA, seed, (0.01, 1e-4, 0.3)[seed % 3])
            spool[worker], _ = run.payload(terms, worker, moved, seed)
        content = bytearray()
        side = aggregate(terms, {w: bytes_of(p) for w, p in spool.items()}, content.extend)
        content += bytes(terms.layout.aggregate_bytes(len(survivors)) - len(content))  # tags
        commit = run.commit_of(plan, numbers, tuple(sorted(survivors)), side, bytes(content))
        record = self.coordinator.commit(commit, bytes(content))
        self.head = arithmetic.step(
            self.sum_rules,
            self.head,
            bytes(content),
            bits=plan.bits,
            members=len(plan.offers),
            survivors=len(survivors),
            a=terms.weights.scale,
            sum_v=sum(terms.weights.v[w] for w in survivors),
            share=share(plan, commit.survivors),
        )
        self.versions.append((run.version, self.head))
        return record

    def _sent(self, closed: Round, numbers: dict[WorkerId, Numbers]) -> Sent:
        """Return what the page makes of the frozen work and the payload that is on the disk."""
        run, kept, rules, plan = self.coordinator.run, self.kept, self.sum_rules, closed.plan
        terms = round_terms(run.genesis, run.version, plan, numbers, run.blobs.read)
        w, a = terms.weights.u[ME] / 65535, terms.weights.scale
        blocks = arithmetic.sent(rules, self.head)
        content = self.worker.state.stage.payload.read_bytes()
        difference: F32 = blocks_of(kept.base - closed.at_close)[blocks]
        carried = np.float32(self.algorithm.codec.residual_decay) * blocks_of(self._e())[blocks]
        exact = w * difference.astype(np.float64)
        r = self.head.radius[blocks].astype(np.float64) * a
        if rules.kind == "float32":
            return Sent(blocks, self._e(), _whole(blocks, exact), _whole(blocks, exact))
        if rules.kind == "topk":
            size = arithmetic.sparse_bytes(rules.one_in)
            parts = [content[i * size : (i + 1) * size] for i in range(NUM_BLOCKS)]
            units = np.stack([arithmetic.sparse(part, rules.one_in) for part in parts])
            read = units * r.astype(np.float32)[:, None]
            y = np.float32(w) * difference + carried
        else:
            signs = arithmetic.signs(rules)
            exact = arithmetic.hadamard(signs * exact) / 64
            y = rotate(difference, signs.astype(np.float32) * np.float32(w)) + carried
            np.testing.assert_allclose(y, exact + carried, atol=1e-6 * np.abs(y).max() + 1e-30)
            used = len(blocks) * BLOCK * plan.bits // 8
            q = arithmetic.integers(content[:used], plan.bits)
            step = arithmetic.steps(rules, self.head, blocks, plan.bits, len(plan.offers), a)
            read = q.astype(np.float32) * step.astype(np.float32)[:, None]
            top = (2 ** (plan.bits - 1) - 1) // len(plan.offers)
            assert np.abs(q).max() <= top
            within = np.abs(y) < top * step[:, None]
            assert (np.abs(y - read) <= step[:, None] * 1.0001)[within].all()
            assert (np.abs(q) == top)[~within].all()
        check_energy(terms.layout, content, y, r)
        residual = self._e().copy()
        blocks_of(residual)[blocks] = y - read
        return Sent(blocks, residual, _whole(blocks, exact), _whole(blocks, read))

    def _e(self) -> F32:
        return np.zeros(SCHEMA.length, np.float32) if self.kept.e is None else self.kept.e

    def _residual(self) -> F32:
        """Return what the worker's disk has."""
        path = self.worker.working.driver.work.residual
        content = path.read_bytes() if path is not None and path.exists() else b""
        return np.frombuffer(content or bytes(4 * SCHEMA.length), "<f4")


def check_energy(layout: PayloadLayout, content: bytes, y: F32, r: F64) -> None:
    section = content[layout.side_offset : layout.side_offset + layout.side_bytes]
    _, found = unpack_side_values(section, layout)
    z = 256 * np.sum((y / r[:, None]).astype(np.float64) ** 2, axis=1) / BLOCK
    z = np.minimum(z, (2**31 - 1) // 4)
    assert len(found) == len(z)
    assert (found >= z).all()
    assert (found <= z * (1 + 2.0**-10) + 1).all()


def _whole(blocks: list[int], values: Any) -> F64:
    """Return values of some blocks among zeros, float64[length]."""
    found = vector()
    blocks_of(found)[blocks] = values
    return found


@pytest.mark.parametrize("codec", CODECS, ids=lambda c: f"{c.kind}-{c.bits}")
def test_no_bit_and_no_work_is_lost(codec: Codec) -> None:
    machine = type("Machine", (Books,), {"codec": codec})
    how = settings(max_examples=4, stateful_step_count=12, deadline=None)
    run_state_machine_as_test(machine, settings=how)
