"""Text files to batches of tokens, and to the validation shard that all processes share.

Batches are windows at random places. Batch n depends on the seed, the order and n alone, so two
integers are the whole cursor: a worker that starts again goes on with the batch it would have had.
One that lost its state draws another order: the same batches from the same version would be the
same update once more, and in two sums with and without it would show it.
"""

import glob
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from hashlib import sha256
from pathlib import Path
from typing import Final, TypeAlias

import numpy as np
import numpy.typing as npt

from common.arrays import U16
from common.canonical import Json
from common.errors import ConfigError

I64: TypeAlias = npt.NDArray[np.int64]
Encode: TypeAlias = Callable[[str], U16]
"""One document to its tokens, its end mark included."""

SUFFIXES: Final = (".txt", ".py", ".jsonl")
END_OF_DOCUMENT: Final = 0
"""The byte 0 ends a document: text does not contain it."""


def encode_bytes(text: str) -> U16:
    """Return the UTF-8 bytes of `text` and END_OF_DOCUMENT: uint16[num_tokens], all < 256."""
    return np.frombuffer(text.encode() + bytes([END_OF_DOCUMENT]), np.uint8).astype(np.uint16)


def read_tokens(patterns: Sequence[str], encode: Encode, text_field: str = "text") -> U16:
    """Read all documents that `patterns` name, in order.

    Args:
        patterns: files, folders (searched to the bottom) or globs.
        encode: from a document to its tokens.
        text_field: where a line of a .jsonl file has its text.

    Returns:
        uint16[num_tokens]

    Raises:
        ConfigError: a pattern that names nothing, or a file that is not text.
    """
    files = [f for p in patterns for f in _files(p)]
    return np.concatenate(
        [encode(d) for f in files for d in _documents(f, text_field)] or [np.empty(0, np.uint16)]
    )


def _files(pattern: str) -> Iterable[Path]:
    path = Path(pattern).expanduser()
    if path.is_dir():
        found = [f for f in path.rglob("*") if f.suffix in SUFFIXES and f.is_file()]
    elif path.is_file():
        found = [path]
    else:
        found = [Path(f) for f in glob.glob(str(path), recursive=True) if Path(f).is_file()]
    if not found:
        raise ConfigError(
            f"data: {pattern!r} names no file; give files, folders or globs"
            f" of {', '.join(SUFFIXES)}"
        )
    if wrong := [f for f in found if f.suffix not in SUFFIXES]:
        raise ConfigError(f"data: {wrong[0]} is not one of {', '.join(SUFFIXES)}; convert it first")
    return sorted(found)


def _documents(file: Path, text_field: str) -> Iterable[str]:
    try:
        text = file.read_bytes().decode()
    except UnicodeDecodeError as e:
        raise ConfigError(
            f"data: {file} is not UTF-8 at byte {e.start}; convert it first"
        ) from None
    if file.suffix != ".jsonl":
        yield text
        return
    for number, line in enumerate(text.splitlines(), 1):
        try:
            yield str(json.loads(line)[text_field])
        except (ValueError, KeyError, TypeError):
            raise ConfigError(
                f"data: {file}, line {number}: no JSON object with a field {text_field!r}"
            ) from None


class Batches:
    """An endless stream of batches.

    Args:
        tokens: uint16[num_tokens]
        seed: same seed, same batches; a name makes two workers differ.
        order: makes a worker that begins anew differ from itself; below 2**63, 0 = none was drawn.
    """

    def __init__(
        self, tokens: U16, *, batch: int, sequence: int, seed: int, name: str, order: int = 0
    ) -> None:
        _check_length(tokens, batch * (sequence + 1), f"one batch of {batch} x {sequence} tokens")
        self._tokens, self._batch, self._sequence = tokens, batch, sequence
        self._key = [seed, int.from_bytes(sha256(name.encode()).digest()[:8])]
        self._order = order
        self._next = 0

    def take(self) -> I64:
        """Return the next batch: int64[batch, sequence + 1]; targets are inputs moved by one."""
        order = (self._order,) if self._order else ()
        places = np.random.default_rng([*self._key, *order, self._next]).integers(
            len(self._tokens) - self._sequence, size=(self._batch, 1)
        )
        self._next += 1
        windows: I64 = self._tokens[places + np.arange(self._sequence + 1)].astype(np.int64)
        return windows

    def state(self) -> dict[str, npt.NDArray[np.int64]]:
        """Return the cursor."""
        return {
            "batch": np.array(self._next, np.int64),
            "order": np.array(self._order, np.int64),
        }

    def load_state(self, state: Mapping[str, npt.NDArray[np.int64]]) -> None:
        """Go on where `state` was taken."""
        self._next = int(state["batch"])
        self._order = int(state.get("order", 0))  # what was saved before there was one has none


