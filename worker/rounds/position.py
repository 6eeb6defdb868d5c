"""Where a follower of the log stands: how far it has read, and which version it has here."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from common.documents import Genesis, Record
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

    def leads_on(self, records: Sequence[Record]) -> bool:
        """Return whether whoever follows these goes to another version than it stands on."""
        moving = (r.commit is not None or r.rollback is not None for r in records)
        return self.behind or any(moving)

    def past(self, genesis: Genesis, records: Sequence[Record]) -> "Position":
        """Return where one stands that has read so much more, and moved to no other version.

        Raises:
            ProtocolError, DivergedError: they do not follow in this log.
        """
        end = self.log
        for record in records:
            end = end.after(genesis, record)
        if not self.leads_on(records):
            return replace(self, log=end)
        crossed = any(record.rollback is not None for record in records)
        return replace(self, log=end, rolled_back=crossed or (self.behind and self.rolled_back))

    def caught_up(self) -> "Position":
        """Return where one stands that has the files of its log's version, too."""
        return replace(self, version=self.log.version, digest=self.log.digest)

    def waits_for_files(self, num_records: int) -> bool:
        """Return whether nothing but files is missing, in a log of so many records."""
        return self.behind and self.next_seq == num_records

    @property
    def next_seq(self) -> int:
        """First record that was not followed."""
        return self.log.next_seq


def genesis_position(genesis: Genesis) -> Position:
    """Return where everybody starts: version 0, nothing of the log seen."""
    return Position(LogHead.of(genesis), 0, genesis.version0)
