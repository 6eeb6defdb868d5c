"""Tags: linear fingerprints of a shard's signed values, so that the published sum is the sum.

    tag(q) = sum over j of a_j*q_j modulo 2**64                q signed, before reduction
    public   a from a seed that everyone knows                 finds a flipped bit, a broken member
    secret   a and z_i from kappa; sent: tag(q_i) + z_i        finds a sum that nobody sent

Linear: the sum of the survivors' tags is the tag of the signed sum, which L keeps from wrapping.
z_i is 64 bits per member and shard, so a tag tells nothing about a or q, and a doubled sum with
doubled tags fails: z is not doubled.

Data shards take their values in 16-bit words, 1024 to a group:

    4, 8 bits    w = q + 2**b*q' + ..: the four or two values of a word as one number, one-to-one.
                 The sign bits of all but the last are flipped, so that an int16 exceeds w by a
                 constant (`_BIAS`)
    12, 16 bits  w = q
    32 bits      lower half (unsigned) and upper half (signed) of a value, under the coefficients
                 a_j and 2**16*a_j; a group has 512 values

    a = r_g*s_j  r_g: 64 bits per group; s_j: 56 bits by place in the group, as two 28-bit halves

Each half's dot product with a group is taken in float64, exactly: no partial sum exceeds
2**28 * 2**15 * 1024 = 2**53 (32 bits: 2**28 * 2**16 * 512). r_g joins modulo 2**64.

r and s are odd, so a change within one word (or 32-bit value) never goes unnoticed; one of several,
made without knowing a and z, does with a chance below 2**-45 (32 bits: 2**-29): what counts is the
largest power of two that divides all of it, at most 2**15 (2**31).

Side values are unsigned, 64 bits each in the head, then 32 (z_B, padding), and each has an odd
64-bit a_j of its own. Here a change of several numbers by multiples of 2**k goes unnoticed with a
chance of 2**(k-63): so a head of 2**48 or more is refused, and the caller bounds it further.
"""

from collections.abc import Iterable, Sequence
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from common.arrays import U8, U64, Content
from common.errors import BadCommitError, BadUpdateError
from common.ids import WorkerId
from common.packing import signed12, unpack12
from common.secagg.ring import Ring, Words
from common.secagg.streams import Stream
from common.shards import SIDE_HEAD_BYTES, PayloadLayout

MODULUS: Final = 2**64

_GROUP: Final = 1024  # words
_HALF_BITS: Final = 28
_HALF_MASK: Final = 2**_HALF_BITS - 1
_TILE_GROUPS: Final = 120
_BIAS: Final = {4: 0x0888, 8: 0x0080}
_ONE: Final = np.uint64(1)
_HEAD_NUMBERS: Final = 3
_HEAD_BOUND: Final = 2**48  # far beyond any sum of V, loss and clipped


class Coefficients:
    """The a of one tag.

    Args:
        seed: 32 bytes: the public one, or kappa.
        num_places: values in a group.
    """

    def __init__(self, seed: bytes, num_places: int) -> None:
        drawn = Stream(seed, "tag-place").integers(0, num_places) | _ONE
        self._low, self._high = drawn & _HALF_MASK, drawn >> _HALF_BITS & _HALF_MASK
        self.places = (self._low.astype(np.float64), self._high.astype(np.float64))
        """s_j's lower and upper half, float64[num_places]."""
        self._groups = Stream(seed, "tag-group")
        self._side_values = Stream(seed, "tag-side-values")

    @property
    def place_sum(self) -> int:
        """Return the sum of s_j modulo 2**64."""
        return (int(self._low.sum()) + (int(self._high.sum()) << _HALF_BITS)) % MODULUS

    def groups(self, first: int, num: int) -> U64:
        """Return r_g, uint64[num], from group `first` of the data section on."""
        return self._groups.integers(first, num) | _ONE

    def side_values(self, first: int, num: int) -> U64:
        """Return the side values' coefficients, uint64[num], from number `first` on."""
        return self._side_values.integers(first, num) | _ONE


