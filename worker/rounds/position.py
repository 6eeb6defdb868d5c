"""Where a follower of the log stands: how far it has read, and which version it has here."""

from dataclasses import dataclass

from common.documents import Genesis
from common.ids import Digest
from common.log_head import LogHead


@dataclass(frozen=True, slots=True)
class Position:
    """Where a replica stands in log and chain; a document, so that it can be saved.

    Args:
        log: how far the log was followed, and the head there.
        version: number of the version that it stands on.
        digest: of that version.
        rolled_back: whether the newest move, or while `behind` the coming one, crosses a roll-back.
    """

    log: LogHead
    version: int
    digest: Digest
    rolled_back: bool = False

    @property
    def behind(self) -> bool:
        """Whether the log went on past `version` without the files to follow."""
        return (self.log.version, self.log.digest) != (self.version, self.digest)

    @property
    def next_seq(self) -> int:
        """First record that was not followed."""
        return self.log.next_seq


def genesis_position(genesis: Genesis) -> Position:
    """Return where everybody starts: version 0, nothing of the log seen."""
    return Position(LogHead.of(genesis), 0, genesis.version0)
