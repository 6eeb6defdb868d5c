"""Tokenizers: one made here, of bytes, that needs no download; and any from Hugging Face.

The byte-level vocabulary is fixed: token i is byte i, and 256 is all there is. So every text can be
encoded, and every process agrees on it without a file.
"""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Final, cast

import numpy as np
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import AutoTokenizer, PreTrainedTokenizerBase, PreTrainedTokenizerFast

from common.arrays import U16
from common.border import border, refuse_pointer
from common.errors import ConfigError
from worker.encoder import BYTE_ENCODER, Encoder

BYTES: Final = "bytes"
"""The setting that asks for the tokenizer made here."""

SETTING: Final = "settings.tokenizer"
_MOST_TOKENS: Final = 2**16


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
    fix = f"give a local folder, an id that is in the cache or can be downloaded, or {BYTES!r}"
    with border(SETTING, f"{name!r} cannot be loaded", fix):
        for path in sorted(Path(name).glob("*.json")):
            refuse_pointer(SETTING, path)
        loaded: PreTrainedTokenizerBase = AutoTokenizer.from_pretrained(name)
    return loaded


def encoder(name: str) -> Encoder:
    """Return what training encodes text with.

    Raises:
        ConfigError: as `load_tokenizer`, or it has too many tokens.
    """
    if name == BYTES:
        return BYTE_ENCODER
    tokenizer = load_tokenizer(name)
    if tokenizer.get_vocab() == byte_tokenizer().get_vocab():  # of a model that was exported here
        return BYTE_ENCODER
    with border(SETTING, f"{name!r} cannot encode text", "take another, or repair its files"):
        made = _encoder(tokenizer)
        made.encode("text")
    if made.num_tokens > _MOST_TOKENS:
        raise ConfigError(
            f"{SETTING}: {name!r} has {made.num_tokens} tokens; at most {_MOST_TOKENS} are"
            " supported"
        )
    return made


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

    def encode(text: str) -> U16:
        found = np.array(ids_of(text), np.int64)
        if np.isin(found, forbidden).any():
            # Its vocabulary has the mark as a word like any other: no piece may spell one.
            found = np.array([i for part in _broken(text, pattern) for i in ids_of(part)], np.int64)
            found = found[~np.isin(found, forbidden)]
        return found.astype(np.uint16)

    texts = set(tokenizer.get_vocab().values()) - control
    return Encoder(encode, end, max(texts | set(end), default=0) + 1, spelt)


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
