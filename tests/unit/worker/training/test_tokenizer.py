import itertools
import json
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import AutoTokenizer, PreTrainedTokenizerFast

from common.errors import ConfigError
from worker.training import tokenizer
from worker.training.data import read_tokens
from worker.training.encoder import BYTE_ENCODER, END_OF_DOCUMENT, encode_bytes
from worker.training.tally import Tally
from worker.training.texts import PIECE
from worker.training.tokenizer import byte_tokenizer, encoder, load_tokenizer, save_tokenizer

TOKENIZER = byte_tokenizer()


@given(st.text())
def test_any_text_becomes_its_bytes_and_comes_back(text):
    ids = TOKENIZER(text, add_special_tokens=False)["input_ids"]

    assert bytes(ids) == text.encode()
    assert TOKENIZER.decode(ids) == text


@given(st.text(st.characters(exclude_characters=chr(END_OF_DOCUMENT), exclude_categories=["Cs"])))
def test_training_reads_the_same_tokens_as_the_exported_tokenizer(text):
    assert encode_bytes(text).tolist() == TOKENIZER(text)["input_ids"]


@given(st.text(st.sampled_from("a\0é")))
def test_bytes_of_a_text_never_hold_the_end_of_a_document(text):
    assert END_OF_DOCUMENT not in encode_bytes(text).tolist()


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

    assert encoder(str(tmp_path)) is BYTE_ENCODER  # as it was trained


def test_a_tokenizer_that_cannot_be_loaded_is_refused_with_the_fix(tmp_path):
    with pytest.raises(ConfigError, match="give a local folder"):
        load_tokenizer(str(tmp_path / "absent"))


# Text is text, whatever it spells ----------------------------------------------------------------

CORPUS = ["def f(x):\n    return x + 1\n", "some words of a text, and more words\n"] * 20


def saved(folder, model, *, special, **options):
    """Save a tokenizer whose end mark is </s>, `special` or just added."""
    made = {
        "bpe": lambda: Tokenizer(models.BPE()),
        "unigram": lambda: Tokenizer(models.Unigram()),
        "word level": lambda: Tokenizer(models.WordLevel(unk_token="<unk>")),
    }[model]()
    marks = ["<s>", "</s>", "<unk>"]
    trainer: trainers.Trainer
    if model == "word level":
        made.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
        trainer = trainers.WordLevelTrainer(special_tokens=marks, show_progress=False)
    else:
        made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
        made.decoder = decoders.ByteLevel()
        kind = trainers.BpeTrainer if model == "bpe" else trainers.UnigramTrainer
        unknown: dict[str, Any] = {"unk_token": "<unk>"} if model == "unigram" else {}
        alphabet = pre_tokenizers.ByteLevel.alphabet()
        trainer = kind(
            vocab_size=400,
            initial_alphabet=alphabet,
            special_tokens=marks,
            show_progress=False,
            **unknown,
        )
    made.train_from_iterator([*CORPUS, "a </s> b"], trainer)
    file = json.loads(made.to_str())
    for token in file["added_tokens"]:
        token["special"] = special
    wrapped = PreTrainedTokenizerFast(
        tokenizer_object=Tokenizer.from_str(json.dumps(file)),
        eos_token="</s>",
        bos_token="<s>",
        unk_token="<unk>",
        **options,
    )
    wrapped.save_pretrained(folder)
    return encoder(str(folder))


@pytest.mark.parametrize("special", [True, False])
@pytest.mark.parametrize("model", ["bpe", "unigram", "word level"])
@pytest.mark.parametrize("text", ["a</s>b", "</s>", "a </s> b", "<s>a</s></s>", "x <s>\n</s>"])
def test_a_text_that_spells_a_control_token_stays_text(tmp_path, model, special, text):
    reads = saved(tmp_path, model, special=special)
    tokens = reads.encode(text).tolist()
    loaded = load_tokenizer(str(tmp_path))
    assert not {loaded.eos_token_id, loaded.bos_token_id} & set(tokens)
    assert tokens
    assert reads.spells_a_mark(text)
    assert reads.end == (loaded.eos_token_id,)
    if model == "bpe":
        assert loaded.decode(tokens) == text


def test_other_text_is_encoded_as_the_tokenizer_does_it(tmp_path):
    reads = saved(tmp_path, "bpe", special=True)
    loaded = load_tokenizer(str(tmp_path))
    for text in CORPUS:
        assert reads.encode(text).tolist() == loaded(text, add_special_tokens=False)["input_ids"]
        assert not reads.spells_a_mark(text)


def test_tokens_are_the_same_in_pieces_as_in_one(tmp_path):
    reads = saved(tmp_path / "tokenizer", "bpe", special=True)
    text = "".join(CORPUS) * 200
    (tmp_path / "a.txt").write_text(text)
    assert len(text) > PIECE
    tokens = read_tokens([str(tmp_path / "a.txt")], reads, Tally("train"))
    assert tokens.tolist() == [*reads.encode(text).tolist(), *reads.end]


def test_a_tokenizer_without_an_end_mark_is_said(tmp_path):
    made = Tokenizer(models.WordLevel({"<unk>": 0, "text": 1}, unk_token="<unk>"))
    wrapped = PreTrainedTokenizerFast(tokenizer_object=made, unk_token="<unk>")
    wrapped.save_pretrained(tmp_path / "tokenizer")
    (tmp_path / "a.txt").write_text("text")
    tally = Tally("train")
    read_tokens([str(tmp_path / "a.txt")], encoder(str(tmp_path / "tokenizer")), tally)
    assert "without an end mark" in " ".join(tally.sentences())


