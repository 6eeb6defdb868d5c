"""Whole workers in one process: real agents, trainers, masks and files. The coordinator is told
what to do by each test: whom it takes into a round, what it says of pace, what it leaves out.

    Federation   the chain as it truly is, and one round of it at a time
    Node         a worker: what `services/worker/main.py` puts together, but for sockets
"""

from collections.abc import Callable, Sequence
from pathlib import Path
from threading import Event
from typing import Any

import numpy as np

from common import canonical
from common.arrays import F32
from common.chain import advance, genesis_version
from common.documents import (
    Algorithm,
    Answer,
    Attestation,
    Commit,
    Control,
    Counters,
    Genesis,
    Numbers,
    Offer,
    Plan,
    Record,
    Stop,
)
from common.errors import UnknownFileError
from common.ids import Digest, RoundId, WorkerId
from common.progress import next_counters, progress
from common.secagg.shamir import Share, combine, x_coordinate
from common.secagg.tags import Tagger
from common.secagg.transcript import context
from common.shards import SHARD_BYTES
from common.terms import round_bits, round_terms
from common.weight import threshold
from coordinator.masked_sum import masked_aggregate, sum_masks
from coordinator.ports import Secrets
from protos.v1 import session_pb2
from services.data_store import DataStore
from services.metrics import WorkerMetrics
from services.replica import Replica, genesis_position
from services.worker.agent import Agent
from services.worker.messages import Budget, Build, Progress
from services.worker.state import StateFolder
from services.worker.trainer_process import PacedTrainer
from tests.attacks.harness import RUN, Registry, Table
from tests.attacks.small_network import SmallNetwork
from tests.small_run import Blobs, bytes_of, values_of
from worker.masked_tier import MaskedTier
from worker.model import ParameterVector
from worker.pace import OwnPace


class InProcessTrainer:
    """`services/worker/trainer.py`, without its process: it steps when it is told to."""

    def __init__(self, genesis: Genesis, name: WorkerId) -> None:
        self.progress: Progress | None = None
        self._answers: list[object] = []
        self._paced = PacedTrainer(self, Build(genesis, name, {}))

    def send(self, message: object) -> None:
        if isinstance(message, Progress):
            self.progress = message
        else:
            self._answers.append(message)

    async def tell(self, message: object) -> None:
        self._paced.handle(message)

    async def _ask(self, message: object) -> Any:
        self._paced.handle(message)
        return self._answers.pop()

    close = merge = roll_back = save = _ask

    def train(self, num_steps: int) -> None:
        """Take so many steps, or as many as it may."""
        for _ in range(num_steps):
            if self._paced.may_step():
                self._paced.step()
        self._paced.report()

    @property
    def pending(self) -> Numbers:
        return self._paced.trainer.pending()

    @property
    def theta(self) -> F32:
        return np.concatenate([v.copy() for _, _, v in self._paced.trainer.vector.leaves()])


