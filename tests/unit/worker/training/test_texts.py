"""Text as it is out there: every case is from a report, or a variation of one."""

import itertools
import json
import os
import tracemalloc
from pathlib import Path
from unittest import mock

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from common.errors import ConfigError
from worker.training import texts
from worker.training.data import read_tokens
from worker.training.encoder import BYTE_ENCODER, Encoder
from worker.training.tally import Tally
from worker.training.texts import PIECE, TextFile, cut, pieces


class Read:
    """The documents of some patterns, as bytes, and what is said of them."""

    def __init__(self, *patterns, text_field="text"):
        tally = Tally("train")
        tokens = read_tokens([str(p) for p in patterns], BYTE_ENCODER, tally, text_field)
        *self.documents, rest = bytes(tokens.astype(np.uint8)).decode().split("\0")
        assert rest == ""
        self.first, *self.notes = tally.sentences()
        assert tally.tokens == len(tokens)


@pytest.fixture
def jsonl(tmp_path):
    def read(content):
        (tmp_path / "a.jsonl").write_bytes(content)
        return Read(tmp_path / "a.jsonl")

    return read


def refused(*patterns, **options):
    with pytest.raises(ConfigError) as caught:
        Read(*patterns, **options)
    return str(caught.value)


# Lines of .jsonl ---------------------------------------------------------------------------------

# what str.splitlines takes for a line's end; JSON strings may hold those above U+001F as they are
OTHER_ENDS = "\x7f\x85\u2028\u2029"


@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_lines_end_at_lf_and_crlf_only(jsonl, end):
    rows = [f"before{c}after" for c in OTHER_ENDS]
    content = end.join(json.dumps({"text": r}, ensure_ascii=False) for r in rows)
    assert jsonl(content.encode()).documents == rows


@given(st.lists(st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]))))
def test_any_text_comes_back_whatever_it_holds(tmp_path_factory, rows):
    file = tmp_path_factory.mktemp("x") / "a.jsonl"
    file.write_text("".join(json.dumps({"text": r}, ensure_ascii=False) + "\n" for r in rows))
    assert Read(file).documents == [r for r in rows if r]


@pytest.mark.parametrize(
    "content",
    [
        b'\xef\xbb\xbf{"text": "a"}\n{"text": "b"}\n',
        b'{"text": "a"}\n\xef\xbb\xbf{"text": "b"}\n',  # files with marks, joined
        b'\n\n{"text": "a"}\n \t\r\n{"text": "b"}\n\n',
        b'{"text": "a"}\r\n\r\n{"text": "b"}',
    ],
)
def test_byte_order_marks_and_empty_lines_pass(jsonl, content):
    assert jsonl(content).documents == ["a", "b"]


def test_a_mark_within_a_text_is_text(jsonl):
    assert jsonl('{"text": "\ufeffa"}'.encode()).documents == ["\ufeffa"]


def test_a_line_whose_text_is_null_is_left_out_and_counted_with_its_place(jsonl):
    read = jsonl(b'{"text": "a"}\n{"text": null}\n{"text": null}\n')
    assert read.documents == ["a"]
    assert "'text' is null: 2, the first" in read.notes[0]
    assert "a.jsonl, line 2" in read.notes[0]


@pytest.mark.parametrize(
    ("line", "said"),
    [
        (b'{"text": ["a"]}', "is no text"),
        (b'{"text": 5}', "is no text, it is 5"),
        (b'{"text": {"en": "a"}}', "is no text"),
        (b'{"text": true}', "is no text"),
        (b'{"body": "a"}', "data.text_field"),
        (b'["a"]', "data.text_field"),
        (b"null", "data.text_field"),
        (b'{"text": "a"', "is no JSON object"),
        (b'{"text": "a"} {"text": "b"}', "is no JSON object"),
        (b"[" * 100_000, "is no JSON object"),
        (b'{"text": ' + b"9" * 10_000 + b"}", "is no text"),
        (b'{"text": "a", "text": "b"}', "'text' stands 2 times; make it one text"),
        (b'{"text": "a", "n": {"text": 1}, "text": null}', "'text' stands 2 times"),
        ('{"text": "a"}'.encode("utf-16-le"), "is no JSON object"),
        (b'{"text": "\0"}', "is no JSON object"),
        (b'{"text": "\xff"}', "is not UTF-8 at its byte 10"),
    ],
)
def test_a_line_that_is_no_text_is_refused_with_file_and_line(jsonl, line, said, tmp_path):
    with pytest.raises(ConfigError) as caught:
        jsonl(b'{"text": "fine"}\n\n' + line + b"\n")
    assert said in str(caught.value)
    assert f"{tmp_path}/a.jsonl, line 3" in str(caught.value)


