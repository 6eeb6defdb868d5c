"""What a round takes in which phase, and which phase follows which. `round.py` does the rest.

A phase that waits for one thing after the other has several steps:

    share_keys      ANSWERS
    collect_masked  SPOOL -> UPLOADS
    unmask          LISTING -> OPEN_SUM                  in the tls tier
                    LISTING -> SHARES -> MASKED_SUM      in the masked tier
    ending          ABANDONS

`TAKES` says in which steps a message, or the answer of one of the shell's processes, is looked at.
In every other one it raises, and nothing changes.
"""

import enum
from collections.abc import Mapping
from typing import Final, NamedTuple

from common.errors import UnexpectedMessageError
from common.rounds import Phase
from coordinator.ports import (
    Abandoned,
    Answered,
    Computed,
    ComputeFailed,
    Listed,
    Refused,
    Revealed,
    Sealed,
    SpoolOpened,
    Uploaded,
)

NEXT_PHASES: Final[Mapping[Phase, frozenset[Phase]]] = {
    Phase.COLLECTING_OFFERS: frozenset({Phase.SHARE_KEYS}),
    Phase.SHARE_KEYS: frozenset({Phase.COLLECT_MASKED, Phase.ABORTED}),
    Phase.COLLECT_MASKED: frozenset({Phase.UNMASK, Phase.ENDING, Phase.ABORTED}),
    Phase.UNMASK: frozenset({Phase.COMMITTED, Phase.ENDING, Phase.ABORTED}),
    Phase.ENDING: frozenset({Phase.ABORTED}),
    Phase.COMMITTED: frozenset(),
    Phase.ABORTED: frozenset(),
}


class RoundStep(enum.Enum):
    """What a round waits for."""

    NOTHING = enum.auto()  # it has not begun, or is over
    ANSWERS = enum.auto()
    SPOOL = enum.auto()  # that it takes uploads
    UPLOADS = enum.auto()
    LISTING = enum.auto()  # of the sealed spool
    SHARES = enum.auto()
    OPEN_SUM = enum.auto()
    MASKED_SUM = enum.auto()  # its secrets are known: what is still said changes nothing
    ABANDONS = enum.auto()


class Taken(NamedTuple):
    """In which steps something is looked at, and what is said of it in any other."""

    steps: frozenset[RoundStep]
    otherwise: str


_SUMS: Final = frozenset({RoundStep.OPEN_SUM, RoundStep.MASKED_SUM})
_REVEALING: Final = frozenset({RoundStep.SHARES, RoundStep.MASKED_SUM})
_SEALED: Final = frozenset({RoundStep.LISTING, RoundStep.SHARES}) | _SUMS

TAKES: Final[Mapping[type, Taken]] = {
    Answered: Taken(frozenset({RoundStep.ANSWERS}), "{worker} answers in {phase}"),
    Uploaded: Taken(
        _SEALED | {RoundStep.UPLOADS, RoundStep.ABANDONS},
        "{worker} uploads before the members are known",
    ),
    Listed: Taken(_REVEALING, "nothing is revealed in {phase}"),
    Revealed: Taken(_REVEALING, "nothing is revealed in {phase}"),
    Refused: Taken(
        _REVEALING | {RoundStep.ANSWERS, RoundStep.SPOOL, RoundStep.UPLOADS},
        "{worker} cannot refuse once its upload is complete",
    ),
    Abandoned: Taken(
        frozenset({RoundStep.ABANDONS}), "round {round} goes on: nothing is to be abandoned"
    ),
    SpoolOpened: Taken(
        frozenset({RoundStep.SPOOL, RoundStep.UPLOADS}), "no spool is to be opened in {phase}"
    ),
    Sealed: Taken(_SEALED, "nothing is to be sealed in {phase}"),
    Computed: Taken(_SUMS, "nothing is being computed in {phase}"),
    ComputeFailed: Taken(_SUMS, "nothing is being computed in {phase}"),
}


def check_taken(event: type, step: RoundStep, **words: str | None) -> None:
    """Let pass what is taken in a step.

    Args:
        event: its kind.
        words: what the sentence speaks of: worker, phase and round.

    Raises:
        UnexpectedMessageError: it comes too early or too late.
    """
    steps, otherwise = TAKES[event]
    if step not in steps:
        raise UnexpectedMessageError(otherwise.format(**words))
