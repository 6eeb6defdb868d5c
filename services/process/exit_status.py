"""How a process of ours ended, as its supervisor and a shell see it: the one table of all commands.

A supervisor may start again what ended with anything but `OVER`; after `SETTINGS` that is in vain
until somebody has looked. `docs/operations.md`, section 8, holds the same sentences.
"""

from enum import IntEnum
from typing import Self

from common.errors import ConfigError, ToldToEndError


class Exit(IntEnum):
    """The exit statuses; `sentence` says what each means."""

    sentence: str

    def __new__(cls, status: int, sentence: str) -> Self:
        """Make a member of a number and its sentence."""
        made = int.__new__(cls, status)
        made._value_ = status
        made.sentence = sentence
        return made

    OVER = 0, "the run is over; or the command has done what it was asked"
    FAILED = 1, "it failed, was refused, or diverged: its last line says why"
    SETTINGS = 2, "a setting, the genesis or the learner is wrong: its last line names it"
    TOLD = 75, "SIGTERM, SIGHUP or Ctrl-C ended it before that: started again, it goes on"


def exit_of(error: BaseException) -> Exit:
    """Return the status of a process that ends with `error`."""
    match error:
        case ToldToEndError():
            return Exit.TOLD
        case ConfigError():
            return Exit.SETTINGS
        case _:
            return Exit.FAILED
