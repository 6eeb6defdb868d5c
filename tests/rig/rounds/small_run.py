"""A small run in memory: genesis, files, plans, and whole rounds through the real arithmetic."""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from common import canonical
from common.arrays import F32, ReadBytes, ReadValues
from common.chain import advance, genesis_version
from common.documents import (
    Algorithm,
    Commit,
    Genesis,
    Numbers,
    Offer,
    Plan,
    SideValues,
    Stop,
    Version,
)
from common.ids import Digest, RoundId, WorkerId
from common.schema import ModelSchema, TensorSpec
from common.shards import PayloadLayout, ShardBytes
from common.terms import Terms, round_bits, round_fragment, round_terms
from common.thresholds import round_threshold
from coordinator.sums.aggregate import aggregate
from worker.rounds.update import Sources, measure, shards

TLS = Algorithm(tier="tls", min_cohort=1)
SMALL = ModelSchema(
    (TensorSpec("w", (3, 2000)), TensorSpec("v", (2500,))), (TensorSpec("mean", (100,)),)
)
WORKERS = tuple(WorkerId(w) for w in ("aws", "azure", "gcp", "onprem"))
SEED = 7
NUMBERS = Numbers(tokens=2000, lr_sum=0.04, age_256=0, staleness_65535=65535, steps=20, samples=16)


@dataclass
class Blobs:
    files: dict[Digest, bytes] = field(default_factory=dict)

    def read(self, digest: Digest) -> bytes:
        return self.files[digest]

    def write(self, content: bytes) -> Digest:
        digest = canonical.digest_of(content)
        self.files[digest] = content
        return digest

    def vector(self, segments: Sequence[Digest]) -> F32:
        return np.frombuffer(b"".join(self.files[d] for d in segments), "<f4").astype(np.float32)


def values_of(vector: F32) -> ReadValues:
    return lambda start, stop: vector[start:stop]


def bytes_of(content: bytes) -> ReadBytes:
    return lambda offset, length: content[offset : offset + length]


def spooled(layout: PayloadLayout, shards: Sequence[ShardBytes]) -> bytes:
    """Return shards as they lie in a spool's file, holes and all."""
    content = bytearray(layout.total_bytes)
    for index, shard in enumerate(shards):
        offset, length = layout.shard(index)
        content[offset : offset + length] = shard
    return bytes(content)


def zero_padded(schema: ModelSchema, vector: F32) -> F32:
    for start, stop in schema.padding():
        vector[start:stop] = 0
    return vector


def random_vector(schema: ModelSchema, seed: int, size: float = 1.0) -> F32:
    draw = np.random.default_rng(seed).standard_normal(schema.length)
    return zero_padded(schema, (size * draw).astype(np.float32))


