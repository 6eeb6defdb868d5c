import pytest
from hypothesis import given
from hypothesis import strategies as st
from transformers import AutoTokenizer

from common.errors import ConfigError
from worker.data import END_OF_DOCUMENT, encode_bytes
from worker.tokenizer import byte_tokenizer, encoder, load_tokenizer, save_tokenizer

TOKENIZER = byte_tokenizer()


@given(st.text())
def test_any_text_becomes_its_bytes_and_comes_back(text):
    ids = TOKENIZER(text, add_special_tokens=False)["input_ids"]

    assert bytes(ids) == text.encode()
    assert TOKENIZER.decode(ids) == text


@given(st.text())
def test_training_reads_the_same_tokens_as_the_exported_tokenizer(text):
    ids = TOKENIZER(text)["input_ids"]

    assert encode_bytes(text).tolist() == [*ids, END_OF_DOCUMENT]


def test_the_vocabulary_is_the_256_bytes():
    assert sorted(TOKENIZER.get_vocab().values()) == list(range(256))


def test_a_saved_tokenizer_loads_with_auto_tokenizer(tmp_path):
    save_tokenizer("bytes", tmp_path)
    text = "def f(x):\n\treturn 'ä€🙂'  # two  spaces , and a comma"

    loaded = AutoTokenizer.from_pretrained(tmp_path)

    assert loaded(text)["input_ids"] == list(text.encode())
    assert loaded.decode(loaded(text)["input_ids"]) == text


def test_a_tokenizer_in_a_folder_is_used_as_well(tmp_path):
    save_tokenizer("bytes", tmp_path)

    assert encoder(str(tmp_path))("ab").tolist() == [97, 98, 0]  # as it was trained


def test_a_tokenizer_that_cannot_be_loaded_is_refused_with_the_fix(tmp_path):
    with pytest.raises(ConfigError, match="give a local folder"):
        load_tokenizer(str(tmp_path / "absent"))
