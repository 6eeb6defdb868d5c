"""What the store keeps of a round: nothing that could take a mask off."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from common.documents import Numbers, Plan
from common.ids import WorkerId

OPEN: Final = "open"
"""Field of the round table: the open round, a `SavedRound`."""

OUTCOME: Final = "outcome"
"""Field of the round table: seq of the record that ended its round."""


@dataclass(frozen=True, slots=True)
class SavedRound:
    """The open round.

    Args:
        num_records: length of the log when the cohort closed; a round's outcome is not before it.
        phase: a Phase's value.
        numbers: of U2, once `share_keys` is over.
        survivors: S, once the spool is sealed.
    """

    num_records: int
    plan: Plan
    phase: str
    numbers: Mapping[str, Numbers]
    survivors: tuple[WorkerId, ...]
