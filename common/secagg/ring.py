"""Ring words: the form of a shard in which members mask it and everybody adds.

    bits  payload (common/packing.py)                 words               sent
    4     two values per byte, two's complement       uint8, q0 + 16*q1   the words
    8     one value per byte                          uint8, q            the words
    12    two values in three bytes                   uint16, q           low 12 bits, packed
    16    one value in two bytes, little-endian       uint16, q           the words
    32    one value in four bytes, little-endian      uint32, q           the words

All modulo 2**(bits of the word), so that `a + b` on whole arrays is the ring's addition and a mask
costs one pass. A sum of signed values that stays within its bits, as L = floor((2**(b-1) - 1)/K)
ensures, comes out of its word whole: at 4 bits `payload` gives back what a negative q0 borrowed
from q1; at 12 bits the upper four bits of a word are never looked at.
"""

from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from common.arrays import Content
from common.packing import pack12, unpack12

Words = npt.NDArray[Any]
"""uint8, uint16 or uint32, as the table says; contiguous."""

_WORD: Final[dict[int, np.dtype[Any]]] = {
    4: np.dtype(np.uint8),
    8: np.dtype(np.uint8),
    12: np.dtype("<u2"),
    16: np.dtype("<u2"),
    32: np.dtype("<u4"),
}


@dataclass(frozen=True, slots=True)
class Ring:
    """One round's ring: 4, 8, 12, 16 or 32 bits per value."""

    bits: int

    def __post_init__(self) -> None:
        """Refuse other widths."""
        if self.bits not in _WORD:
            raise ValueError(f"a ring has {', '.join(map(str, _WORD))} bits, not {self.bits}")

    @property
    def word(self) -> np.dtype[Any]:
        """The words' dtype."""
        return _WORD[self.bits]

    @property
    def in_place(self) -> bool:
        """Whether the payload's bytes are the words, and the words are what is sent."""
        return self.bits in (8, 16, 32)

    def stream_offset(self, offset: int) -> int:
        """Return where the masks of the values from byte `offset` of the payload begin.

        A mask takes as many bytes of its stream as the words have: at 12 bits four for three.
        """
        if self.bits != 12:
            return offset
        if offset % 3:
            raise ValueError(f"offset {offset}: no 12-bit pair begins here")
        return offset // 3 * 4

    def empty_sum(self, payload_bytes: int) -> Words:
        """Return the words of a sum of nothing."""
        return np.zeros(self._num_words(payload_bytes), self.word)

    def words(self, payload: Content, out: Words | None = None) -> Words:
        """Return the words of a packed payload; written over `out` if it is given."""
        packed = np.frombuffer(payload, np.uint8)
        words = np.empty(self._num_words(len(packed)), self.word) if out is None else out
        if self.bits == 4:
            np.bitwise_and(packed, 8, out=words)
            np.left_shift(words, 1, out=words)
            return np.subtract(packed, words, out=words)
        if self.bits == 12:
            return unpack12(packed, words)
        words[:] = packed.view(self.word)
        return words

    def payload(self, words: Words) -> bytes:
        """Return the packed values: the inverse of `words`."""
        if self.bits == 4:
            packed = words & np.uint8(8)
            packed <<= 1
            packed += words
            return packed.tobytes()
        return self.sent(words)

    def sent(self, words: Words) -> bytes:
        """Return masked words as they go over the wire: as many bytes as the payload."""
        if self.bits != 12:
            return words.tobytes()
        sent = np.empty(len(words) * 3 // 2, np.uint8)
        pack12(words, sent)
        return sent.tobytes()

    def add_received(self, total: Words, content: Content) -> None:
        """Add one member's masked words, as they were sent, to a sum."""
        packed = np.frombuffer(content, np.uint8)
        if self._num_words(len(packed)) != len(total):
            raise ValueError(f"{len(packed)} bytes do not fill {len(total)} words")
        if self.bits == 12:
            total += unpack12(packed, np.empty_like(total))
        else:
            total += packed.view(self.word)

    def _num_words(self, payload_bytes: int) -> int:
        return self.stream_offset(payload_bytes) // self.word.itemsize