def test_the_largest_token_counts_and_not_how_many_there_are(tmp_path):
    reads = saved(tmp_path, "bpe", special=True)
    vocabulary = load_tokenizer(str(tmp_path)).get_vocab()
    assert reads.num_tokens == max(vocabulary.values()) + 1


@pytest.mark.parametrize(
    "content",
    [
        "",
        "{",
        "{}",
        "[]",
        '"text"',
        '{"version": "1.0", "model": {"type": "BPE", "vocab": {"a": 0}, "merges": ["a b"]}}',
        '{"version": "1.0", "added_tokens": [], "model": {"type": "no such model"}}',
        "version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 7\n",
    ],
)
def test_a_broken_tokenizer_is_one_sentence_with_the_settings_path(tmp_path, content):
    saved(tmp_path, "bpe", special=True)
    (tmp_path / "tokenizer.json").write_text(content)
    with pytest.raises(ConfigError, match=r"^settings\.tokenizer: "):
        encoder(str(tmp_path))


def words(folder, *words, unknown="<unk>"):
    made = Tokenizer(models.WordLevel({w: i for i, w in enumerate(words)}, unk_token=unknown))
    made.pre_tokenizer = pre_tokenizers.Whitespace()
    kept = PreTrainedTokenizerFast(tokenizer_object=made, unk_token=unknown, eos_token="</s>")
    kept.save_pretrained(folder)
    return str(folder)


def test_a_tokenizer_of_more_tokens_than_two_bytes_hold_has_four_for_each(tmp_path):
    most = 2**16 + 7
    reads = encoder(words(tmp_path / "t", "<unk>", "</s>", *(f"w{i}" for i in range(2, most))))
    (tmp_path / "a.txt").write_text(f"w2 w{most - 1}")
    tokens = read_tokens([str(tmp_path / "a.txt")], reads, Tally("train"))
    assert tokens.tolist() == [2, most - 1, 1]
    assert (reads.num_tokens, tokens.itemsize) == (most, 4)


def test_a_fingerprint_follows_what_a_tokenizer_does_and_not_its_files(tmp_path):
    usual = ("<unk>", "</s>", "a", "b", "c")
    first = encoder(words(tmp_path / "1", *usual)).fingerprint
    again = tmp_path / "2"
    words(again, *usual)
    content = json.loads((again / "tokenizer.json").read_text())
    (again / "tokenizer.json").write_text(json.dumps(content, indent=1, sort_keys=True))
    assert encoder(str(again)).fingerprint == first
    assert encoder(words(tmp_path / "3", "<unk>", "</s>", "b", "a", "c")).fingerprint != first
    lower = tmp_path / "4"
    words(lower, *usual)
    content["normalizer"] = {"type": "Lowercase"}
    (lower / "tokenizer.json").write_text(json.dumps(content))
    assert encoder(str(lower)).fingerprint != first
    assert len(first) == 32


def test_a_tokenizer_with_code_of_its_own_is_refused_and_nobody_is_asked(tmp_path, capsys):
    words(tmp_path, "<unk>", "</s>")
    settings = tmp_path / "tokenizer_config.json"
    known = json.loads(settings.read_text())
    auto_map = {"AutoTokenizer": ["own.Own", None]}
    settings.write_text(json.dumps({**known, "tokenizer_class": "Own", "auto_map": auto_map}))
    (tmp_path / "own.py").write_text("raise SystemExit('it ran')")
    with pytest.raises(ConfigError, match=r"^settings\.tokenizer: .* code of its own"):
        encoder(str(tmp_path))
    assert "[y/N]" not in capsys.readouterr().out


def with_model(folder, **values):
    path = folder / "tokenizer.json"
    content = json.loads(path.read_text())
    content["model"].update(values)
    path.write_text(json.dumps(content))
    return str(folder)


@pytest.mark.parametrize("dropout", [0.5, 1e-6])
def test_a_tokenizer_that_cuts_at_random_is_refused_by_name(tmp_path, dropout):
    first = saved(tmp_path, "bpe", special=True).fingerprint
    with pytest.raises(ConfigError, match=rf"^settings\.tokenizer: .* \(dropout {dropout:.3g}\)"):
        encoder(with_model(tmp_path, dropout=dropout))
    for none in (0.0, None):
        assert encoder(with_model(tmp_path, dropout=none)).fingerprint == first


def test_so_is_one_that_samples_in_a_way_of_its_own(tmp_path):
    reads = saved(tmp_path, "bpe", special=True)
    turn = itertools.count()
    drawn = replace(reads, encode=lambda text: reads.encode(text)[next(turn) % 2 :])
    with pytest.raises(ConfigError, match=r"^settings\.tokenizer: .* \(sampling\)"):
        tokenizer._refuse_random("mine", load_tokenizer(str(tmp_path)), drawn)


def test_a_fingerprint_does_not_follow_the_tables_of_this_python(tmp_path):
    """Its words in the other case are probed: letters that Unicode got after ASCII stay."""
    loaded = load_tokenizer(words(tmp_path, "<unk>", "</s>", "aB", "é", "ꟛ", "ß"))
    assert tokenizer._probes(loaded)[2].split()[2:] == ["Ab", "é", "ꟛ", "ß"]