def validation_windows(tokens: U16, *, sequence: int, max_tokens: int = 0) -> I64:
    """Cut the validation shard into windows, the same in every process.

    Args:
        tokens: uint16[num_tokens]
        sequence: tokens that a window predicts.
        max_tokens: predict about so many, in windows spread evenly over the shard; 0 = all.

    Returns:
        int64[num_windows, sequence + 1]: the last token of one is the first of the next.
    """
    _check_length(tokens, sequence + 1, f"one validation window of {sequence} tokens")
    num_windows = (len(tokens) - 1) // sequence
    kept = min(num_windows, max(1, max_tokens // sequence)) if max_tokens else num_windows
    starts = np.arange(kept) * num_windows // kept * sequence
    windows: I64 = tokens[starts[:, None] + np.arange(sequence + 1)].astype(np.int64)
    return windows


def _check_length(tokens: U16, needed: int, what: str) -> None:
    if len(tokens) < needed:
        raise ConfigError(
            f"data: {len(tokens)} tokens in all, fewer than {what};"
            " add text, or lower batch and sequence"
        )


class TextData:
    """A process's training batches and validation windows, each read when it is first wanted.

    Args:
        data: `train` and `validation`: lists of files, folders or globs; `text_field` of .jsonl
            files (default "text"); `validation_tokens`: predict about so many (default 0 = all).
    """

    def __init__(
        self,
        data: Mapping[str, Json] | None,
        encode: Encode,
        *,
        batch: int,
        sequence: int,
        seed: int,
        name: str,
        order: int = 0,
    ) -> None:
        self._data, self._encode = data or {}, encode
        self._batch, self._sequence, self._seed, self._name = batch, sequence, seed, name
        self._order = order
        self._batches: Batches | None = None
        self._windows: I64 | None = None
        unknown = sorted(
            self._data.keys() - {"train", "validation", "text_field", "validation_tokens"}
        )
        if unknown:
            raise ConfigError(f"data: unknown setting {unknown[0]!r}")
        if self._data.get("train"):
            self.batches()  # a wrong path is said at start, not at the first step
        elif self._data.get("validation"):
            self.windows()

    def batches(self) -> Batches:
        """Return the training batches."""
        if self._batches is None:
            self._batches = Batches(
                self._tokens("train"),
                batch=self._batch,
                sequence=self._sequence,
                seed=self._seed,
                name=self._name,
                order=self._order,
            )
        return self._batches

    def windows(self) -> I64:
        """Return the validation windows: int64[num_windows, sequence + 1]."""
        if self._windows is None:
            self._windows = validation_windows(
                self._tokens("validation"),
                sequence=self._sequence,
                max_tokens=self._data.get("validation_tokens", 0),
            )
        return self._windows

    def _tokens(self, part: str) -> U16:
        patterns = self._data.get(part)
        if not patterns:
            raise ConfigError(f"data: no {part!r} files are set for {self._name!r}")
        if not isinstance(patterns, list) or not all(isinstance(p, str) for p in patterns):
            raise ConfigError(f"data: {part}: expected a list of paths, got {str(patterns)[:60]!r}")
        return read_tokens(patterns, self._encode, self._data.get("text_field", "text"))
