"""A federation of real workers, in one process, and a coordinator that may write each its own log.

    World   the true chain, the honest coordinator's arithmetic, the files that anybody may fetch
    Node    one cloud: the real worker, replica and state folder; what it was told and what it sent

A round is played as an honest coordinator plays it, masks, tags and all. What stands in the logs
that the nodes are shown is up to the test. It is long because the honest round and what may be
forged of it stand on one page.
"""

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from threading import Event
from typing import Any

import numpy as np
from typing_extensions import override

from common import canonical
from common.arrays import F32
from common.chain import advance
from common.documents import (
    Algorithm,
    Answer,
    Attestation,
    Commit,
    Control,
    Numbers,
    Offer,
    Origin,
    Plan,
    Record,
    RollbackOrder,
    SideValues,
    Version,
)
from common.ids import Digest, RoundId, WorkerId
from common.secagg.tags import MODULUS, Tagger
from common.secagg.transcript import signed_content
from common.shards import pack_tag_sums, unpack_tags
from common.terms import round_bits
from common.words import run_state, word_about
from protos.v1 import session_pb2
from services.worker.messages import Begin, Merge, Return
from tests.attacks.harness import OPERATOR, Answers, Eve, Registry, Table
from tests.rig.rounds.masked_members import MASKED
from tests.rig.rounds.small_chain import Coordinator
from tests.rig.rounds.small_run import Run, bytes_of
from tests.rig.workers.local_worker import LocalWorker
from tests.unit.services.worker.test_working import FakeTrainer
from worker.rounds.tier import RevealedShares

Uploads = dict[RoundId, list[bytes]]


@dataclass
class Node:
    """See the module docstring; made again over the same folder it is what starts after a kill.

    Args:
        make_trainer: returns what it trains with.
        seat: what is told of its place beside that: trust, unsafe.
    """

    world: "World"
    name: WorkerId
    folder: Path
    make_trainer: Callable[["Node"], Any] | None = None
    seat: Mapping[str, Any] = field(default_factory=dict)
    uploads: Uploads = field(default_factory=dict)
    withheld: set[Digest] = field(default_factory=set)

    def __post_init__(self) -> None:
        world, genesis = self.world, self.world.run.genesis
        theta = world.run.theta() - np.float32(0.01)
        make: Callable[[Node], Any] = self.make_trainer or (lambda _: FakeTrainer(theta))
        self.trainer = make(self)
        self.cloud = Table(world.registry, world.run).cloud(self.name, **self.seat)
        self.log: list[Record] = []
        self.worker = LocalWorker(
            self.name,
            genesis,
            self.folder,
            tier=self.cloud.tier,
            fetch=world.fetch_into(self.withheld),
            push=self._push,
            trainer=self.trainer,
            now_s=lambda: 0.0,
            resolve_timeout_s=1e9,
        )
        self.replica, self.sent = self.worker.replica, self.worker.sent

    async def _push(
        self,
        round_id: RoundId,
        num_shards: int,
        read_shard: Callable[[int], bytes],
        *,
        give_up: Event,
    ) -> None:
        self.uploads[round_id] = [read_shard(i) for i in range(num_shards)]

    @property
    def stands_on(self) -> Digest:
        return self.replica.position.digest

    @property
    def trained_on(self) -> list[int]:
        """Return the numbers of the versions that the trainer was given, in order."""
        kinds = (Begin, Merge, Return)
        return [m.clock.version for m in self.trainer.told if isinstance(m, kinds)]

    async def join(self, log: Iterable[Record]) -> None:
        """Open a session with whoever holds this log, and hear what of it is new."""
        self.log = list(log)
        begun = self.worker.conduct.begun
        await self.worker.welcomed(self.log[0], len(self.log))
        seen = self.replica.position.next_seq if begun else 1
        for record in self.log[seen:]:
            await self.worker.recorded(record)

    async def hear(self, record: Record) -> None:
        """Hear the next record of the log that this node is shown."""
        self.log.append(record)
        await self.worker.recorded(record)

    async def told(self, *words: Attestation) -> None:
        for word in words:
            await self.worker.attested(word)

    def last(self, kind: str) -> Any:
        return [m for m in self.sent if m.WhichOneof("message") == kind][-1]

    def words(self) -> list[Attestation]:
        """Return the words that it gave, or passed on."""
        found = (m.attest for m in self.sent if m.WhichOneof("message") == "attest")
        return [canonical.decode(m.attestation, Attestation) for m in found]

    async def offers(self) -> list[Offer]:
        await self.worker.consider_offering()
        return self.worker.offers()

    async def paced(self, local_steps: int, *, paused: bool = False) -> None:
        await self.worker.paced(local_steps, paused=paused)


