import asyncio
import os

import pytest

from common.errors import BadKeyError, ConfigError, NotAMemberError, ProtocolError
from common.foreign import boundary, foreign, refuse_pointer


def refused(raised):
    with (
        pytest.raises(ConfigError) as caught,
        boundary("settings.model", "cannot be built", "correct it"),
    ):
        raise raised
    return caught.value


@pytest.mark.parametrize(
    ("raised", "said"),
    [
        (KeyError("nope"), "KeyError: 'nope'"),
        (ValueError("two\n  lines"), "two lines"),
        (RuntimeError(), "RuntimeError"),
        (OSError(13, "Permission denied", "/x"), "Permission denied (/x)"),
        (OSError("no words of the system's"), "no words of the system's"),
        (MemoryError(), "not enough memory"),
        (RecursionError("deep"), "RecursionError: deep"),
        (ImportError("no module"), "ImportError: no module"),
    ],
)
def test_whatever_is_raised_becomes_one_line_with_the_setting_and_the_fix(raised, said):
    assert str(refused(raised)) == f"settings.model: cannot be built: {said}; correct it"


def test_a_panic_of_a_library_in_rust_is_turned_as_well():
    panic = type("PanicException", (BaseException,), {"__module__": "pyo3_runtime"})
    assert "PanicException: out of range" in str(refused(panic("out of range")))


@pytest.mark.parametrize("raised", [KeyboardInterrupt(), SystemExit(3), GeneratorExit()])
def test_what_ends_a_process_passes(raised):
    with pytest.raises(type(raised)), boundary("settings.model", "cannot be built"):
        raise raised


def test_our_own_errors_pass_as_they_are_so_the_innermost_boundary_speaks():
    with (
        pytest.raises(ProtocolError, match=r"^inner$"),
        boundary("settings.model", "cannot be built"),
    ):
        raise ProtocolError("inner")


def test_a_very_long_sentence_is_cut():
    assert len(str(refused(ValueError("x" * 10_000)))) < 400


def test_only_pointers_of_git_lfs_are_refused(tmp_path):
    file = tmp_path / "model.safetensors"
    for content in (b"", b"version", b"text\n" * 1000):
        file.write_bytes(content)
        refuse_pointer("settings.model", file)
    file.write_bytes(b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 7\n")
    with pytest.raises(ConfigError, match=r"settings\.model: .*model\.safetensors.*git lfs pull"):
        refuse_pointer("settings.model", file)


def test_a_pipe_in_the_place_of_a_model_s_file_is_refused_and_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "config.json")
    with pytest.raises(ConfigError, match=r"settings\.model: .*config\.json is a device, pipe"):
        refuse_pointer("settings.model", tmp_path / "config.json")
    refuse_pointer("settings.model", tmp_path)


class Panic(BaseException):
    """What a Rust library's panic is raised as."""


Panic.__module__ = "pyo3_runtime"


@pytest.mark.parametrize(
    "raised", [ValueError("x"), KeyError("x"), RecursionError(), MemoryError(), Panic("index")]
)
def test_whatever_a_parser_raises_is_the_error_that_stands_for_it(raised: BaseException) -> None:
    with pytest.raises(BadKeyError, match="a thing cannot be read"), foreign("a thing"):
        raise raised
    with pytest.raises(ConfigError, match="a file cannot be read"), foreign("a file", ConfigError):
        raise raised


@pytest.mark.parametrize(
    "raised", [KeyboardInterrupt(), SystemExit(1), asyncio.CancelledError(), NotAMemberError("no")]
)
def test_an_end_from_outside_and_errors_of_ours_pass_as_they_are(raised: BaseException) -> None:
    with pytest.raises(type(raised)) as caught, foreign("a thing"):
        raise raised
    assert caught.value is raised
