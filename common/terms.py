"""What one round's plan and numbers mean on its version: weights, scales, codec, layout, C.

Worker, coordinator and every replica derive the same terms; nothing else decides how a round
computes.
"""

import functools
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

from common.arrays import F32
from common.codec import TileCodec
from common.codec.dense import Dense
from common.codec.float32 import Float32
from common.documents import Algorithm, Codec, Genesis, Numbers, Plan, Version
from common.errors import ConfigError, DamagedDataError
from common.ids import Digest, WorkerId
from common.rotation import rotation_signs
from common.scales import Scales, round_scales
from common.schema import ModelSchema
from common.shards import PayloadLayout
from common.weight import Weights, weights

ReadBlob = Callable[[Digest], bytes]


@dataclass(frozen=True, slots=True)
class Terms:
    """See the module docstring.

    Args:
        numbers: at close, of U2.
        clip: C; 0 = off.
        commits: of the version.
    """

    schema: ModelSchema
    algorithm: Algorithm
    numbers: Mapping[WorkerId, Numbers]
    weights: Weights
    scales: Scales
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
    scales = round_scales(_read_scales(version, schema, read_blob), w.scale, num_members)
    return Terms(
        schema=schema,
        algorithm=algorithm,
        numbers=numbers,
        weights=w,
        scales=scales,
        codec=_codec(algorithm.codec, plan.bits, num_members, scales, genesis.seed),
        layout=PayloadLayout(schema.length, plan.bits, plan.masked),
        clip=version.clip,
        commits=version.commits,
    )


def round_bits(codec: Codec, commits: int) -> int:
    """Return the ring width of the next round: wider in the first, whose scales are guessed."""
    return codec.first_bits if codec.kind == "dense" and commits == 0 else codec.bits


def _codec(codec: Codec, bits: int, num_members: int, scales: Scales, seed: int) -> TileCodec:
    match codec.kind:
        case "dense":
            return Dense(bits, num_members, codec.step_multiple, scales, _signs(seed))
        case "float32":
            if bits != Float32.bits:
                raise ConfigError(f"codec float32 has {bits} bits, must be {Float32.bits}")
            return Float32(scales)
        case other:
            raise ConfigError(f"codec is {other!r}, must be dense or float32")


@functools.lru_cache(maxsize=8)
def _signs(seed: int) -> F32:
    return rotation_signs(seed)


def _read_scales(version: Version, schema: ModelSchema, read_blob: ReadBlob) -> F32:
    content = b"".join(read_blob(d) for d in version.scales)
    if len(content) != 4 * schema.num_blocks:
        raise DamagedDataError(
            f"scales have {len(content)} bytes, must be {4 * schema.num_blocks}; fetch them again"
        )
    return np.frombuffer(content, "<f4").astype(np.float32)
