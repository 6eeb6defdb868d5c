"""Seeded, bounded damage to known good inputs: the same seed gives the same inputs for ever."""

import random
from collections.abc import Callable, Sequence

TOKENS = (
    b"{", b"}", b"[", b"]", b'"', b":", b",", b"null", b"true", b"-1", b"0", b"1e999", b"NaN",
    b"1.0", b"18446744073709551616", b"9" * 5000, b"\\u0000", b"\\ud800", b"\x00", b"\xff",
    b"\xc3\xa9", b"[" * 700, b'{"a":' * 700, b"]" * 700, b"}" * 700,
    b"[" * 600 + b"]" * 600, b'{"a":' * 600 + b"1" + b"}" * 600, b"\xff\xff\xff\xff\x0f",
    b"\x80" * 12, b"\x7a", b"\n", b"- ", b"&a ", b"*a", b"<<: ", b"!!binary ", b"!!python/name:os",
    b"2001-99-99", b"0x", b"~", b": ", b"? ", b"PK\x01\x02", b"\x93NUMPY",
)  # fmt: skip


def mutated(rng: random.Random, seeds: Sequence[bytes], most_bytes: int) -> bytes:
    """Return a damaged copy of one of `seeds`, no longer than `most_bytes`."""
    content = bytearray(rng.choice(seeds))
    for _ in range(rng.choice((1, 1, 1, 2, 3, 8))):
        rng.choice(_KINDS)(rng, content, seeds)
    return bytes(content[:most_bytes])


def _place(rng: random.Random, content: bytearray) -> tuple[int, int]:
    start = rng.randrange(len(content) + 1)
    return start, min(len(content), start + rng.choice((1, 1, 2, 4, 16, 200)))


def _flip(rng: random.Random, content: bytearray, seeds: Sequence[bytes]) -> None:
    if content:
        content[rng.randrange(len(content))] ^= 1 << rng.randrange(8)


def _set(rng: random.Random, content: bytearray, seeds: Sequence[bytes]) -> None:
    if content:
        content[rng.randrange(len(content))] = rng.choice(
            (0, 1, 0x7F, 0x80, 0xFF, 0x22, 0x30, 0x39)
        )


def _delete(rng: random.Random, content: bytearray, seeds: Sequence[bytes]) -> None:
    start, stop = _place(rng, content)
    del content[start:stop]


def _repeat(rng: random.Random, content: bytearray, seeds: Sequence[bytes]) -> None:
    start, stop = _place(rng, content)
    content[start:start] = content[start:stop] * rng.choice((1, 2, 50))


def _insert(rng: random.Random, content: bytearray, seeds: Sequence[bytes]) -> None:
    start, _ = _place(rng, content)
    content[start:start] = rng.choice(TOKENS)


def _replace(rng: random.Random, content: bytearray, seeds: Sequence[bytes]) -> None:
    start, stop = _place(rng, content)
    content[start:stop] = rng.choice(TOKENS)


def _splice(rng: random.Random, content: bytearray, seeds: Sequence[bytes]) -> None:
    start, stop = _place(rng, content)
    other = rng.choice(seeds)
    at, end = _place(rng, bytearray(other))
    content[start:stop] = other[at:end]


def _cut(rng: random.Random, content: bytearray, seeds: Sequence[bytes]) -> None:
    del content[rng.randrange(len(content) + 1) :]


_KINDS: tuple[Callable[[random.Random, bytearray, Sequence[bytes]], None], ...] = (
    _flip, _set, _delete, _repeat, _insert, _replace, _splice, _cut,
)  # fmt: skip
