"""What one round's plan and numbers mean on its version: weights, scales, codec, layout, C.

Worker, coordinator and every replica derive the same terms; nothing else decides how a round
computes.
"""

import functools
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

import numpy as np

from common.arrays import F32
from common.codec import TileCodec, cyclic, heavy, randk, topk
from common.codec.dense import Dense
from common.codec.float32 import Float32
from common.codec.selection import Selection, whole
from common.codec.topk import TopK
from common.documents import Algorithm, Codec, Genesis, Numbers, Plan, Version
from common.errors import ConfigError, DamagedDataError
from common.ids import Digest, WorkerId
from common.rotation import rotation_signs
from common.scales import GENESIS_SCALE, Scales, round_scales
from common.schema import BLOCK, ModelSchema
from common.shards import PayloadLayout
from common.weight.weights import Weights, weights

ReadBlob = Callable[[Digest], bytes]

RINGS: Final = ("dense", "cyclic", "randk", "heavy")
"""Codecs whose values are in a ring, so that they can be masked."""

DRIFTING: Final = ("randk", "heavy")
"""Codecs of which some blocks wait longer for their turn than others."""

CODECS: Final = (*RINGS, "topk", "float32")
"""What `Codec.kind` may be."""


@dataclass(frozen=True, slots=True)
class Terms:
    """See the module docstring.

    Args:
        numbers: at close, of U2.
        scales: of every block.
        selection: which blocks travel.
        codec: of the blocks that travel, by their place on the wire.
        clip: C; 0 = off.
        commits: of the version.
    """

    schema: ModelSchema
    algorithm: Algorithm
    numbers: Mapping[WorkerId, Numbers]
    weights: Weights
    scales: Scales
    selection: Selection
    codec: TileCodec
    layout: PayloadLayout
    clip: float
    commits: int


def round_terms(
    genesis: Genesis,
    version: Version,
    plan: Plan,
    numbers: Mapping[WorkerId, Numbers],
    read_blob: ReadBlob,
) -> Terms:
    """Return the terms of a round on `version`.

    Args:
        genesis: of the run.
        version: the plan's base.
        plan: already checked by `check_plan`.
        numbers: at close, of U2; checked here.
        read_blob: reads a file of the version.

    Raises:
        BadNumbersError: names the worker and the field.
        ConfigError: the ring cannot hold the sum of the cohort.
    """
    algorithm, schema = genesis.algorithm, genesis.schema
    num_members = len(plan.offers)
    w = weights(numbers, algorithm, plan.threshold)
    per_unit, drift = _read_scales(genesis, version, read_blob)
    scales = round_scales(per_unit, w.scale, num_members, drift)
    selection = round_selection(genesis, version.commits, plan.fragment, scales.per_unit)

    codec: TileCodec
    match algorithm.codec.kind:
        case "float32":
            codec = Float32(scales)
        case "topk":
            codec = TopK(algorithm.codec.one_in, scales)
        case _:
            multiple, of_sent = algorithm.codec.step_multiple, scales.of(selection.blocks)
            codec = Dense(plan.bits, num_members, multiple, of_sent, _signs(genesis.seed))
    return Terms(
        schema=schema,
        algorithm=algorithm,
        numbers=numbers,
        weights=w,
        scales=scales,
        selection=selection,
        codec=codec,
        layout=round_layout(genesis, plan.bits, plan.fragment),
        clip=version.clip,
        commits=version.commits,
    )


def num_fragments(codec: Codec) -> int:
    """Return how many rounds it takes until every block had its turn."""
    return codec.one_in if codec.kind == "cyclic" else 1


def round_bits(codec: Codec, commits: int) -> int:
    """Return the ring width of the next round: wider while scales are only guessed."""
    is_guessed = codec.kind in RINGS and commits < num_fragments(codec)
    return codec.first_bits if is_guessed else codec.bits


def round_fragment(codec: Codec, commits: int) -> int:
    """Return the fragment of the next round."""
    return commits % num_fragments(codec)


def first_scales(codec: Codec, num_blocks: int, seed: int) -> F32:
    """Return R_B of version 0, float32[num_scales]: what travels later has moved further.

    Raises:
        ConfigError: more fragments than blocks.
    """
    if num_fragments(codec) > num_blocks:
        raise ConfigError(
            f"algorithm.codec.one_in: {codec.one_in} fragments of {num_blocks} blocks: at most one "
            "per block; lower it"
        )
    scales = np.full(num_blocks, GENESIS_SCALE, np.float32)
    if codec.kind == "cyclic":
        scales *= 1 + cyclic.fragments(num_blocks, codec.one_in, seed).astype(np.float32)
    if codec.kind in DRIFTING:
        scales = np.concatenate([scales, np.ones(num_blocks, np.float32)])
    return scales


def num_scales(codec: Codec, num_blocks: int) -> int:
    """Return how many float32 a version's scales are: R_B, and for `DRIFTING` codecs d_B after."""
    return 2 * num_blocks if codec.kind in DRIFTING else num_blocks


def round_layout(genesis: Genesis, bits: int, fragment: int) -> PayloadLayout:
    """Return how a round's updates lie on the wire.

    Args:
        genesis: of the run.
        bits: of the plan.
        fragment: of the plan.
    """
    codec, masked = genesis.algorithm.codec, genesis.algorithm.masked
    num_blocks = genesis.schema.num_blocks
    match codec.kind:
        case "cyclic":
            num_sent = cyclic.num_sent(num_blocks, codec.one_in, fragment)
            return PayloadLayout(num_sent * BLOCK, bits, masked)
        case "randk" | "heavy":
            num_sent = randk.num_sent(num_blocks, codec.one_in)
            return PayloadLayout(num_sent * BLOCK, bits, masked)
        case "topk":
            size = topk.block_bytes(codec.one_in)
            return PayloadLayout(num_blocks * BLOCK, bits, masked, sparse_bytes=size)
        case "dense" | "float32":
            return PayloadLayout(num_blocks * BLOCK, bits, masked)
        case other:
            raise ConfigError(f"codec is {other!r}, must be one of {', '.join(CODECS)}")


def round_selection(genesis: Genesis, commits: int, fragment: int, scales: F32) -> Selection:
    """Return which blocks travel in a round.

    Args:
        genesis: of the run.
        commits: of the round's base.
        fragment: of the plan.
        scales: R_B of the base, float32[num_blocks].
    """
    codec, num_blocks, seed = genesis.algorithm.codec, genesis.schema.num_blocks, genesis.seed
    match codec.kind:
        case "cyclic":
            return cyclic.selected(num_blocks, codec.one_in, fragment, seed)
        case "randk":
            return randk.selected(num_blocks, codec.one_in, seed, commits)
        case "heavy":
            return heavy.selected(scales, codec.one_in, seed)
    return whole(num_blocks)


@functools.lru_cache(maxsize=8)
def _signs(seed: int) -> F32:
    return rotation_signs(seed)


def _read_scales(genesis: Genesis, version: Version, read_blob: ReadBlob) -> tuple[F32, F32 | None]:
    """Return R_B, and d_B where the version counts it, float32[num_blocks] each."""
    num_blocks = genesis.schema.num_blocks
    num = num_scales(genesis.algorithm.codec, num_blocks)
    content = b"".join(read_blob(d) for d in version.scales)
    if len(content) != 4 * num:
        raise DamagedDataError(
            f"scales have {len(content)} bytes, must be {4 * num}; fetch them again"
        )
    scales = np.frombuffer(content, "<f4").astype(np.float32)
    return scales[:num_blocks], scales[num_blocks:] if num > num_blocks else None
