"""Text files to batches of tokens, and to the validation shard that all processes share.

Batches are windows at random places. Batch n depends on the seed, the order and n alone, so two
integers are the whole cursor: a worker that starts again goes on with the batch it would have had.
One that lost its state draws another order: the same batches from the same version would be the
same update once more, and in two sums with and without it would show it.
"""

from array import array
from collections.abc import Callable, Mapping, Sequence
from hashlib import blake2b, sha256
from pathlib import Path
from typing import Final, TypeAlias

import numpy as np
import numpy.typing as npt

from common.canonical import Json
from common.errors import ConfigError
from worker.training.encoder import Encoder, Tokens, token_type
from worker.training.tally import Tally
from worker.training.texts import find_files, pieces

I64: TypeAlias = npt.NDArray[np.int64]

_KNOWN: Final = frozenset({"train", "validation", "text_field", "validation_tokens"})


def read_tokens(
    patterns: Sequence[str],
    encoder: Encoder,
    tally: Tally,
    text_field: str = "text",
    folder: Path | None = None,
) -> Tokens:
    """Read all documents that `patterns` name, in order.

    Memory is that of the tokens, of a piece of text, and eight bytes for each document.

    Args:
        patterns: files, folders (searched to the bottom) or globs.
        tally: is told what was read, and what was not.
        text_field: where a line of a .jsonl file has its text.
        folder: that patterns are relative to; None = the working folder.

    Returns:
        uint16[num_tokens], or uint32: the encoder's `token_type`.

    Raises:
        ConfigError: a pattern that names nothing, or a file that is not text.
    """
    dtype = token_type(encoder.num_tokens)
    tokens, digests = array(dtype.char), array("Q")
    for file in find_files(patterns, tally, folder or Path()):
        digest, spelt, is_empty = blake2b(digest_size=8), False, True
        for text, ends in pieces(file, text_field, tally):
            tokens.frombytes(encoder.encode(text).tobytes())
            digest.update(text.encode())
            spelt, is_empty = spelt or encoder.spells_a_mark(text), is_empty and not text
            if not ends:
                continue
            if is_empty:
                tally.note("documents left out, they are empty", file.path)
            else:
                tokens.extend(encoder.end)
                digests.append(int.from_bytes(digest.digest()))
            if spelt:
                what = "documents that spell a control token of the tokenizer: it stays text"
                tally.note(what, file.path)
            digest, spelt, is_empty = blake2b(digest_size=8), False, True
    tally.documents, tally.tokens = len(digests), len(tokens)
    tally.duplicates = len(digests) - len(np.unique(np.frombuffer(digests, np.uint64)))
    if not encoder.end:
        what = "documents without an end mark, the tokenizer has none: each runs into the next"
        tally.note(what, patterns[0], tally.documents)
    return np.frombuffer(tokens, dtype)


class Batches:
    """An endless stream of batches.

    Args:
        tokens: uint16 or uint32[num_tokens]
        seed: same seed, same batches; a name makes two workers differ.
        order: makes a worker that begins anew differ from itself; below 2**63, 0 = none was drawn.
    """

    def __init__(
        self, tokens: Tokens, *, batch: int, sequence: int, seed: int, name: str, order: int = 0
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


def validation_windows(tokens: Tokens, *, sequence: int, max_tokens: int = 0) -> I64:
    """Cut the validation shard into windows, the same in every process.

    Args:
        tokens: uint16 or uint32[num_tokens]
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


def _check_length(tokens: Tokens, needed: int, what: str) -> None:
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
        folder: `LearnerContext.folder`: what paths are relative to; the working folder by default.
    """

    def __init__(
        self,
        data: Mapping[str, Json] | None,
        encoder: Encoder,
        *,
        batch: int,
        sequence: int,
        seed: int,
        name: str,
        order: int = 0,
        folder: Callable[[str, str], Path] = lambda *_: Path(),
    ) -> None:
        self._folder = folder
        self._data, self._encoder = data or {}, encoder
        self._batch, self._sequence, self._seed, self._name = batch, sequence, seed, name
        self._order = order
        self._batches: Batches | None = None
        self._windows: I64 | None = None
        self.remarks: list[str] = []
        """What was read, and what was left out and why; a sentence each."""
        _check(self._data)
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

    def _tokens(self, part: str) -> Tokens:
        patterns = self._data.get(part)
        if not patterns:
            raise ConfigError(f"data.{part}: no files are set for {self._name!r}; list some")
        tally = Tally(part)
        text_field, folder = self._data.get("text_field", "text"), self._folder("data", part)
        tokens = read_tokens(patterns, self._encoder, tally, text_field, folder)
        self.remarks += tally.sentences()
        return tokens


def _check(data: Mapping[str, Json]) -> None:
    if unknown := sorted(data.keys() - _KNOWN):
        raise ConfigError(
            f"data: unknown setting {unknown[0]!r}; known are {', '.join(sorted(_KNOWN))}"
        )
    for part in ("train", "validation"):
        patterns = data.get(part) or []
        if not isinstance(patterns, list) or not all(isinstance(p, str) for p in patterns):
            raise ConfigError(f"data.{part}: expected a list of paths, got {str(patterns)[:60]!r}")
    if not isinstance(field := data.get("text_field", "text"), str):
        raise ConfigError(f"data.text_field: expected the name of a field, got {field!r}")
    most = data.get("validation_tokens", 0)
    if not isinstance(most, int) or isinstance(most, bool) or most < 0:
        raise ConfigError(f"data.validation_tokens: expected a whole number, 0 = all, got {most!r}")