class Node:
    """See the module docstring."""

    def __init__(self, federation: "Federation", name: WorkerId, folder: Path) -> None:
        self.name, self._federation = name, federation
        self.sent: list[session_pb2.ConnectRequest] = []
        self.spool: dict[RoundId, list[bytes]] = {}
        genesis, state = federation.genesis, StateFolder(folder)
        store = DataStore(state.data)

        def fetch(digest: Digest, kind: str, most_bytes: int) -> None:
            if digest not in federation.blobs.files:
                raise UnknownFileError(kind)
            store.write(federation.blobs.files[digest])

        async def push(
            round_id: RoundId,
            num_shards: int,
            read_shard: Callable[[int], bytes],
            *,
            give_up: Event,
        ) -> None:
            self.spool[round_id] = [read_shard(i) for i in range(num_shards)]

        self._pace = OwnPace(genesis.algorithm)
        self.replica = Replica(genesis, store, fetch, genesis_position(genesis))
        self.trainer = InProcessTrainer(genesis, name)
        self.agent = Agent(
            name,
            genesis,
            boot="b",
            state=state,
            replica=self.replica,
            trainer=self.trainer,  # type: ignore[arg-type]
            tier=federation.seat(name),
            push=push,
            send=self.sent.append,
            redial=lambda: None,
            link_bps=lambda: 0,
            metrics=WorkerMetrics(run=RUN, worker=name, software="test"),
            now_s=lambda: 0.0,
            resolve_timeout_s=1e9,
        )

    def last(self, kind: str) -> Any:
        return next(m for m in reversed(self.sent) if m.WhichOneof("message") == kind)

    async def paced(self, local_steps: int, *, paused: bool = False) -> None:
        """Be told a pace."""
        self._pace.told(local_steps, paused=paused)
        await self._go()

    async def recorded(self, record: Record) -> None:
        """Get the next record of the log."""
        await self.agent.recorded(canonical.encode(record))
        if record.commit is not None and self.name in record.commit.survivors:
            self._pace.contributed(record.version)
        self._pace.stands_on(self.replica.position.version)
        await self._go()

    async def _go(self) -> None:
        own = self._pace.bounds
        await self.agent.paced(session_pb2.Pace(local_steps=own.local_steps, paused=own.paused))
        await self.trainer.tell(Budget(own.local_steps, own.paused, own.rounds_ahead))

    def offer(self) -> Offer | None:
        """Return a new offer, None where there is too little work for one."""
        self.agent.connected = True
        num_sent = len(self.sent)
        self.agent.consider_offering()
        if len(self.sent) == num_sent:
            return None
        return canonical.decode(self.last("offer").offer.offer, Offer)

    @property
    def update(self) -> F32:
        """What it has learned and nobody has: base - theta."""
        return self._federation.theta() - self.trainer.theta