def test_what_stands_beside_the_text_is_nobody_s_business(jsonl):
    beside = b'{"n": -%s, "text": "a", "m": {"text": 1, "text": 2}, "o": 1, "o": 2}'
    assert jsonl(beside % (b"9" * 10_000)).documents == ["a"]


@pytest.mark.parametrize(
    ("escaped", "text", "halves"),
    [
        (r"\ud800", "\ufffd", 1),
        (r"\udc00", "\ufffd", 1),
        (r"x\udc00\ud800y", "x\ufffd\ufffdy", 2),
        (r"\ud83d\ude42", "\U0001f642", 0),
        (r"one\u0000two\u0000", "one\ufffdtwo\ufffd", 2),
    ],
)
def test_lone_halves_and_escaped_nuls_become_u_fffd_and_are_counted(jsonl, escaped, text, halves):
    read = jsonl(b'{"text": "%s"}' % escaped.encode())
    assert read.documents == [text]
    counted = [f"read as U+FFFD: {halves}, the first" in n and "line 1" in n for n in read.notes]
    assert counted == [True] * (halves > 0)


# Files of text -----------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["a.txt", "a.TXT", "A.Md", "a.py", "a.PY"])
def test_endings_count_in_any_case_and_a_byte_order_mark_is_no_text(tmp_path, name):
    (tmp_path / name).write_bytes(b"\xef\xbb\xbftext\r\n\xe2\x80\xa8")
    assert Read(tmp_path).documents == ["text\r\n\u2028"]


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"abc\nde\xff", r"not UTF-8 at byte 6, line 2"),
        (b"\xef\xbb\xbfabc\xff", r"not UTF-8 at byte 6, line 1"),
        (b"x\n" * PIECE + b"\xe4ndern", f"not UTF-8 at byte {2 * PIECE}, line {PIECE + 1}"),
        (b"a" * (PIECE + 2) + b"\xe2\x82", f"not UTF-8 at byte {PIECE + 2}, line 1"),
        ("text".encode("utf-16"), "is UTF-16"),
        ("text".encode("utf-32"), "is UTF-32"),
        (b"\0\0\xfe\xff\0\0\0t", "is UTF-32"),
        ("a\nb".encode("utf-16-le"), "line 1, holds a NUL byte: it is no text"),
        (b"\xef\xbb\xbf" + bytes(1000), "line 1, holds a NUL byte"),
        (b"\x7fELF\x02\x01\x01" + bytes(8), "line 1, holds a NUL byte"),
        (b"x\n" * PIECE + b"y\0", f"line {PIECE + 1}, holds a NUL byte"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 9\n", "git lfs pull"),
    ],
)
def test_what_is_not_utf8_text_is_refused_with_its_place(tmp_path, content, said):
    (tmp_path / "a.txt").write_bytes(content)
    sentence = refused(tmp_path)
    assert said in sentence
    assert "a.txt" in sentence


def test_a_character_on_the_boundary_of_two_blocks_is_one(tmp_path):
    for shift in range(4):
        (tmp_path / "a.txt").write_text("x" * shift + "\U0001f642" * PIECE)
        assert Read(tmp_path).documents == ["x" * shift + "\U0001f642" * PIECE]


# Which files -------------------------------------------------------------------------------------


def texts_in(folder, *names):
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(f"text of {name}")


def test_linked_folders_are_searched_and_a_link_back_ends(tmp_path):
    texts_in(tmp_path, "data/a.txt", "far/b.txt", "far/deep/c.txt")
    (tmp_path / "data" / "link").symlink_to(tmp_path / "far")
    (tmp_path / "far" / "deep" / "back").symlink_to(tmp_path / "data")
    read = Read(tmp_path / "data")
    assert read.documents == ["text of data/a.txt", "text of far/b.txt", "text of far/deep/c.txt"]
    assert not read.notes


def test_files_of_other_endings_are_counted_by_ending(tmp_path):
    texts_in(tmp_path, "a.txt", "b.json", "c.json", "x/d.pdf", "Makefile")
    read = Read(tmp_path)
    assert read.first.startswith("data.train: 1 file, 1 document, 14 tokens; 0 equal")
    assert [n.split(" the first")[0] for n in read.notes] == [
        "data.train: files left out, their ending is .json: 2,",
        "data.train: files left out, they have no ending: 1,",
        "data.train: files left out, their ending is .pdf: 1,",
    ]


