"""What a check found. A failure is a ConfigError: its sentence names the fix."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from common.errors import ConfigError, CrosscloudError
from services.config.secret_urls import masked


@dataclass(frozen=True, slots=True)
class Finding:
    """One check's outcome; `sentence` says what was found, or what to do."""

    check: str
    ok: bool
    sentence: str


def checked(check: str, look: Callable[[], str]) -> Finding:
    """Run one check: it returns what it found, or raises one of our errors."""
    try:
        return Finding(check, True, look())
    except CrosscloudError as e:
        return Finding(check, False, masked(" ".join(str(e).split())))


@contextmanager
def or_else(fix: str) -> Iterator[None]:
    """Turn what the system says into a ConfigError that ends with `fix`."""
    try:
        yield
    except OSError as e:
        raise ConfigError(f"{e.strerror or e}: {fix}") from None


class Stopwatch:
    """Milliseconds since it was made."""

    def __init__(self) -> None:
        self._began_s = time.monotonic()

    @property
    def ms(self) -> float:
        """So many."""
        return 1000 * (time.monotonic() - self._began_s)