class Tagger:
    """Computes one or more tags of a shard at once. Not for two threads at once.

    Args:
        layout: of the round.
        seeds: one per tag: the public seed, kappa, or both.
    """

    def __init__(self, layout: PayloadLayout, seeds: Sequence[bytes]) -> None:
        self._layout = layout
        self._ring = Ring(layout.bits)
        self._width = _GROUP // 2 if layout.bits == 32 else _GROUP
        self._coefficients = [Coefficients(seed, self._width) for seed in seeds]
        self._rows = np.stack([half for c in self._coefficients for half in c.places])
        self._excess = np.array(
            [_BIAS.get(layout.bits, 0) * c.place_sum % MODULUS for c in self._coefficients], "<u8"
        )
        self._group_bytes = _GROUP * (12 if layout.bits == 12 else 16) // 8
        self._values = np.empty((_TILE_GROUPS, self._width), np.float64)
        self._scratch = np.empty(_TILE_GROUPS * _GROUP, "<u2")

    def tags(self, shard: int, content: Content, words: Words | None = None) -> tuple[int, ...]:
        """Return the shard's tags, modulo 2**64, in the order of the seeds.

        Args:
            shard: its index.
            content: the packed signed values, or the side values: one member's, or a sum.
            words: of a data shard, where the caller has its ring words: 12-bit values are then not
                unpacked again.

        Raises:
            BadUpdateError: there is no such shard, or it has another length, or is no sum.
        """
        offset, length = self._layout.shard(shard)
        if len(content) != length:
            raise BadUpdateError(f"shard {shard} has {len(content)} bytes, must be {length}")
        if shard in self._layout.side_shards:
            return self._side_tags(shard, content, self._layout.within_side_values(shard).start)
        known = words if self._ring.bits == 12 else None
        return self._data_tags(np.frombuffer(content, np.uint8), offset, known)

    def _data_tags(self, content: U8, offset: int, words: Words | None) -> tuple[int, ...]:
        first, num_groups = offset // self._group_bytes, len(content) // self._group_bytes
        num_words = 2 if self._ring.bits == 32 else 1
        dots = np.empty((num_words, num_groups, len(self._rows), 1), np.float64)
        for start in range(0, num_groups, _TILE_GROUPS):
            stop = min(start + _TILE_GROUPS, num_groups)
            part = content[start * self._group_bytes : stop * self._group_bytes]
            own = words[start * _GROUP : stop * _GROUP] if words is not None else None
            values = self._values[: stop - start]
            for numbers, out in zip(self._numbers_of(part, own), dots, strict=True):
                np.copyto(values, numbers.reshape(values.shape))
                # One group after the other: it is in the first-level cache for all its products.
                np.matmul(self._rows, values[:, :, None], out=out[start:stop])
        exact = dots[..., 0].swapaxes(1, 2).astype(np.int64).view(np.uint64)  # 53 bits and a sign
        products: U64 = exact[:, 0::2] + (exact[:, 1::2] << _HALF_BITS)
        for upper in products[1:]:
            products[0] += upper << 16
        products[0] -= self._excess[:, None]
        return tuple(
            int((product * c.groups(first, num_groups)).sum())
            for product, c in zip(products[0], self._coefficients, strict=True)
        )

    def _numbers_of(self, content: U8, words: Words | None) -> tuple[npt.NDArray[Any], ...]:
        """Return the words as the module says, plus their bias; at 32 bits two arrays."""
        bits = self._ring.bits
        if bits == 32:
            values = content.view("<i4")
            return values & 0xFFFF, values >> 16
        if bits == 16:
            return (content.view("<i2"),)
        if bits == 12:
            numbers = self._scratch[: len(content) * 2 // 3]
            return (signed12(unpack12(content, numbers) if words is None else words, numbers),)
        numbers = self._scratch[: len(content) // 2]
        return (np.bitwise_xor(content.view("<u2"), _BIAS[bits], out=numbers).view("<i2"),)

    def _side_tags(self, shard: int, content: Content, offset: int) -> tuple[int, ...]:
        head = max(0, min(SIDE_HEAD_BYTES - offset, len(content)))
        packed = np.frombuffer(content, np.uint8)
        if head and (largest := int(packed[:head].view("<u8").max())) >= _HEAD_BOUND:
            raise BadUpdateError(
                f"shard {shard}: a side value is {largest}, no sum reaches {_HEAD_BOUND}"
            )
        numbers = np.concatenate([packed[:head].view("<u8"), packed[head:].view("<u4")])
        first = 0 if head else _HEAD_NUMBERS + (offset - SIDE_HEAD_BYTES) // 4
        return tuple(
            int((c.side_values(first, len(numbers)) * numbers).sum()) for c in self._coefficients
        )


class Pads:
    """z_i: what hides each member's secret tag of each shard.

    Args:
        kappa: 32 bytes that all members know, and nobody else.
        names: of U2.
    """

    def __init__(self, kappa: bytes, names: Iterable[WorkerId]) -> None:
        self._streams = {name: Stream(kappa, "tag-pad", name) for name in names}

    def pad(self, name: WorkerId, shard: int) -> int:
        """Return z_i of one shard."""
        return int(self._streams[name].integers(shard, 1)[0])

    def total(self, survivors: Iterable[WorkerId], shard: int) -> int:
        """Return the sum of z_i over the survivors, modulo 2**64."""
        return sum(self.pad(name, shard) for name in survivors) % MODULUS


def member_tags(
    tagger: Tagger,
    pads: Pads,
    name: WorkerId,
    shard: int,
    content: Content,
    words: Words | None = None,
) -> tuple[int, int]:
    """Return a member's public tag and its padded secret tag of one shard.

    Args:
        tagger: of the public seed and kappa.
        pads: of the attempt.
        name: this member's.
        shard: its index.
        content: the packed values, before they are masked.
        words: see `Tagger.tags`.
    """
    public, secret = tagger.tags(shard, content, words)
    return public, (secret + pads.pad(name, shard)) % MODULUS


def check_public(tagger: Tagger, shard: int, content: Content, total: int) -> None:
    """Check one shard of the unmasked sum against the sum of the public tags.

    Args:
        tagger: of the public seed alone.
        shard: its index.
        content: the packed sum.
        total: sum of the survivors' public tags, modulo 2**64.

    Raises:
        BadUpdateError: names the shard.
    """
    if tagger.tags(shard, content) != (total,):
        raise BadUpdateError(
            f"shard {shard}: the sum is not that of its public tags: a bit flipped, or a member is "
            "broken; the round has to be aborted"
        )


def check_secret(
    tagger: Tagger,
    pads: Pads,
    survivors: Iterable[WorkerId],
    shard: int,
    content: Content,
    total: int,
) -> None:
    """Check one shard of the published sum against the sum of the secret tags.

    Args:
        tagger: of kappa alone.
        pads: of the attempt.
        survivors: S.
        shard: its index.
        content: the packed sum.
        total: the published sum of padded secret tags, T.

    Raises:
        BadCommitError: names the shard.
    """
    try:
        found = tagger.tags(shard, content)
    except BadUpdateError as e:
        raise BadCommitError(str(e)) from None
    if found != ((total - pads.total(survivors, shard)) % MODULUS,):
        raise BadCommitError(
            f"shard {shard}: the published sum is not what its survivors sent; the work is spent, "
            "and this worker stops until its own operator has looked"
        )