class Federation:
    """See the module docstring.

    Args:
        names: of the workers, each with a folder of its own.
        seat: what is told of each worker's place beside that: trust, unsafe.
    """

    def __init__(
        self,
        registry: Registry,
        algorithm: Algorithm,
        names: Sequence[WorkerId],
        folder: Path,
        **seat: object,
    ) -> None:
        self.algorithm, self.blobs = algorithm, Blobs()
        self._registry, self._seat = registry, seat
        vector = ParameterVector(SmallNetwork(""))
        theta = np.concatenate([v.copy() for _, _, v in vector.leaves()])
        self.schema = vector.schema
        self.version = genesis_version(
            self.schema, algorithm, 7, values_of(theta), self.blobs.write
        )
        self.blobs.write(canonical.encode(self.version))
        self.genesis = Genesis(
            run=RUN,
            seed=7,
            learner="tests.attacks.small_network:build",
            settings={},
            schema=self.schema,
            version0=canonical.digest(self.version),
            algorithm=algorithm,
            stop=Stop(versions=1000),
        )
        start = Control("resume", "ann", "")
        self._log = [self._record(None, Counters(), 0.0, control=start)]
        self.nodes = {w: Node(self, w, folder / w) for w in names}

    async def begin(self) -> None:
        """Let everybody begin at version 0."""
        welcome = session_pb2.Welcome(start_record=canonical.encode(self._log[0]), num_records=1)
        for node in self.nodes.values():
            await node.agent.welcomed(welcome)

    def seat(self, name: WorkerId) -> MaskedTier:
        """Return what the tier adds to a worker: keys, trust, rules."""
        table = Table(self._registry, self)  # type: ignore[arg-type]
        return table.cloud(name, **self._seat).tier

    def theta(self) -> F32:
        return self.blobs.vector(self.version.theta)

    async def play(self, *members: WorkerId) -> tuple[Commit, F32]:
        """Play one round as an honest coordinator does, with these members; tell everybody.

        Returns:
            The commit, and the mean of its updates: what all who see the sum can compute.
        """
        nodes = [self.nodes[w] for w in sorted(members)]
        offers = tuple(o for n in nodes if (o := n.offer()) is not None)
        assert len(offers) == len(nodes), "a member has too little work to offer"
        plan = self._plan(offers)
        answers, sealed = {}, {}
        for n in nodes:
            await n.agent.planned(canonical.encode(plan))
            answer = n.last("answer").answer
            answers[n.name] = canonical.decode(answer.answer, Answer)
            sealed[n.name] = dict(answer.sealed)
        round_id = bytes.fromhex(plan.round)
        told = {w: canonical.encode(a) for w, a in answers.items()}
        for n in nodes:
            for_n = {w: s[n.name] for w, s in sealed.items() if w != n.name}
            await n.agent.named(session_pb2.Members(round_id=round_id, answers=told, sealed=for_n))
            assert n.agent._upload is not None
            await n.agent._upload.task
        for n in nodes:
            survivors = session_pb2.Survivors(round_id=round_id, survivors=plan.roster)
            await n.agent.unmasking.survived(survivors)
        commit, content, mean = self._sum(plan, answers, nodes)
        await self._commit(commit, content, nodes)
        return commit, mean

    def _plan(self, offers: tuple[Offer, ...]) -> Plan:
        newest = self._log[-1]
        return Plan(
            run=RUN,
            round=RoundId(f"{len(self._log):032x}"),
            tier="masked",
            version=newest.version,
            digest=newest.digest,
            fragment=0,
            bits=round_bits(self.algorithm.codec, self.version.commits),
            threshold=threshold(len(offers), self.algorithm),
            live_speed=sum(o.speed for o in offers),
            num_live=len(offers),
            hours=0.0,
            key_timeout_s=1.0,
            upload_timeout_s=1.0,
            offers=offers,
        )

    def _sum(
        self, plan: Plan, answers: dict[WorkerId, Answer], nodes: Sequence[Node]
    ) -> tuple[Commit, bytes, F32]:
        shares = {n.name: n.last("shares").shares.shares for n in nodes}
        own = {
            w: combine(
                [
                    Share.from_bytes(x_coordinate(by, plan.roster), given[w].own)
                    for by, given in shares.items()
                ],
                plan.threshold,
            ).hex()
            for w in plan.roster
        }
        secrets = Secrets(context=context(plan, answers).hex(), own=own, lost={})
        numbers = {w: a.numbers for w, a in answers.items()}
        terms = round_terms(self.genesis, self.version, plan, numbers, self.blobs.read)
        uploads = {}
        for n in nodes:
            spooled = bytearray(terms.layout.total_bytes)
            for i, piece in enumerate(n.spool[plan.round]):
                spooled[i * SHARD_BYTES : i * SHARD_BYTES + len(piece)] = piece
            uploads[n.name] = bytes_of(bytes(spooled))
        found = bytearray()
        lanes = masked_aggregate(
            terms.layout,
            uploads,
            sum_masks(plan, secrets),
            Tagger(terms.layout, (bytes.fromhex(secrets.context),)),
            terms.scales.energy_cap,
            found.extend,
        )
        content = bytes(found)
        data = content[: terms.layout.data_bytes]
        mean = terms.codec.mean(0, terms.layout.num_blocks, data, lanes.v).reshape(-1)
        digest = self.blobs.write(content)
        commit = Commit(plan, numbers, plan.roster, lanes, digest, len(content))
        return commit, content, mean[: self.schema.length]

    async def _commit(self, commit: Commit, content: bytes, members: Sequence[Node]) -> None:
        self.version = advance(
            self.genesis,
            self.version,
            commit,
            bytes_of(content),
            self.blobs.read,
            self.blobs.write,
        )
        self.blobs.write(canonical.encode(self.version))
        before = self._log[-1]
        counters = next_counters(self.genesis, before.counters, commit, 0)
        versions = before.version + 1
        at = progress(self.genesis, versions, counters.tokens, commit.plan.hours)
        record = self._record(before, counters, at, versions - before.version, commit=commit)
        self._log.append(record)
        for node in self.nodes.values():
            await node.recorded(record)
        for by in members:  # what they verified themselves, the others believe on their word
            word = canonical.encode(
                canonical.decode(by.last("attest").attest.attestation, Attestation)
            )
            for node in self.nodes.values():
                if node is not by:
                    await node.agent.attested(session_pb2.Attest(attestation=word))

    def _record(
        self, before: Record | None, counters: Counters, at: float, moved: int = 0, **body: Any
    ) -> Record:
        return Record(
            seq=0 if before is None else before.seq + 1,
            previous=canonical.digest(self.genesis if before is None else before),
            epoch=0,
            time_s=0,
            version=moved if before is None else before.version + moved,
            digest=canonical.digest(self.version),
            progress=at,
            counters=counters,
            **body,
        )


def cosine(a: F32, b: F32) -> float:
    """Return that of the angle between two vectors: 1 = the same but for length."""
    x, y = a.astype(float), b.astype(float)
    return float(x @ y / np.sqrt((x @ x) * (y @ y)))
