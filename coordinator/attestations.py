"""Who said that it verified the newest version: relayed to whoever could not check it alone.

A dropped member, a newcomer and a worker that was away adopt a version only on the word of c + 1
organisations (masked tier). The coordinator only passes those words on: it cannot make one up.
Words about older versions are forgotten; after a restart workers say theirs again as they join.
"""

from common.documents import Attestation
from common.errors import BadUpdateError, NotAMemberError
from common.ids import WorkerId
from coordinator.head import RunHead


class Attestations:
    """See the module docstring."""

    def __init__(self) -> None:
        self._of: dict[WorkerId, Attestation] = {}

    @property
    def workers(self) -> frozenset[WorkerId]:
        """Who verified the version that the newest words are about."""
        return frozenset(self._of)

    def of(self, head: RunHead) -> tuple[Attestation, ...]:
        """Return the words about the head."""
        return tuple(a for a in self._of.values() if _is_about(a, head))

    def add(self, worker: WorkerId, attestation: Attestation, head: RunHead) -> None:
        """Keep a worker's word about the head.

        Raises:
            NotAMemberError: it speaks in another's name.
            BadUpdateError: it is about a version that this run does not stand on.
        """
        if attestation.worker != worker:
            raise NotAMemberError(f"{worker} attests in the name of {attestation.worker}")
        if not _is_about(attestation, head):
            raise BadUpdateError(
                f"{worker} attests version {attestation.version} {attestation.digest[:16]}..., the "
                f"run stands on {head.version} {head.digest[:16]}..."
            )
        if any(not _is_about(a, head) for a in self._of.values()):
            self._of.clear()
        self._of[worker] = attestation


def _is_about(attestation: Attestation, head: RunHead) -> bool:
    return (attestation.version, attestation.digest) == (head.version, head.digest)
