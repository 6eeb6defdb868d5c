"""Holds records that were read and are not followed yet: are they a log, and what is next?

    read --> held --next move--> followed          `worker/rounds/belief.py` says which move
               '--the session ends--> read again, from a coordinator that may be another

A record that no honest log holds is refused when it is read; a roll-back that no operator ordered,
once this worker stands on a version.
"""

from collections import deque

from common.documents import Genesis, Record
from common.errors import DivergedError
from common.log_head import LogHead
from common.rounds import Rule
from worker.rounds.belief import Move, next_move
from worker.rounds.tier import Tier
from worker.rounds.visited import Visited


class Held:
    """See the module docstring.

    Args:
        head: as far as the log was followed.
    """

    def __init__(self, genesis: Genesis, tier: Tier, head: LogHead) -> None:
        self._genesis = genesis
        self._tier = tier
        self._records: deque[Record] = deque()
        self._read = head
        self._rolled_back = head.rolled_back  # as far as it was followed

    def __len__(self) -> int:
        return len(self._records)

    @property
    def first(self) -> Record:
        """The next record of the log; there must be one."""
        return self._records[0]

    @property
    def next_seq(self) -> int:
        """First record that was not read."""
        return self._read.next_seq

    def restart(self, head: LogHead) -> None:
        """A session begins: what was not followed comes again, and may come otherwise."""
        self._tier.unread(self._records)
        self._records.clear()
        self._read, self._rolled_back = head, head.rolled_back

    def start(self, record: Record) -> None:
        """Take the record at which a newcomer may begin: it takes its word for what it says."""
        self._read = LogHead.at(record)
        self._add(record)

    def hold(self, record: Record) -> None:
        """Take the next record.

        Raises:
            ProtocolError, DivergedError: it does not follow, or says what cannot be.
        """
        self._read = self._read.after(self._genesis, record)
        self._add(record)

    def _add(self, record: Record) -> None:
        self._records.append(record)
        self._tier.read(record)

    def next(self, known: Visited, *, begun: bool, can_verify: bool) -> Move:
        """Return what to do with them; see `next_move`.

        Raises:
            DivergedError: a roll-back among them is no operator's (rule 14).
        """
        if begun:
            self._check_orders()
        return next_move(
            self._records,
            lambda record: self._tier.believes(record, known, begun=begun),
            begun=begun,
            can_verify=can_verify,
        )

    def take(self, num: int) -> list[Record]:
        """Return the first ones, one at least: they are held no more."""
        taken = [self._records.popleft() for _ in range(num)]
        self._rolled_back = taken[-1].rolled_back
        return taken

    def _check_orders(self) -> None:
        newest = self._rolled_back
        for record in self._records:
            if record.rollback is not None and (
                complaint := self._tier.rollback_complaint(record, newest)
            ):
                raise DivergedError(
                    f"the roll-back in record {record.seq} is refused by rule {Rule.RECORD}: "
                    f"{complaint}; ask the run's operator whether it was meant"
                )
            newest = record.rolled_back
