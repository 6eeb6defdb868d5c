import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from common.errors import ConfigError
from worker.training.data import Batches, TextData, read_tokens, validation_windows
from worker.training.encoder import BYTE_ENCODER
from worker.training.tally import Tally

TOKENS = np.arange(1000, dtype=np.uint16)


def batches(**changes):
    return Batches(TOKENS, **{"batch": 3, "sequence": 8, "seed": 1, "name": "aws", **changes})


def test_documents_are_read_in_order_and_ended_by_a_zero(tmp_path):
    (tmp_path / "b.txt").write_text("two")
    (tmp_path / "a.py").write_text("one")
    (tmp_path / "ignored.bin").write_bytes(b"\xff")

    tokens = read_tokens([str(tmp_path)], BYTE_ENCODER, Tally("train"))

    assert bytes(tokens.astype(np.uint8)) == b"one\0two\0"


def test_jsonl_gives_one_document_per_line(tmp_path):
    lines = [json.dumps({"body": t}) for t in ("first\nline", "zweite Zeile: ä")]
    (tmp_path / "a.jsonl").write_text("\n".join(lines) + "\n")

    tokens = read_tokens(
        [str(tmp_path / "*.jsonl")], BYTE_ENCODER, Tally("train"), text_field="body"
    )

    assert bytes(tokens.astype(np.uint8)).decode() == "first\nline\0zweite Zeile: ä\0"


def test_folders_are_searched_to_the_bottom(tmp_path):
    (tmp_path / "x" / "y").mkdir(parents=True)
    (tmp_path / "x" / "y" / "deep.py").write_text("deep")

    assert len(read_tokens([str(tmp_path)], BYTE_ENCODER, Tally("train"))) == 5


@pytest.mark.parametrize("pattern", ["absent.txt", "absent/*.py", "empty"])
def test_a_pattern_that_names_nothing_is_refused_by_name(tmp_path, pattern):
    (tmp_path / "empty").mkdir()

    with pytest.raises(ConfigError, match=pattern.replace("*", r"\*")):
        read_tokens([str(tmp_path / pattern)], BYTE_ENCODER, Tally("train"))


def test_a_file_of_another_kind_is_refused_when_it_is_named(tmp_path):
    (tmp_path / "a.pdf").write_text("text")

    with pytest.raises(ConfigError, match=r"a\.pdf is not one of"):
        read_tokens([str(tmp_path / "a.pdf")], BYTE_ENCODER, Tally("train"))


def test_text_that_is_not_utf8_is_refused_with_its_place(tmp_path):
    (tmp_path / "a.txt").write_bytes(b"abc\xff")

    with pytest.raises(ConfigError, match=r"a\.txt is not UTF-8 at byte 3"):
        read_tokens([str(tmp_path)], BYTE_ENCODER, Tally("train"))


@pytest.mark.parametrize("line", ["{", "[]", '{"body": "x"}'])
def test_a_jsonl_line_without_text_is_refused_with_its_number(tmp_path, line):
    (tmp_path / "a.jsonl").write_text('{"text": "x"}\n' + line)

    with pytest.raises(ConfigError, match="line 2"):
        read_tokens([str(tmp_path)], BYTE_ENCODER, Tally("train"))


def test_a_batch_holds_consecutive_tokens():
    batch = batches().take()

    assert (batch.shape, batch.dtype) == ((3, 9), np.int64)
    assert np.array_equal(batch - batch[:, :1], np.tile(np.arange(9), (3, 1)))


def test_every_token_can_be_drawn_and_none_beyond():
    stream = Batches(TOKENS[:12], batch=1, sequence=3, seed=0, name="aws")

    assert {int(t) for _ in range(200) for t in stream.take().ravel()} == set(range(12))


def test_equal_seeds_draw_equal_batches_and_names_differ():
    assert np.array_equal(batches().take(), batches().take())
    assert not np.array_equal(batches().take(), batches(name="gcp").take())
    assert not np.array_equal(batches().take(), batches(seed=2).take())


def test_another_order_draws_other_batches_and_a_cursor_brings_its_own():
    begun, anew = batches(order=2**63 - 1), batches(order=5)
    first, second = begun.take(), begun.take()
    assert not np.array_equal(anew.take(), first)
    assert not np.array_equal(batches().take(), first)

    kept = batches(order=2**63 - 1)
    kept.take()
    anew.load_state(kept.state())
    assert np.array_equal(anew.take(), second)


def test_a_cursor_of_before_there_was_an_order_goes_on_without_one():
    before, after = batches(), batches(order=7)
    state = before.state()
    after.load_state({"batch": state["batch"]})

    assert np.array_equal(after.take(), before.take())