def test_a_file_that_two_patterns_name_is_read_once_and_that_is_said(tmp_path):
    texts_in(tmp_path, "x/a.txt", "x/b.txt")
    (tmp_path / "y.txt").symlink_to(tmp_path / "x" / "a.txt")
    os.link(tmp_path / "x" / "b.txt", tmp_path / "z.txt")
    names = ("x", "x/*.txt", "y.txt", "z.txt", "x/../x/a.txt")
    read = Read(*(tmp_path / n for n in names))
    assert read.documents == ["text of x/a.txt", "text of x/b.txt"]
    assert "named twice, or linked to: read once: 5" in read.notes[0]


def test_a_mounted_configuration_map_is_read_once(tmp_path):
    texts_in(tmp_path, "..2026/a.txt")
    (tmp_path / "..data").symlink_to("..2026")
    (tmp_path / "a.txt").symlink_to("..data/a.txt")
    assert Read(tmp_path).documents == ["text of ..2026/a.txt"]


def test_a_folder_that_a_glob_matches_is_searched_too(tmp_path):
    texts_in(tmp_path, "a.txt", "x/b.txt", "x/y/c.txt")
    assert len(Read(tmp_path / "*").documents) == 3
    assert len(Read(tmp_path / "**").documents) == 3


def test_links_that_lead_nowhere_and_pipes_are_said(tmp_path):
    texts_in(tmp_path, "a.txt")
    (tmp_path / "gone.txt").symlink_to(tmp_path / "nowhere")
    os.mkfifo(tmp_path / "pipe.txt")
    (tmp_path / "self").symlink_to(tmp_path / "self")
    said = " ".join(Read(tmp_path).notes)
    assert "No such file or directory: 1, the first" in said
    assert "pipes or sockets: 1" in said
    assert "symbolic links: 1" in said


def test_a_folder_or_file_that_cannot_be_read_is_said_and_refused_where_it_is_named(
    tmp_path, monkeypatch
):
    texts_in(tmp_path, "a.txt", "lost+found/b.txt", "closed.txt")
    forbid(monkeypatch, tmp_path / "lost+found", tmp_path / "closed.txt")
    read = Read(tmp_path)
    assert read.documents == ["text of a.txt"]
    assert [n.split(":")[1] for n in read.notes] == [
        " folders left out, Permission denied",
        " files left out, Permission denied",
    ]
    assert "Permission denied" in refused(tmp_path / "closed.txt")
    assert "Permission denied" in refused(tmp_path / "lost+found")


def forbid(monkeypatch, *paths):
    """Let the system refuse these paths: whoever runs the tests may be allowed everything."""

    def guarded(ask):
        def asked(path, *args, **kwargs):
            if str(path) in map(str, paths):
                raise PermissionError(13, "Permission denied", str(path))
            return ask(path, *args, **kwargs)

        return asked

    monkeypatch.setattr(os, "scandir", guarded(os.scandir))
    monkeypatch.setattr(Path, "open", guarded(Path.open))


