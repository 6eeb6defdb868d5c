"""Tags: linear fingerprints of a shard's signed values, so that the published sum is the sum.

    tag(q) = sum over j of a_j*q_j mod 2**64                   q signed, before reduction
    public:  a from a seed that everyone knows                 a flipped bit, a broken member
    secret:  a and pads z_i from kappa, T = sum of (tag(q_i) + z_i)    a coordinator's own aggregate

Linear: the sum of the survivors' tags is the tag of the signed sum, which L keeps from wrapping. z_i
is 64 fresh bits per member and shard, so a tag tells nothing about a or q, and a doubled sum with a
doubled T fails: z is not doubled.

Data shards take their values in 16-bit words, 1024 to a group:

    bits 4, 8    w_j = q + 2**b*q' + ...: the four or two values of one word, one number
    bits 12, 16  w_j = q_j
    bits 32      w_j = the low half (unsigned), then the upper (signed) of each value; their coefficients
                 are a_j and 2**16*a_j, and a group has 512 values

    a = r_g * s_j      r_g: 64 bits per group;  s_j: 56 bits by place in the group, two 28-bit halves

Each half's product is one float64 dot product per group, exact because the magnitudes add up to at most
2**28 * 2**15 * 1024 = 2**53 (at 32 bits 2**28 * 2**16 * 512); r_g joins in integers modulo 2**64. A change
that is not a multiple of 2**16 goes unnoticed with a chance below 2**-42 (at 32 bits, a multiple of
2**31: 2**-27). Lanes have one 64-bit coefficient per number (V, loss, clipped: 64-bit; z_B and padding: 32-bit,
unsigned): the caller bounds the sums, since a change by 2**63 would go unnoticed half of the time.
"""

from collections.abc import Iterable, Sequence
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from common.arrays import F64, U64
from common.errors import BadCommitError, BadUpdateError
from common.ids import WorkerId
from common.secagg.ring import Ring
from common.secagg.streams import Stream, derived_seed
from common.shards import LANES_HEAD_BYTES, SHARD_BYTES, PayloadLayout

MODULUS: Final = 2**64

_GROUP: Final = 1024  # 16-bit words
_HALF_BITS: Final = 28
_TILE_GROUPS: Final = 60
_BIAS: Final = {4: 0x0888, 8: 0x0080, 12: 0, 16: 0, 32: 0}
"""Added to all but the top value of a word: then a word is its values' signed number, plus this."""

_ODD: Final = np.tile(np.array([0, 1]), _GROUP // 2)


class Coefficients:
    """The a of one tag: all derived from one seed, any shard alone.

    Args:
        seed: 32 bytes.
        bits: of the ring.
    """

    def __init__(self, seed: bytes, bits: int) -> None:
        drawn = Stream(seed, "tag-place").integers(0, _GROUP)
        if bits == 32:  # two words per value share its coefficient
            drawn = np.repeat(drawn[: _GROUP // 2], 2)
        halves = (drawn & (2**_HALF_BITS - 1), drawn >> _HALF_BITS & (2**_HALF_BITS - 1))
        self.columns = [h.astype(np.float64) for h in halves]
        """s_j, float64[2][1024]: the lower halves, the upper halves."""
        s = halves[0] + (halves[1] << _HALF_BITS)
        self.place_sum = int(s.sum())
        """sum of s_j: below 2**66, kept modulo 2**64."""
        self._groups = Stream(seed, "tag-group")
        self._lanes = Stream(seed, "tag-lanes")

    def groups(self, first: int, num: int) -> U64:
        """Return r_g, uint64[num], from group `first` of the data section on."""
        return self._groups.integers(first, num)

    def lanes(self, first: int, num: int) -> U64:
        """Return the coefficients of lanes, uint64[num], from number `first` of the section on."""
        return self._lanes.integers(first, num)