class World(Coordinator):
    """See the module docstring. `records` are the true log."""

    def __init__(
        self,
        registry: Registry,
        folder: Path,
        names: tuple[WorkerId, ...],
        algorithm: Algorithm = MASKED,
        make_run: Callable[[Algorithm], Run] = Run,
    ) -> None:
        super().__init__(make_run(algorithm))
        self.registry, self.folder, self.names = registry, folder, names
        self.num_plans = 0
        self.states: dict[int, Version] = {0: self.run.version}
        self.append(control=Control("resume", "ann", ""))

    @property
    def id(self) -> Digest:
        return canonical.digest(self.run.genesis)

    def node(
        self,
        name: WorkerId,
        make_trainer: Callable[[Node], Any] | None = None,
        **seat: Any,
    ) -> Node:
        return Node(self, name, self.folder / name, make_trainer, seat)

    # The true log -------------------------------------------------------------------------------

    @override
    def commit(self, commit: Commit, content: bytes) -> Record:
        record = super().commit(commit, content)
        self.states[self.number] = self.run.version
        return record

    def return_to(self, version: int, order: RollbackOrder | None) -> Record:
        """Roll back, with the words that the version has."""
        record = self.roll_back(version, self.states[version], order, self.origin(version))
        self.states[self.number] = self.run.version
        return record

    def origin(self, version: int) -> Origin | None:
        made = next(
            (r for r in self.records if r.version == version and r.commit is not None), None
        )
        if made is None or made.commit is None:
            return None
        words = {w: self.word(w, made).signature or "" for w in self.names}
        return Origin(made.commit.plan, made.version, run_state(made), words)

    def order(self, version: int, **changes: Any) -> RollbackOrder:
        """Return what an operator signs for the true log as it is, but for `changes`."""
        who = self.registry.of(WorkerId(OPERATOR))
        digest = canonical.digest(self.states[version])
        order = RollbackOrder(self.id, version, digest, len(self.records), who.certificate)
        order = replace(order, **changes)
        return replace(order, signature=who.sign("rollback", signed_content(order)).hex())

    def word(self, name: WorkerId, record: Record, **changes: Any) -> Attestation:
        """Return what a member signs of a record, as one that colludes signs anything."""
        unsigned = replace(word_about(self.id, record, name), **changes)
        signature = self.registry.of(name).sign("head", signed_content(unsigned))
        return replace(unsigned, signature=signature.hex())

    # Rounds -------------------------------------------------------------------------------------

    def plan(self, offers: Iterable[Offer], **changes: Any) -> Plan:
        self.num_plans += 1
        return self.run.draft(self.num_plans, offers, **{"version": self.number, **changes})

    async def exposed(self, nodes: Iterable[Node], **changes: Any) -> "Played":
        """Play a round up to what members send and reveal."""
        members = list(nodes)
        for node in members:
            node.worker.conduct.connected = True
        plan = self.plan([(await node.offers())[-1] for node in members], **changes)
        answers, sealed = {}, {}
        for node in members:
            await node.worker.planned(plan)
            said = node.last("answer").answer
            answers[node.name] = canonical.decode(said.answer, Answer)
            sealed[node.name] = dict(said.sealed)
        for node in members:
            named = session_pb2.Members(
                round_id=bytes.fromhex(plan.round),
                answers={w: canonical.encode(a) for w, a in answers.items()},
                sealed={w: s[node.name] for w, s in sealed.items() if w != node.name},
            )
            await node.worker.named(named)
            await node.worker.uploaded()
        return Played(self, plan, answers, {n.name: n for n in members})

    async def round(self, nodes: Iterable[Node], **changes: Any) -> tuple[Commit, bytes]:
        """Play a whole round as an honest coordinator does; return what it would record."""
        return await (await self.exposed(nodes, **changes)).summed()

    async def relayed(self, nodes: Mapping[WorkerId, Node]) -> None:
        """Pass all words on to all."""
        words = [word for node in nodes.values() for word in node.words()]
        for node in nodes.values():
            await node.told(*words)

    async def stepped(self, nodes: Mapping[WorkerId, Node]) -> Record:
        """Commit a version that all nodes made, and bring all of them there."""
        record = self.commit(*await self.round(nodes.values()))
        for node in nodes.values():
            await node.hear(record)
        await self.relayed(nodes)
        return record

    def crafted(
        self, base: Version, number: int, offers: Iterable[Offer], move: F32
    ) -> tuple[Commit, Version]:
        """Return a commit that no member had a part in, which moves theta about as `move` says."""
        plan = self.plan(offers, version=number, digest=canonical.digest(base))
        plan = replace(plan, bits=round_bits(self.run.algorithm.codec, base.commits))
        scales = self.run.blobs.vector(base.scales)
        length = float(np.sqrt(np.sum(np.square(move)) / 4096)) / float(scales.max())
        steps = 20 + math.ceil(length / self.run.algorithm.schedule.peak)  # rates have a bound
        rates = max(length, steps * 1e-4)
        numbers = dict.fromkeys(plan.roster, Numbers(10**6, rates, 0, 65535, steps, 16))
        eve = Run(self.run.algorithm, self.run.schema, blobs=self.run.blobs)
        eve.version, eve.genesis = base, self.run.genesis
        terms = eve.terms(plan, numbers)
        outer = self.run.algorithm.outer
        aim = (eve.theta() + move / (outer.learning_rate * (1 + outer.momentum))).astype("<f4")
        dtype = np.dtype({8: "i1", 16: "<i2"}[plan.bits])
        data, v = np.zeros(terms.layout.length, np.int64), 0
        for i, worker in enumerate(plan.roster):
            payload, _ = eve.payload(terms, worker, aim, seed=i + 1)
            data += np.frombuffer(payload[: terms.layout.data_bytes], dtype)
            v += terms.weights.v[worker]
        energies = np.full(terms.layout.energy_bytes // 4, 256 * len(plan.offers), "<u4").tobytes()
        tags = pack_tag_sums([(0, 0)] * terms.layout.num_tagged)
        content = data.astype(dtype).tobytes() + energies + tags
        size, aggregate = len(content), canonical.digest_of(content)
        commit = Commit(plan, numbers, plan.roster, SideValues(v, 0, 0), aggregate, size)
        self.run.blobs.write(content)
        read, write = self.run.blobs.read, self.run.blobs.write
        after = advance(self.run.genesis, base, commit, bytes_of(content), read, write)
        write(canonical.encode(after))
        return commit, after


@dataclass
class Played:
    """A round whose members have sent their uploads, and what a coordinator makes of them."""

    world: World
    plan: Plan
    answers: Mapping[WorkerId, Answer]
    nodes: Mapping[WorkerId, Node]

    async def summed(self) -> tuple[Commit, bytes]:
        """Have everybody reveal its shares, and sum."""
        plan, eve = self.plan, Eve(self.world.run)
        told = session_pb2.Survivors(round_id=bytes.fromhex(plan.round), survivors=plan.roster)
        for name, node in self.nodes.items():
            await node.worker.hear(survivors=told)
            own = {WorkerId(w): s.own for w, s in node.last("shares").shares.shares.items()}
            eve.learn(plan, name, RevealedShares(own, {}))
            eve.spool[plan.round, name] = node.uploads[plan.round]
        return eve.commit(plan, Answers(dict(self.answers), {}), plan.roster)

    def kappa(self, of: WorkerId) -> bytes:
        """Return what a member knows and may give away."""
        stage = self.nodes[of].worker.round.stage
        assert stage is not None
        return bytes.fromhex(stage.kappa)

    def forged(self, commit: Commit, content: bytes, kappa: bytes) -> tuple[Commit, bytes]:
        """Return another sum whose tags are right: the values reversed, as only kappa lets one."""
        run, plan = self.world.run, self.plan
        numbers = {w: answer.numbers for w, answer in self.answers.items()}
        layout = run.terms(plan, numbers).layout
        tagger = Tagger(layout, (kappa,))
        dtype = np.dtype({8: "i1", 16: "<i2"}[plan.bits])
        values = np.frombuffer(content[: layout.data_bytes], dtype)
        data = (-values).astype(dtype).tobytes()
        end = layout.data_bytes + layout.energy_bytes
        tags = []
        for shard, (public, secret) in enumerate(unpack_tags(content[end:], layout)):
            moved = 0
            if shard < layout.num_data_shards:
                offset, length = layout.shard(shard)
                (before,) = tagger.tags(shard, content[offset : offset + length])
                (after,) = tagger.tags(shard, data[offset : offset + length])
                moved = after - before
            tags.append((public, (secret + moved) % MODULUS))
        file = data + content[layout.data_bytes : end] + pack_tag_sums(tags)
        return replace(commit, aggregate=canonical.digest_of(file)), file
