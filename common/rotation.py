"""The Walsh-Hadamard rotation that spreads a block's energy evenly over its 4096 values.

A block is multiplied by random signs, fixed per run and the same in every block, then by the
Hadamard matrix H in natural order: H[i, j] = (-1)**popcount(i & j). H is symmetric and H.H = 4096.

The worker's forward rotation may differ in the last bits between machines. The rotation of the sum
must not: it works on integers, in a float type in which every partial sum is exact, so any order of
additions gives the same bits.
"""

import hashlib
from typing import Final

import numpy as np

from common.arrays import F32, F64, I32
from common.schema import BLOCK

_FACTOR: Final = 16
_ROOT: Final = 64.0  # sqrt(BLOCK)


def _hadamard_matrix(order: int) -> F32:
    h = np.ones((1, 1), np.float32)
    while len(h) < order:
        h = np.block([[h, h], [h, -h]])
    return np.ascontiguousarray(h)


_H32: Final = _hadamard_matrix(_FACTOR)
_H64: Final = _H32.astype(np.float64)


def rotation_signs(seed: int) -> F32:
    """Return the run's signs: float32[BLOCK] of +1 and -1, bit i of SHAKE-256 set = -1."""
    stream = hashlib.shake_256(b"crosscloud/1/signs/%d" % seed).digest(BLOCK // 8)
    bits = np.unpackbits(np.frombuffer(stream, np.uint8), bitorder="little")
    return np.float32(1) - np.float32(2) * bits.astype(np.float32)


def rotate(x: F32, signs: F32, factor: float) -> F32:
    """Return H . diag(signs) . (factor * x) / 64: orthonormal where factor = 1.

    Args:
        x: float32[n, BLOCK]; overwritten.
        signs: float32[BLOCK].
        factor: rounded to float32 once.
    """
    x *= signs * np.float32(factor / _ROOT)
    return _product32(x)


def rotate_exactly(n: I32, bits: int) -> F32:
    """Return float32(H . n), rounded once where it does not fit: the same bits everywhere.

    Args:
        n: int32[num, BLOCK], each at most 2**(bits - 1) in size.
        bits: up to 12 every partial sum is at most 2**23, exact in float32; else float64 is used.
    """
    if bits <= 12:
        return _product32(n.astype(np.float32))
    return _product64(n.astype(np.float64)).astype(np.float32)


def _product32(x: F32) -> F32:
    # H(4096) = H(16) x H(16) x H(16): three small products that stay in the cache.
    y: F32 = np.matmul(x.reshape(-1, _FACTOR), _H32)
    y = np.matmul(_H32, y.reshape(-1, _FACTOR, _FACTOR))
    y = np.matmul(_H32, y.reshape(-1, _FACTOR, BLOCK // _FACTOR))
    return y.reshape(-1, BLOCK)


def _product64(x: F64) -> F64:
    y: F64 = np.matmul(x.reshape(-1, _FACTOR), _H64)
    y = np.matmul(_H64, y.reshape(-1, _FACTOR, _FACTOR))
    y = np.matmul(_H64, y.reshape(-1, _FACTOR, BLOCK // _FACTOR))
    return y.reshape(-1, BLOCK)
