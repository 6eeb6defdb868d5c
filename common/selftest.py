"""A digest that tells whether this machine computes commits with the same bits as others.

It replays a few commits of made-up aggregates on a small model with every codec and outer
optimiser, through `common/chain.py` itself. `Join` carries the digest.
"""

import functools
import hashlib
from typing import Final

import numpy as np

from common import canonical
from common.arrays import F32, ReadBytes
from common.chain import advance, genesis_version
from common.codec.topk import TopK
from common.documents import (
    Algorithm,
    Codec,
    Commit,
    Genesis,
    Numbers,
    Offer,
    Outer,
    Plan,
    SideValues,
    Stop,
    Version,
)
from common.ids import Digest, RoundId, WorkerId
from common.packing import pack
from common.scales import round_scales
from common.schema import BLOCK, ModelSchema, TensorSpec
from common.shards import pack_energy
from common.terms import round_bits, round_fragment, round_layout
from common.thresholds import round_threshold
from common.weight.weights import weights

_WORKERS: Final = tuple(WorkerId(w) for w in ("a", "b", "c"))
_SURVIVORS: Final = _WORKERS[:2]
_SCHEMA: Final = ModelSchema(
    (TensorSpec("w", (3, 2000)), TensorSpec("v", (2500,))), (TensorSpec("mean", (100,)),)
)
_NUMBERS: Final = {
    _WORKERS[0]: Numbers(3000, 0.04, 0, 65535, 20, 24),
    _WORKERS[1]: Numbers(4000, 0.03, 300, 44501, 21, 32),
    _WORKERS[2]: Numbers(100, 0.01, 512, 37837, 5, 1),
}
_CASES: Final = (
    (Codec("dense", 4, 4), "nesterov"),
    (Codec("dense", 8, 16), "nesterov"),
    (Codec("dense", 12, 12), "sgd"),
    (Codec("dense", 16, 16), "nesterov"),
    (Codec("float32", 32), "nesterov"),
    (Codec("cyclic", 8, 16, one_in=2), "nesterov"),
    (Codec("randk", 4, 8, one_in=2), "nesterov"),
    (Codec("heavy", 8, 8, one_in=3), "nesterov"),
    (Codec("topk", 2, 2, one_in=64), "sgd"),
)
_NUM_COMMITS: Final = 7  # the last ones with C on


@functools.cache
def selftest_digest() -> Digest:
    """Return the digest; takes some hundredths of a second, once per process."""
    return canonical.digest_of("".join(_replayed(*case) for case in _CASES).encode())


def _replayed(codec: Codec, optimiser: str) -> Digest:
    algorithm = Algorithm(
        tier="tls",
        min_cohort=1,
        max_share=0.75,  # its own: a default that moves is no other arithmetic
        codec=codec,
        outer=Outer(kind=optimiser),
    )
    blobs: dict[Digest, bytes] = {}

    def write(content: bytes) -> Digest:
        digest = canonical.digest_of(content)
        blobs[digest] = content
        return digest

    theta = _uniform("theta", _SCHEMA.length)
    for start, stop in _SCHEMA.padding():
        theta[start:stop] = 0
    version = genesis_version(_SCHEMA, algorithm, 1, lambda a, b: theta[a:b], write)
    genesis = Genesis(
        "selftest", 1, "", {}, _SCHEMA, canonical.digest(version), algorithm, Stop(versions=1)
    )
    for _ in range(_NUM_COMMITS):
        plan = _plan(genesis, version)
        content = _aggregate(genesis, plan, version.commits)
        commit = Commit(
            plan=plan,
            numbers=_NUMBERS,
            survivors=_SURVIVORS,
            side_values=_side_values(algorithm, plan.threshold),
            aggregate=canonical.digest_of(content),
            aggregate_bytes=len(content),
        )
        version = advance(genesis, version, commit, _reader(content), blobs.__getitem__, write)
    return canonical.digest(version)


def _plan(genesis: Genesis, version: Version) -> Plan:
    digest = canonical.digest(version)
    offers = tuple(
        Offer(genesis.run, w, "", "", 0, digest, 1, 1.0, 0, 1, speed, 0)
        for w, speed in zip(_WORKERS, (30, 40, 17), strict=True)
    )
    return Plan(
        run=genesis.run,
        round=RoundId(""),
        tier=genesis.algorithm.tier,
        version=version.commits,
        digest=digest,
        fragment=round_fragment(genesis.algorithm.codec, version.commits),
        bits=round_bits(genesis.algorithm.codec, version.commits),
        threshold=round_threshold(len(offers), genesis.algorithm),
        live_speed=99,
        num_live=len(offers),
        hours=0.0,
        key_timeout_s=0.0,
        upload_timeout_s=0.0,
        offers=offers,
    )


def _side_values(algorithm: Algorithm, num_needed: int) -> SideValues:
    v = weights(_NUMBERS, algorithm, num_needed).v
    return SideValues(sum(v[w] for w in _SURVIVORS), 2**20, 0)


def _aggregate(genesis: Genesis, plan: Plan, commit: int) -> bytes:
    codec, bits = genesis.algorithm.codec, plan.bits
    name = f"{codec.kind}/{bits}/{commit}"
    layout = round_layout(genesis, bits, plan.fragment)
    values = _uniform(name, layout.length)
    match codec.kind:
        case "float32":
            data = (values * np.float32(0.01)).astype("<f4").tobytes()
        case "topk":
            data = _sparse(codec, values)
        case _:
            data = pack((values * np.float32(2 ** (bits - 2))).astype(np.int32), bits)
    energy = (np.abs(_uniform(name + "/energy", layout.num_blocks)) * 1024).astype(np.uint32)
    return data + pack_energy(energy)


def _sparse(codec: Codec, values: F32) -> bytes:
    """Return blocks of the codec topk, each as often as there are survivors."""
    blocks = values.reshape(-1, BLOCK // codec.one_in, codec.one_in).repeat(len(_SURVIVORS), axis=0)
    places = blocks.argmax(axis=2) + codec.one_in * np.arange(blocks.shape[1])
    sizes = np.abs(blocks[:, :2, 0]) + np.float32(1)
    ones = np.ones(len(blocks), np.float32)
    made = TopK(codec.one_in, round_scales(ones, 1.0, len(_WORKERS)))
    return made.encoded(places, blocks[:, :, 0] < 0, blocks[:, :, 1] < 0, sizes).tobytes()


def _uniform(name: str, num: int) -> F32:
    """Return float32[num] in [-1, 1]."""
    stream = hashlib.shake_256(b"crosscloud/1/selftest/" + name.encode()).digest(4 * num)
    return (np.frombuffer(stream, "<i4") * 2.0**-31).astype(np.float32)


def _reader(content: bytes) -> ReadBytes:
    return lambda offset, length: content[offset : offset + length]
