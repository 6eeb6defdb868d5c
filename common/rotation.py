"""The Walsh-Hadamard rotation that spreads a block's energy evenly over its 4096 values.

A block is multiplied by random signs, fixed per run and the same in every block, then by the
Hadamard matrix H in natural order: H[i, j] = (-1)**popcount(i & j). H is symmetric and H.H = 4096.

The worker's forward rotation (`codec/loops.py`) may differ in the last bits between machines. The
rotation of the sum, here, must not: it works on integers, in a float type in which every partial
sum is exact, so any order of additions gives the same bits.
"""

import hashlib
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from common.arrays import F32, Ring
from common.schema import BLOCK

Floats = npt.NDArray[Any]


def _hadamard_matrix(order: int) -> F32:
    h = np.ones((1, 1), np.float32)
    while len(h) < order:
        h = np.block([[h, h], [h, -h]])
    return np.ascontiguousarray(h)


_SIDE: Final = 16  # H(4096) = H(16) x H(16) x H(16): of all splits the fastest
_FACTOR: Final = _hadamard_matrix(_SIDE)
_FACTOR_64: Final = _FACTOR.astype(np.float64)


def rotation_signs(seed: int) -> F32:
    """Return the run's signs: float32[BLOCK] of +1 and -1, bit i of SHAKE-256 set = -1."""
    stream = hashlib.shake_256(b"crosscloud/1/signs/%d" % seed).digest(BLOCK // 8)
    bits = np.unpackbits(np.frombuffer(stream, np.uint8), bitorder="little")
    return np.float32(1) - np.float32(2) * bits.astype(np.float32)


def rotate_exactly(n: Ring, bits: int) -> F32:
    """Return float32(H . n), rounded once where it does not fit: the same bits everywhere.

    Args:
        n: signed integers[num, BLOCK], each at most 2**(bits - 1) in size.
        bits: up to 12 every partial sum is at most 2**23, exact in float32; else float64 is used.
    """
    if bits <= 12:
        x = n.astype(np.float32)
        return _product(_FACTOR, x, np.empty_like(x))
    y = n.astype(np.float64)
    return _product(_FACTOR_64, y, np.empty_like(y)).astype(np.float32)


def _product(factor: Floats, x: Floats, out: Floats) -> Floats:
    """Put H . x into `out` and return it; `x` is overwritten.

    Three times the first of a block's three digits is transformed and becomes the last: all
    products are long ones, and after three the digits are in order again.
    """
    run = BLOCK // _SIDE
    for source, target in ((x, out), (out, x), (x, out)):
        columns = source.reshape(-1, _SIDE, run).transpose(0, 2, 1)
        np.matmul(columns, factor, out=target.reshape(-1, run, _SIDE))
    return out