@given(st.integers(0, 50))
def test_a_restored_cursor_goes_on_with_the_same_batch(num_taken):
    before, after = batches(), batches()
    for _ in range(num_taken):
        before.take()

    after.load_state(before.state())

    assert np.array_equal(before.take(), after.take())


def test_too_little_text_for_a_batch_is_refused_with_the_numbers():
    with pytest.raises(ConfigError, match="1000 tokens in all, fewer than one batch of 40 x 25"):
        batches(batch=40, sequence=25)


def test_validation_windows_cover_the_shard_once():
    windows = validation_windows(TOKENS[:100], sequence=9)

    assert windows.shape == (11, 10)
    assert windows[:, 1:].ravel().tolist() == list(range(1, 100))


def test_fewer_validation_windows_are_spread_over_the_shard():
    windows = validation_windows(TOKENS, sequence=9, max_tokens=27)

    assert windows[:, 0].tolist() == [0, 333, 666]


@pytest.mark.parametrize("max_tokens", [1, 999, 10_000])
def test_there_is_at_least_one_window_and_never_more_than_fit(max_tokens):
    windows = validation_windows(TOKENS, sequence=9, max_tokens=max_tokens)

    assert 1 <= len(windows) <= 111
    assert windows.max() < 1000


def test_a_missing_training_file_is_refused_at_start_and_missing_settings_on_use(tmp_path):
    def text_data(data):
        return TextData(data, BYTE_ENCODER, batch=1, sequence=4, seed=0, name="aws")

    with pytest.raises(ConfigError, match="absent"):
        text_data({"train": [str(tmp_path / "absent")]})
    with pytest.raises(ConfigError, match="unknown setting 'trian'"):
        text_data({"trian": []})
    with pytest.raises(ConfigError, match="expected a list of paths"):
        text_data({"train": "a.txt"})
    with pytest.raises(ConfigError, match=r"data\.validation: no files are set for 'aws'"):
        text_data(None).windows()


@pytest.mark.parametrize(
    ("data", "said"),
    [
        ({"text_field": ["a"]}, "data.text_field: expected the name"),
        ({"validation_tokens": "9"}, "data.validation_tokens: expected a whole number"),
        ({"validation_tokens": -1}, "data.validation_tokens"),
        ({"train": [1]}, "data.train: expected a list of paths"),
        ({"validation": ["absent.txt"]}, "data.validation: 'absent.txt' names no file"),
    ],
)
def test_settings_of_data_are_checked_at_start_by_their_path(data, said):
    with pytest.raises(ConfigError, match=said):
        TextData(data, BYTE_ENCODER, batch=1, sequence=4, seed=0, name="eval")


def test_what_was_read_is_remarked(tmp_path):
    (tmp_path / "a.txt").write_text("some text")
    data = {"train": [str(tmp_path)], "validation": [str(tmp_path)]}
    made = TextData(data, BYTE_ENCODER, batch=1, sequence=4, seed=0, name="aws")
    assert made.remarks == [
        "data.train: 1 file, 1 document, 10 tokens; 0 equal to an earlier document"
    ]


def test_patterns_are_relative_to_the_file_that_they_stand_in(tmp_path, monkeypatch):
    beside, here = tmp_path / "site [1]", tmp_path / "here"
    for folder in (beside, here):
        (folder / "text").mkdir(parents=True)
        (folder / "text" / "a.txt").write_text(folder.name)
    (here / "only").mkdir()
    (here / "only" / "b.txt").write_text("b")
    monkeypatch.chdir(here)

    def read(pattern):
        tally = Tally("train")
        return bytes(read_tokens([pattern], BYTE_ENCODER, tally, folder=beside).astype(np.uint8))

    for pattern in ("text", "text/a.txt", "text/*.txt", "**/*.txt", str(beside / "text")):
        assert read(pattern) == b"site [1]\0", pattern
    with pytest.raises(ConfigError) as absent:
        read("absent/*.txt")
    assert f"'absent/*.txt' names no file to read in {beside}; give" in str(absent.value)
    with pytest.raises(ConfigError) as meant:
        read("only")
    assert "relative to the file that it stands in, not to the working folder" in str(meant.value)


def test_a_folder_that_is_gone_is_a_sentence(tmp_path, monkeypatch):
    (tmp_path / "a.txt").touch()
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ConfigError, match=r"in .*/gone: a path is relative to the file"):
        read_tokens(["a.txt"], BYTE_ENCODER, Tally("train"), folder=tmp_path / "gone")


def test_so_is_a_working_folder_that_is_gone(tmp_path, monkeypatch):
    (tmp_path / "gone").mkdir()
    monkeypatch.chdir(tmp_path / "gone")
    (tmp_path / "gone").rmdir()
    with pytest.raises(ConfigError, match=r"^data\.train: 'a\.txt' cannot be looked for: No such"):
        read_tokens(["a.txt"], BYTE_ENCODER, Tally("train"))
