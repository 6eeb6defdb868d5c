"""What turns text into tokens. Text never becomes a control token, whatever it spells.

A document's end is said by the reader alone: a text that spells the end mark stays text.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final, TypeAlias

import numpy as np

from common.arrays import U16, U32

Tokens: TypeAlias = U16 | U32
"""Two bytes for each token where that is enough; four for vocabularies above 65,536."""

END_OF_DOCUMENT: Final = 0
"""Of the tokenizer of bytes: the byte 0 ends a document."""
_INSTEAD: Final = "\ufffd"


@dataclass(frozen=True, slots=True)
class Encoder:
    """One tokenizer, as training reads with it.

    Args:
        encode: from a piece of a document to its tokens, of `token_type`; no end mark.
        end: tokens that end a document; none where the tokenizer has no end mark.
        num_tokens: one more than the largest token that data can hold.
        marks: spellings of its control tokens: text that holds one is counted.
        fingerprint: of what it does; empty for the tokenizer of bytes, of which there is but one.
    """

    encode: Callable[[str], Tokens]
    end: tuple[int, ...]
    num_tokens: int
    marks: tuple[str, ...] = ()
    fingerprint: bytes = b""

    def spells_a_mark(self, text: str) -> bool:
        """Return whether a text spells a control token."""
        return any(mark in text for mark in self.marks)


def token_type(num_tokens: int) -> np.dtype[Any]:
    """Return the type that holds ids below `num_tokens`: uint16 or uint32."""
    return np.dtype(np.uint16 if num_tokens <= 2**16 else np.uint32)


def encode_bytes(text: str) -> U16:
    """Return the UTF-8 bytes of `text`: uint16[num_tokens], all < 256; a zero becomes U+FFFD."""
    content = text.replace(chr(END_OF_DOCUMENT), _INSTEAD).encode()
    return np.frombuffer(content, np.uint8).astype(np.uint16)


BYTE_ENCODER: Final = Encoder(encode_bytes, (END_OF_DOCUMENT,), 256)
"""It has no marks: its end mark is NUL, which `worker/training/texts.py` lets no text hold."""
