"""Rolling back: an earlier version's whole state becomes the head again, at a round boundary.

    asked --boundary--> restoring --its files are complete--> recorded
                          '--they cannot be had any more--> forgotten, and said so

Only the record counts: a coordinator that ends before it has forgotten that it was asked. So
whoever asked is answered no earlier: by the record, or by `NotRolledBack`. Which versions can still
be had is the shell's to know.
"""

from common import canonical
from common.documents import Genesis, Rollback
from common.errors import BadSignatureError, UnexpectedMessageError
from common.orders import order_complaint
from common.secagg.transcript import certificate_der, certified_key
from common.words import origin_agrees
from coordinator.ledger import Change, Ledger
from coordinator.ports import (
    Effect,
    Note,
    NotRolledBack,
    Restore,
    Restored,
    RestoreFailed,
    RollbackAsked,
)


class PendingRollback:
    """See the module docstring."""

    def __init__(self, genesis: Genesis, ledger: Ledger) -> None:
        self._genesis = genesis
        self._ledger = ledger
        self._restoring = False
        self.asked: RollbackAsked | None = None

    def ask(self, event: RollbackAsked) -> tuple[Effect, ...]:
        """Note what an operator wants.

        Raises:
            UnexpectedMessageError: no such version yet, or another roll-back is under way.
            BadSignatureError, BadKeyError: no worker of the masked tier would follow.
        """
        head = self._ledger.head
        if not 0 <= event.version < head.version:
            raise UnexpectedMessageError(
                f"the run stands on version {head.version}: only an earlier one can return, not "
                f"{event.version}"
            )
        if self.asked is not None:
            raise UnexpectedMessageError(
                f"{self.asked.by} asked for version {self.asked.version} before: wait for that"
            )
        if self._genesis.algorithm.masked:
            self._check_order(event)
        self.asked = event
        return (Note("rolling back", f"{event.by} asked for version {event.version}"),)

    def _check_order(self, event: RollbackAsked) -> None:
        if event.order is None:
            raise BadSignatureError("workers of the masked tier want an operator's signed order")
        head, asked = self._ledger.head, Rollback(event.version, 0, event.by, event.order)
        key = certified_key(certificate_der(event.order.certificate, event.by))
        complaint = order_complaint(
            asked,
            event.order.digest,  # the workers compare it with what they stood on
            canonical.digest(self._genesis),
            head.num_records,
            head.rolled_back_seq,
            key,
        )
        if complaint:
            raise BadSignatureError(f"{event.by}: {complaint}")

    def at_boundary(self) -> tuple[Effect, ...]:
        """No round is open: have the files made complete, once."""
        assert self.asked is not None
        if self._restoring:
            return ()
        self._restoring = True
        return (Restore(self.asked.version),)

    def restored(self, event: Restored, now_s: float, *changes: Change) -> tuple[Effect, ...]:
        """The files are complete: from here on that version's state is the head."""
        asked = self._end(event.version)
        rollback = Rollback(event.version, event.commits, asked.by, asked.order, event.origin)
        return self._ledger.rollback(rollback, event.digest, now_s, *changes)

    def failed(self, event: RestoreFailed) -> tuple[Effect, ...]:
        """The files cannot be had: the head stays."""
        self._end(event.version)
        return (NotRolledBack(event.version, event.detail),)

    def over(self, reason: str) -> tuple[Effect, ...]:
        """The run ends first."""
        asked, self.asked, self._restoring = self.asked, None, False
        return (
            () if asked is None else (NotRolledBack(asked.version, f"the run is over: {reason}"),)
        )

    def complaint(self, event: Restored) -> str:
        """Return why no worker would follow; "" if they would.

        In the masked tier a state that too few members vouched for is nobody's to stand on.
        """
        if not self._genesis.algorithm.masked or event.version == 0 or event.origin is None:
            return ""
        if origin_agrees(self._genesis, event.digest, event.origin):
            return ""
        return "too few members vouched for it, so no worker would stand on it: choose one before"

    def check(self, version: int) -> None:
        """Let the answer pass that is due.

        Raises:
            UnexpectedMessageError: nothing, or another version, is being restored.
        """
        if not self._restoring or self.asked is None or self.asked.version != version:
            raise UnexpectedMessageError(f"version {version} is not being restored")

    def _end(self, version: int) -> RollbackAsked:
        self.check(version)
        assert self.asked is not None
        asked, self.asked, self._restoring = self.asked, None, False
        return asked