@dataclass
class Run:
    """One head, and a residual for each worker."""

    algorithm: Algorithm = TLS
    schema: ModelSchema = SMALL
    theta0: F32 | None = None
    workers: tuple[WorkerId, ...] = WORKERS
    speeds: tuple[int, ...] = (4, 4, 2, 1)
    blobs: Blobs = field(default_factory=Blobs)
    residuals: dict[WorkerId, F32] = field(default_factory=dict)
    learner: str = ""

    def __post_init__(self) -> None:
        theta = random_vector(self.schema, 0) if self.theta0 is None else self.theta0
        self.version: Version = genesis_version(
            self.schema, self.algorithm, SEED, values_of(theta), self.blobs.write
        )
        self.genesis = Genesis(
            run="small",
            seed=SEED,
            learner=self.learner,
            settings={},
            schema=self.schema,
            version0=canonical.digest(self.version),
            algorithm=self.algorithm,
            stop=Stop(versions=100),
        )

    def theta(self) -> F32:
        return self.blobs.vector(self.version.theta)

    @property
    def head(self) -> tuple[int, Digest]:
        """Number and digest of the version, as an offer names them."""
        return self.version.commits, canonical.digest(self.version)

    def plan(self, live_speed: int | None = None) -> Plan:
        """Return the plan of a tls round of all workers."""
        offers = (
            Offer("small", w, "", "", *self.head, 1, 1.0, 0, 1, speed, 0)
            for w, speed in zip(self.workers, self.speeds, strict=True)
        )
        speed = sum(self.speeds) if live_speed is None else live_speed
        return self.draft(0, offers, tier="tls", live_speed=speed)

    def draft(self, num: int, offers: Iterable[Offer], **changes: Any) -> Plan:
        """Return the plan of round number `num`, an honest coordinator's but for `changes`."""
        ordered = tuple(sorted(offers, key=lambda o: o.worker))
        version, digest = self.head
        plan = Plan(
            run=self.genesis.run,
            round=RoundId(f"{num:032x}"),
            tier=self.algorithm.tier,
            version=version,
            digest=digest,
            fragment=round_fragment(self.algorithm.codec, version),
            bits=round_bits(self.algorithm.codec, version),
            threshold=round_threshold(len(ordered), self.algorithm),
            live_speed=sum(o.speed for o in ordered),
            num_live=len(ordered),
            hours=0.0,
            key_timeout_s=1.0,
            upload_timeout_s=1.0,
            offers=ordered,
        )
        return replace(plan, **changes)

    def numbers(self) -> dict[WorkerId, Numbers]:
        return dict.fromkeys(self.workers, NUMBERS)

    def terms(self, plan: Plan, numbers: Mapping[WorkerId, Numbers] | None = None) -> Terms:
        return round_terms(
            self.genesis, self.version, plan, numbers or self.numbers(), self.blobs.read
        )

    def encoded(
        self,
        terms: Terms,
        worker: WorkerId,
        theta: F32,
        key: bytes,
        own_clip: float = math.inf,
        loss_2_20: int = 2**20,
    ) -> tuple[list[ShardBytes], F32]:
        """Return one member's shards before any mask, and its next residual.

        Those of data are bytearrays, as in production: masks may overwrite them.
        """
        residual = self.residuals.get(worker)
        work = Sources(
            values_of(self.theta()),
            values_of(theta),
            None if residual is None else values_of(residual),
        )
        kept = np.zeros(self.schema.length, np.float32)

        def keep(start: int, values: F32) -> None:
            kept[start : start + len(values)] = values

        lengths = measure(terms, work)
        made = shards(terms, worker, work, lengths, keep, key, loss_2_20, own_clip)
        return list(made), kept

    def payload(
        self, terms: Terms, worker: WorkerId, theta: F32, seed: int = 1, loss_2_20: int = 2**20
    ) -> tuple[bytes, F32]:
        """Return one member's spooled payload and its next residual."""
        key = seed.to_bytes(16, "big")
        made, kept = self.encoded(terms, worker, theta, key, loss_2_20=loss_2_20)
        return spooled(terms.layout, made), kept

    def commit(
        self,
        thetas: Mapping[WorkerId, F32],
        numbers: Mapping[WorkerId, Numbers] | None = None,
        live_speed: int | None = None,
        seed: int = 1,
    ) -> tuple[Commit, bytes]:
        """Run one round of which `thetas` are the survivors; the head stays."""
        plan = self.plan(live_speed)
        terms = self.terms(plan, numbers)
        spool = {}
        for i, (worker, theta) in enumerate(sorted(thetas.items())):
            spool[worker], self.residuals[worker] = self.payload(
                terms, worker, theta, seed=1000 * seed + i
            )
        content = bytearray()
        side = aggregate(terms, {w: bytes_of(p) for w, p in spool.items()}, content.extend)
        return self.commit_of(plan, numbers, tuple(spool), side, bytes(content)), bytes(content)

    def advance(self, commit: Commit, content: bytes) -> Version:
        self.version = advance(
            self.genesis,
            self.version,
            commit,
            bytes_of(content),
            self.blobs.read,
            self.blobs.write,
        )
        return self.version

    def commit_of(
        self,
        plan: Plan,
        numbers: Mapping[WorkerId, Numbers] | None,
        survivors: tuple[WorkerId, ...],
        side: SideValues,
        content: bytes,
    ) -> Commit:
        """Return the commit of a sum."""
        return Commit(
            plan=plan,
            numbers=dict(numbers or self.numbers()),
            survivors=survivors,
            side_values=side,
            aggregate=canonical.digest_of(content),
            aggregate_bytes=len(content),
        )


def with_codec(kind: str, bits: int, **more: float) -> Algorithm:
    algorithm = TLS
    codec = replace(algorithm.codec, kind=kind, bits=bits, first_bits=bits, **more)  # type: ignore[arg-type]
    return replace(algorithm, codec=codec)
