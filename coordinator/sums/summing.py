"""How each privacy tier's uploads become one sum. A new tier is a file, and its line here."""

from collections.abc import Callable, Mapping
from typing import Final, Protocol

from common.arrays import ReadBytes
from common.documents import Plan, SideValues
from common.ids import WorkerId
from common.terms import Terms
from coordinator.ports import Secrets
from coordinator.sums.aggregate import tls_sum
from coordinator.sums.masked_sum import masked_sum


class Summing(Protocol):
    """One tier's way. Its memory grows neither with the model nor with the cohort."""

    def __call__(
        self,
        terms: Terms,
        plan: Plan,
        secrets: Secrets,
        uploads: Mapping[WorkerId, ReadBytes],
        write: Callable[[bytes], None],
        /,
    ) -> SideValues:
        """Write the aggregate in order of its bytes; return the summed side values.

        Args:
            terms: of the round.
            plan: of the round.
            secrets: what the survivors revealed; empty in a tier in which nobody hides anything.
            uploads: by survivor, (offset, length) -> bytes of its spooled payload.
            write: appends to the aggregate file.

        Raises:
            BadUpdateError: what was written is to be thrown away.
        """
        ...


SUMMING: Final[Mapping[str, Summing]] = {"tls": tls_sum, "masked": masked_sum}
"""By the name of a tier, as a plan has it."""
