import asyncio

import pytest

from common.border import foreign
from common.errors import BadKeyError, ConfigError, NotAMemberError


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
