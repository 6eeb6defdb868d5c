"""Tokenizers: one made here, of bytes, that needs no download; and any from Hugging Face.

The byte-level vocabulary is fixed: token i is byte i, and 256 is all there is. So every text can be
encoded, and every process agrees on it without a file.
"""

from pathlib import Path
from typing import Final

import numpy as np
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import AutoTokenizer, PreTrainedTokenizerBase, PreTrainedTokenizerFast

from common.arrays import U16
from common.errors import ConfigError
from worker.data import Encode, encode_bytes

BYTES: Final = "bytes"
"""The setting that asks for the tokenizer made here."""


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
        ConfigError: it is neither here nor reachable.
    """
    if name == BYTES:
        return byte_tokenizer()
    try:
        loaded: PreTrainedTokenizerBase = AutoTokenizer.from_pretrained(name)
    except (OSError, ValueError) as e:
        raise ConfigError(
            f"tokenizer: {name!r} cannot be loaded: {_first_line(e)}; give a local folder, "
            f"an id that is in the cache or can be downloaded, or {BYTES!r}"
        ) from None
    return loaded


def encoder(name: str) -> Encode:
    """Return the function from a document to its tokens."""
    if name == BYTES:
        return encode_bytes
    tokenizer = load_tokenizer(name)
    if len(tokenizer) > 2**16:
        raise ConfigError(
            f"tokenizer: {name!r} has {len(tokenizer)} tokens; at most 65536 are supported"
        )
    if tokenizer.get_vocab() == byte_tokenizer().get_vocab():  # of a model that was exported here
        return encode_bytes
    end = [] if tokenizer.eos_token_id is None else [tokenizer.eos_token_id]

    def encode(text: str) -> U16:
        ids = tokenizer(text, add_special_tokens=False, verbose=False)["input_ids"]
        return np.array([*ids, *end], np.uint16)

    return encode


def _first_line(e: Exception) -> str:
    return str(e).strip().split("\n")[0]


def save_tokenizer(name: str, folder: Path) -> None:
    """Write the tokenizer's files into a model's folder."""
    load_tokenizer(name).save_pretrained(folder)