@pytest.mark.parametrize("pattern", ["~no-such-user/x", "a\0b", "x" * 5000, "", "[", "*.txt"])
def test_any_pattern_that_names_nothing_is_refused_in_a_sentence(tmp_path, pattern, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert refused(pattern).startswith("data.train: ")


def test_equal_documents_are_counted(tmp_path):
    for name in ("a.txt", "b.txt", "c.txt"):
        (tmp_path / name).write_text("the same" if name != "b.txt" else "another")
    read = Read(tmp_path)
    assert len(read.documents) == 3
    assert "1 equal to an earlier document" in read.first


def test_empty_documents_are_left_out_and_counted(tmp_path):
    texts_in(tmp_path, "a.txt")
    (tmp_path / "b.txt").write_bytes(b"\xef\xbb\xbf")
    (tmp_path / "c.jsonl").write_text('{"text": ""}\n')
    read = Read(tmp_path)
    assert read.documents == ["text of a.txt"]
    assert "empty: 2, the first" in read.notes[0]


def test_a_folder_of_any_number_of_endings_is_said_in_a_few_sentences(tmp_path):
    texts_in(tmp_path, "a.txt", *(f"part.{i:03}" for i in range(200)))
    read = Read(tmp_path)
    assert len(read.notes) < 20
    assert read.notes[-1] == "data.train: of 188 other kinds: 188"


# Memory ------------------------------------------------------------------------------------------


@given(st.text(st.sampled_from("ab \n\t\u2028"), max_size=300), st.integers(2, 40))
def test_pieces_are_the_text_and_none_is_longer_than_a_piece(text, length):
    with mock.patch.object(texts, "PIECE", length):
        found = list(cut(text[i : i + 7] for i in range(0, len(text), 7)))
    assert "".join(piece for piece, _ in found) == text
    assert max(len(piece) for piece, _ in found) <= length
    assert [ends for _, ends in found] == [False] * (len(found) - 1) + [True]


def test_a_text_is_cut_between_lines_where_it_can_be(tmp_path):
    (tmp_path / "a.txt").write_text("def f():\n    return 1\n\nx = 2\n" * (PIECE // 10))
    found = [p for p, _ in pieces(TextFile(tmp_path / "a.txt", named=True), "text", Tally("train"))]
    assert len(found) > 2
    assert all(
        p.endswith("\n") and p[-2] != "\n" and q[0] not in " \n"
        for p, q in itertools.pairwise(found)
    )


@pytest.mark.parametrize("name", ["a.txt", "a.jsonl"])
def test_memory_is_that_of_the_tokens_and_a_piece(tmp_path, name):
    one, num_bytes = "def f(x):\n    return x + 1\n", 20 * 2**20
    text = one * (num_bytes // len(one))
    (tmp_path / name).write_text(json.dumps({"text": text}) if name.endswith("l") else text)
    longest = 0

    def encode(piece):
        nonlocal longest
        longest = max(longest, len(piece))
        return np.zeros(len(piece) // 4, np.uint16)  # as many as of words

    tracemalloc.start()
    try:
        tokens = read_tokens([str(tmp_path / name)], Encoder(encode, (0,), 1), Tally("train"))
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert longest <= PIECE
    line = 0 if name == "a.txt" else 3 * num_bytes  # as bytes, without its end, and as text
    assert peak < 1.3 * tokens.nbytes + line + 16 * PIECE


def test_a_file_s_name_may_be_anything_and_what_is_said_of_it_is_one_printable_line(tmp_path):
    texts_in(tmp_path, "a.txt")
    for name in (b"\xff.pdf", b"two\nlines.xyz", b"\x1b[31m.zip"):
        (tmp_path / os.fsdecode(name)).write_text("x")
    said = Read(tmp_path).notes
    assert len(said) == 3
    assert all(n.encode().isascii() and n.isprintable() for n in said)


# Names as they are out there ---------------------------------------------------------------------


@pytest.mark.parametrize("folder", ["run [2024]", "[a]", "x{1}/[!b]", "what?"])
@pytest.mark.parametrize("pattern", ["", "a.txt", "*.txt", "**/*.txt", "[a].txt"])
def test_a_folder_s_own_name_is_no_pattern(tmp_path, folder, pattern):
    texts_in(tmp_path, f"{folder}/a.txt")
    assert Read(tmp_path / folder / pattern).documents == [f"text of {folder}/a.txt"]


def test_brackets_are_a_pattern_where_no_folder_has_that_very_name(tmp_path):
    texts_in(tmp_path, "x1/a.txt", "x2/a.txt", "x3/a.txt")
    assert Read(tmp_path / "x[12]" / "*.txt").documents == ["text of x1/a.txt", "text of x2/a.txt"]


def test_hidden_files_and_folders_below_a_named_one_are_left_out_and_counted(tmp_path):
    texts_in(tmp_path, "a.txt", ".git/description.txt", "x/.ipynb_checkpoints/a-checkpoint.py")
    (tmp_path / "x" / "._a.txt").write_bytes(b"\x00\x05\x16\x07\xff\xfe")
    read = Read(tmp_path)
    assert read.documents == ["text of a.txt"]
    assert [n.split(" the first")[0] for n in read.notes] == [
        "data.train: hidden folders left out: 2,",
        "data.train: hidden files left out: 1,",
    ]


def test_what_is_hidden_is_read_where_it_is_named(tmp_path):
    texts_in(tmp_path, ".cache/text/a.txt", ".b.txt")
    named = Read(tmp_path / ".cache", tmp_path / ".b.txt")
    assert named.documents == ["text of .cache/text/a.txt", "text of .b.txt"]


@pytest.mark.parametrize("pattern", ["", " "])
def test_a_path_that_is_empty_is_not_the_folder_of_the_process(tmp_path, pattern, monkeypatch):
    texts_in(tmp_path, "secrets.txt")
    monkeypatch.chdir(tmp_path)
    assert "is no path" in refused(pattern)
    assert Read(".").documents == ["text of secrets.txt"]
