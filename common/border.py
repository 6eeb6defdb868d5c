"""Where bytes of another party are parsed: whatever the parser says of them is one error of ours.

Libraries raise what they like of bytes that they cannot read. `cryptography` alone has ValueError,
InvalidVersion, UnsupportedAlgorithm, DuplicateExtension, a panic of its Rust half, and more with
the next release; some of it only when a field is asked for. One party's bytes must not end another
party's process, so no list of classes stands here.
"""

import contextlib
from collections.abc import Iterator
from typing import Final

from common.errors import BadKeyError, CrosscloudError

_PANICS: Final = "pyo3_runtime"
"""Module of what a panic of a Rust library is raised as: no Exception, and not to be imported."""


@contextlib.contextmanager
def foreign(what: str, error: type[CrosscloudError] = BadKeyError) -> Iterator[None]:
    """Parse another party's bytes; the block holds the parser's calls, and nothing of ours.

    Args:
        what: is parsed, for the sentence.
        error: that stands for whatever is raised; errors of ours pass as they are.
    """
    try:
        yield
    except CrosscloudError:
        raise
    except BaseException as e:
        if not isinstance(e, Exception) and type(e).__module__ != _PANICS:
            raise
        raise error(f"{what} cannot be read") from None
