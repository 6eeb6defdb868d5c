"""What an encoder does to every value, as loops that Numba compiles: a block stays in the cache.

For workers only: whoever decodes does not need Numba. Importing this compiles it, in some seconds,
or takes it from Numba's cache: beside this file, else in the user's own, where one is writable.

The last bits of y may differ between machines; from y on every bit is given.
"""

from collections.abc import Callable
from typing import Any, Final, TypeVar, cast

import numba
import numpy as np
from numba import types

from common.arrays import F32, I16, Ring
from common.schema import BLOCK

F = TypeVar("F", bound=Callable[..., Any])

FINE: Final = 2**16
"""Noise steps per quantisation step."""

_ROUNDER: Final = np.float32(1.5 * 2.0**23 * FINE)
"""Added to a float32 it rounds it to a multiple of `FINE`."""

_ORTHONORMAL: Final = np.float32(1 / 64)
_PER_FINE: Final = np.float32(1 / FINE)

# Types of arguments: written to, or only read.
_FACTOR: Final = types.float32
_BLOCKS: Final = types.float32[:, ::1]
_PER_BLOCK: Final = types.float32[::1]
_READ_BLOCKS: Final = types.Array(types.float32, 2, "C", readonly=True)
_READ_NOISE: Final = types.Array(types.int16, 2, "C", readonly=True)
_READ: Final = types.Array(types.float32, 1, "C", readonly=True)


def compiled(*signatures: Any, relaxed: tuple[str, ...] = ()) -> Callable[[F], F]:
    """Return a decorator: the function in machine code, and without the interpreter's lock.

    Args:
        signatures: what it is compiled for; none: for whatever calls it.
        relaxed: LLVM's fast-math flags, for sums whose order does not matter.
    """

    def compile_(function: F, cache: bool = True) -> F:
        build = numba.njit(
            list(signatures) or None,
            cache=cache,
            nogil=True,
            error_model="numpy",
            fastmath=set(relaxed),
        )
        try:
            return cast(F, build(function))
        except RuntimeError:  # there is no folder to keep it in
            if not cache:
                raise
            return compile_(function, cache=False)

    return compile_


@compiled()
def _transform_digit(x: F32, out: F32) -> None:
    """Transform the first of the twelve binary digits of an index, and make it the last.

    After twelve times all are transformed, and in order again.
    """
    half = BLOCK // 2
    for i in range(half):
        out[2 * i] = x[i] + x[i + half]
        out[2 * i + 1] = x[i] - x[i + half]


@compiled()
def _rotate_block(x: F32, weights: F32, scratch: F32) -> None:
    for i in range(BLOCK):
        x[i] *= weights[i] * _ORTHONORMAL
    for _ in range(6):
        _transform_digit(x, scratch)
        _transform_digit(scratch, x)


@compiled(relaxed=("reassoc",))
def _carry(y: F32, residual: F32, decay: np.float32, to_fine: np.float32) -> np.float32:
    """Add decay*residual; return the squared length in fine steps."""
    square = np.float32(0)
    for i in range(BLOCK):
        y[i] += residual[i] * decay
        square += (y[i] * to_fine) * (y[i] * to_fine)
    return square


@compiled()
def _quantize(
    y: F32,
    to_fine: np.float32,
    from_fine: np.float32,
    noise: I16,
    least: np.float32,
    most: np.float32,
    q: Ring,
) -> None:
    for i in range(BLOCK):
        rounded = min(max(y[i] * to_fine + np.float32(noise[i]) + _ROUNDER, least), most) - _ROUNDER
        y[i] -= rounded * from_fine
        q[i] = rounded * _PER_FINE


@compiled(_BLOCKS(_BLOCKS, _READ))
def rotate(x: F32, weights: F32) -> F32:
    """Return H . diag(weights) . x / 64 in the place of x: orthonormal where the weights are signs.

    Args:
        x: float32[n, BLOCK].
        weights: float32[BLOCK]: the run's signs, or a multiple of them.
    """
    scratch = np.empty(BLOCK, np.float32)
    for block in range(len(x)):
        _rotate_block(x[block], weights, scratch)
    return x


@compiled(types.float64(_READ, _READ), relaxed=("reassoc",))
def squared_distance(a: F32, b: F32) -> float:
    """Return the squared length of a - b, summed in float32 within blocks, in float64 of them.

    Args:
        a: float32[n], whole blocks.
        b: float32[n].
    """
    total = 0.0
    for block in range(0, len(a), BLOCK):
        square = np.float32(0)
        for i in range(block, block + BLOCK):
            square += (a[i] - b[i]) * (a[i] - b[i])
        total += float(square)
    return total


@compiled(
    *(
        types.void(
            _BLOCKS,
            _READ,
            _READ_BLOCKS,
            _FACTOR,
            _READ,
            _PER_BLOCK,
            _READ,
            _READ_NOISE,
            _FACTOR,
            ring[:, ::1],
        )
        for ring in (types.int8, types.int16)
    )
)
def encode(
    x: F32,
    weights: F32,
    residual: F32,
    decay: np.float32,
    to_fine: F32,
    square: F32,
    from_fine: F32,
    noise: I16,
    levels: np.float32,
    q: Ring,
) -> None:
    """Measure y = rotated x + decay*residual and quantise it; x becomes what that leaves out.

    Args:
        x: float32[n, BLOCK].
        weights: as in `rotate`.
        residual: float32[n, BLOCK].
        decay: of the residual.
        to_fine: fine steps per unit, float32[n].
        square: receives the squared length of each block of y in fine steps, float32[n].
        from_fine: units per fine step, float32[n].
        noise: of each value in fine steps, int16[n, BLOCK].
        levels: the largest |q|.
        q: receives the quantised values, in steps, [n, BLOCK].
    """
    least, most = _ROUNDER - levels * np.float32(FINE), _ROUNDER + levels * np.float32(FINE)
    scratch = np.empty(BLOCK, np.float32)
    for block in range(len(x)):
        y = x[block]
        _rotate_block(y, weights, scratch)
        square[block] = _carry(y, residual[block], decay, to_fine[block])
        _quantize(y, to_fine[block], from_fine[block], noise[block], least, most, q[block])
