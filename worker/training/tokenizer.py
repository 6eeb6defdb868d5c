"""Tokenizers: one made here, of bytes, that needs no download; and any from Hugging Face.

The byte-level vocabulary is fixed: token i is byte i, and 256 is all there is. So every text can be
encoded, and every process agrees on it without a file.
"""

import json
import re
from collections.abc import Iterator
from dataclasses import replace
from hashlib import sha256
from pathlib import Path
from string import ascii_letters
from typing import Final, cast

import numpy as np
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import AutoTokenizer, PreTrainedTokenizerBase, PreTrainedTokenizerFast

from common.errors import ConfigError
from common.foreign import boundary
from worker.training.encoder import BYTE_ENCODER, Encoder, Tokens, token_type
from worker.training.named import GIVE, named

BYTES: Final = "bytes"
"""The setting that asks for the tokenizer made here."""

PINNED: Final = "settings.tokenizer"
"""The name under which a run pins what the tokenizer does: part of its schema, never changed."""

SETTING: Final = "settings.tokenizer"
"""How sentences about it begin."""

_PROBE: Final = (
    "The 12 quick  foxes\tdon't jump over 3.14159 lazy\n\n\ndogs: "
    "Grüße, naïve CAFÉ, ﬁne e\u0301, 你好, мир, שלום, 🙂🏽; if (x != 0) { return x[i]; }"
)
"""Text at whose places tokenizers differ that have the same words."""
_PROBED_WORDS: Final = 1000
_SWAPPED: Final = str.maketrans(ascii_letters, ascii_letters.swapcase())
"""Not all of Unicode: another Python has other tables of it."""


def byte_tokenizer() -> PreTrainedTokenizerFast:
    """Return the byte-level tokenizer, ready to be saved beside a model."""
    # A byte-level vocabulary writes each byte as one visible character: itself where it is visible
    # in Latin-1, else the next free character from 256 on.
    visible = {*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)}
    hidden = iter(range(256, 512))
    vocabulary = {chr(b if b in visible else next(hidden)): b for b in range(256)}
    tokenizer = Tokenizer(models.BPE(vocab=vocabulary, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    tokenizer.decoder = decoders.ByteLevel()
    made: PreTrainedTokenizerFast = PreTrainedTokenizerFast(  # type: ignore[no-untyped-call]
        tokenizer_object=tokenizer, clean_up_tokenization_spaces=False
    )
    return made


def load_tokenizer(name: str) -> PreTrainedTokenizerBase:
    """Return a tokenizer: BYTES, a local folder, or a Hugging Face id.

    Raises:
        ConfigError: it is neither here nor reachable, or broken.
    """
    if name == BYTES:
        return byte_tokenizer()
    fix = f"{GIVE}, or {BYTES!r}"
    with named(SETTING, name, "*.json", fix) as options:
        loaded: PreTrainedTokenizerBase = AutoTokenizer.from_pretrained(
            name, trust_remote_code=False, **options
        )
    return loaded


def encoder(name: str) -> Encoder:
    """Return what training encodes text with.

    Raises:
        ConfigError: as `load_tokenizer`, or it cannot encode.
    """
    if name == BYTES:
        return BYTE_ENCODER
    tokenizer = load_tokenizer(name)
    if tokenizer.get_vocab() == byte_tokenizer().get_vocab():  # of a model that was exported here
        return BYTE_ENCODER
    with boundary(SETTING, f"{name!r} cannot encode text", "take another, or repair its files"):
        made = _encoder(tokenizer)
        _refuse_random(name, tokenizer, made)
        return replace(made, fingerprint=_fingerprint(tokenizer, made))


def _encoder(tokenizer: PreTrainedTokenizerBase) -> Encoder:
    marks = sorted({str(m) for m in tokenizer.all_special_tokens}, key=len, reverse=True)
    ids = {m: cast("int", tokenizer.convert_tokens_to_ids(m)) for m in marks}
    # what no token stands for may well come out of text
    control = {i for m, i in ids.items() if m != tokenizer.unk_token}
    end = () if tokenizer.eos_token_id is None else (int(tokenizer.eos_token_id),)
    control.update(end)
    forbidden = np.array(sorted(control), np.int64)
    spelt = tuple(m for m in marks if ids[m] in control)
    pattern = re.compile("|".join(map(re.escape, spelt)) or r"(?!)")

    def ids_of(text: str) -> list[int]:
        found: list[int] = tokenizer(
            text, add_special_tokens=False, split_special_tokens=True, verbose=False
        )["input_ids"]
        return found

    texts = set(tokenizer.get_vocab().values()) - control
    num_tokens = max(texts | set(end), default=0) + 1
    dtype = token_type(num_tokens)

    def encode(text: str) -> Tokens:
        found = np.array(ids_of(text), np.int64)
        if np.isin(found, forbidden).any():
            # Its vocabulary has the mark as a word like any other: no piece may spell one.
            found = np.array([i for part in _broken(text, pattern) for i in ids_of(part)], np.int64)
            found = found[~np.isin(found, forbidden)]
        return cast("Tokens", found.astype(dtype))

    return Encoder(encode, end, num_tokens, spelt)


def _probes(tokenizer: PreTrainedTokenizerBase) -> tuple[str, str, str]:
    words = sorted((i, word) for word, i in tokenizer.get_vocab().items())
    some = " ".join(word for _, word in words[:: len(words) // _PROBED_WORDS + 1])
    return _PROBE, some, some.translate(_SWAPPED)


def _refuse_random(name: str, tokenizer: PreTrainedTokenizerBase, made: Encoder) -> None:
    """Let a tokenizer pass that makes the same of a text each time: training data has to be.

    Raises:
        ConfigError: it draws at random, by BPE dropout or sampling; it may well be how its model
            was trained, but a worker that starts again would go on in other data.
    """
    model = getattr(getattr(tokenizer, "backend_tokenizer", None), "model", None)
    dropout = getattr(model, "dropout", None)
    tries = (tuple(made.encode(t).tobytes() for t in _probes(tokenizer)) for _ in range(3))
    if dropout or len(set(tries)) > 1:
        how = f"dropout {dropout:.3g}" if dropout else "sampling"
        raise ConfigError(
            f"{SETTING}: {name!r} cuts one text in other ways each time ({how}), so no two"
            " processes would train on the same: set dropout to null in its tokenizer.json, or"
            " switch its sampling off"
        )


def _fingerprint(tokenizer: PreTrainedTokenizerBase, made: Encoder) -> bytes:
    """Return the SHA-256 of what the tokenizer does: its words, and what it makes of some text.

    Not of its files: another version of a library writes them in another way.
    """
    words = sorted((i, word) for word, i in tokenizer.get_vocab().items())
    ids = [made.encode(text).tolist() for text in _probes(tokenizer)]
    said = json.dumps([words, sorted(made.marks), made.end, *ids])
    return sha256(said.encode("ascii")).digest()


def _broken(text: str, marks: re.Pattern[str]) -> Iterator[str]:
    """Yield a text in parts, cut after the first character of each mark that it spells."""
    start = 0
    for match in marks.finditer(text):
        yield text[start : match.start() + 1]
        start = match.start() + 1
    yield text[start:]


def save_tokenizer(name: str, folder: Path) -> None:
    """Write the tokenizer's files into a model's folder."""
    load_tokenizer(name).save_pretrained(folder)
