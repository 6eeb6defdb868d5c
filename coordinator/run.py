"""One run: the coordinator's pure core. Events in; effects out, in the order to carry them out.

`handle` first lets one event change something, then lets time pass: leases end, the open round goes
on, and at a round boundary the run stops or closes the next cohort. One round is open at a time.

    Save phase -> Send                         before a member hears of a phase, it is saved
    Append -> Save -> Publish -> DropSpool      before anyone hears of an outcome, it is in the log

An illegal event raises a ProtocolError and changes nothing. It reads no clock, draws no randomness
and does no I/O: the same events at the same times give the same effects, byte for byte.

It is long because each event has its method here, and nowhere else.
"""

from collections.abc import Callable, Mapping
from typing import assert_never

from common import canonical
from common.documents import Abort, Control, Genesis
from common.errors import (
    NotAMemberError,
    UnexpectedMessageError,
    UnknownRoundError,
)
from common.ids import RoundId, WorkerId
from common.parties import Admits
from common.rounds import AbortReason, LeaveReason
from coordinator.backoff import Backoff
from coordinator.former import former_round
from coordinator.head import RunHead
from coordinator.ledger import Ledger
from coordinator.lifecycle import Lifecycle
from coordinator.membership import Member, Membership, check_report
from coordinator.offers import Offers
from coordinator.plan import Timings, closed, new_plan
from coordinator.ports import (
    Abandoned,
    Answered,
    Attested,
    Command,
    Computed,
    ComputeFailed,
    Delete,
    Departed,
    Disconnected,
    Dismiss,
    Draining,
    DropSpool,
    Effect,
    Evaluated,
    Event,
    Expelled,
    Finish,
    Heard,
    Joined,
    Listed,
    Note,
    Offered,
    Operated,
    Pace,
    Progressed,
    Put,
    Refused,
    Replaced,
    Restored,
    RestoreFailed,
    Revealed,
    RollbackAsked,
    Save,
    Sealed,
    Send,
    SpoolOpened,
    Table,
    Ticked,
    Uploaded,
)
from coordinator.rollback import PendingRollback
from coordinator.round import Round
from coordinator.saved_round import OPEN, OUTCOME
from coordinator.status import Status, status_of


class Run:
    """See the module docstring. Call `start` once, then `handle` for every event.

    Args:
        head: the log so far, folded.
        leader: this coordinator's name in the log.
        new_round_id: draws one.
        unix_offset_s: Unix time minus the clock of every `now_s`; it only dates records.
        admits: says whose certificate it is that a worker sent.
        evaluators: the same of an evaluator.
    """

    def __init__(
        self,
        genesis: Genesis,
        *,
        head: RunHead,
        leader: str,
        new_round_id: Callable[[], RoundId],
        unix_offset_s: float,
        timings: Timings,
        admits: Admits,
        evaluators: Admits,
    ) -> None:
        self._genesis = genesis
        self._algorithm = genesis.algorithm
        self._ledger = Ledger(genesis, head, unix_offset_s)
        self._leader = leader
        self._new_round_id = new_round_id
        self._timings = timings
        self._membership = Membership(timings.lease_s)
        self._offers = Offers(genesis, timings.default_grace_s, admits)
        self._round: Round | None = None
        self._lifecycle = Lifecycle(
            genesis.stop, self._ledger, canonical.digest(genesis), evaluators
        )
        self._rollback = PendingRollback(genesis, self._ledger)
        self._words = self._ledger.words
        self._backoff = Backoff()
        self._boundary_s = 0.0
        self._ending = False
        self._started = False

    def start(self, now_s: float, found: Mapping[Table, Mapping[str, bytes]]) -> tuple[Effect, ...]:
        """Take the lead: in the log; then end an earlier epoch's round and empty the live state.

        Args:
            now_s: as in `handle`.
            found: what the store holds, whoever wrote it; empty tables may be missing.
        """
        self._started, self._boundary_s = True, now_s
        if self._ledger.head.stopped:
            return (Finish(self._ledger.head.stopped),)
        former, forgotten = former_round(found, self._genesis, self._ledger.head)
        cleared = _deletes(found, Table.MEMBERS, Table.OFFERS)
        if former is None or former.num_records <= self._ledger.head.outcome_seq:
            told = self._ledger.takeover(
                self._leader, now_s, *cleared, *_deletes(found, Table.ROUND)
            )
            dropped = () if former is None else (DropSpool(former.plan.round),)
            return (*forgotten, *told, *dropped)
        detail = f"{self._leader} took over in {former.phase}"
        timeout_s = self._timings.resolve_timeout_s
        self._round = Round.inherited(former, self._algorithm, timeout_s, detail)
        strange = (
            Delete(Table.ROUND, f) for f in sorted(found[Table.ROUND].keys() - {OPEN, OUTCOME})
        )
        told = self._ledger.takeover(self._leader, now_s, *cleared, *strange)
        return (*told, *self._pass_time(now_s))

    def handle(self, event: Event, now_s: float) -> tuple[Effect, ...]:
        """Apply one event; return what must be done, in order.

        Args:
            event: what happened.
            now_s: seconds of a clock that never goes back.

        Raises:
            ProtocolError: the event is not allowed now; nothing changed.
        """
        if not self._started:
            raise AssertionError("nothing is decided before `start`")
        if self._ledger.head.stopped:
            return self._lifecycle.after_the_end(event, now_s)
        return (*self._apply(event, now_s), *self._pass_time(now_s))

    def status(self, now_s: float) -> Status:
        """Return what people may see now; changes nothing."""
        return status_of(
            head=self._ledger.head,
            elapsed_s=self._ledger.elapsed_s(now_s),
            algorithm=self._algorithm,
            membership=self._membership,
            offers=self._offers,
            open_round=self._round,
            stopping=self._lifecycle.stop is not None,
            rollback=self._rollback.asked,
            words=self._words,
            backoff=self._backoff,
            ending=self._ending,
            boundary_s=self._boundary_s,
            words_due_s=self._timings.key_timeout_s,
            now_s=now_s,
        )

    # What an event changes ------------------------------------------------------------------------

    def _apply(self, event: Event, now_s: float) -> tuple[Effect, ...]:
        match event:
            case Joined():
                return self._joined(event, now_s)
            case Heard():
                return self._heard(event, now_s)
            case Departed():
                return self._removed(self._membership.of_session(event.session), event.reason)
            case Disconnected():
                return self._disconnected(event)
            case Expelled():
                return self._expelled(event)
            case Offered():
                return self._offered(event, now_s)
            case Answered():
                member = self._membership.of_session(event.session)
                open_round = self._round_of(event.round)
                open_round.answer(member.worker, event.answer, event.sealed)
                return _renewed(member, now_s)
            case Listed():
                member = self._membership.of_session(event.session)
                open_round = self._round_of(event.round)
                told = open_round.sign(member.worker, event.signature, now_s)
                return (*_renewed(member, now_s), *told)
            case Revealed():
                member = self._membership.of_session(event.session)
                self._round_of(event.round).reveal(member.worker, event.own, event.mask)
                return _renewed(member, now_s)
            case Abandoned():
                member = self._membership.of_session(event.session)
                self._round_of(event.round).abandon(member.worker, event.signature)
                return _renewed(member, now_s)
            case Attested():
                return self._attested(event, now_s)
            case Refused():
                return self._refused(event, now_s)
            case Progressed():
                if (sender := self._membership.get(event.worker)) is None:
                    raise NotAMemberError(f"{event.worker} uploads and has not joined")
                return _renewed(sender, now_s)
            case SpoolOpened():
                return self._round_of(event.round).open_uploads(now_s)
            case Uploaded():
                self._round_of(event.round).upload(event.worker)
                uploader = self._membership.get(event.worker)
                return () if uploader is None else _renewed(uploader, now_s)
            case Sealed():
                return self._round_of(event.round).seal(event.survivors, now_s)
            case Computed():
                self._round_of(event.round).compute(event)
                return ()
            case ComputeFailed():
                self._round_of(event.round).fail(event)
                return ()
            case Evaluated():
                return self._lifecycle.evaluate(event.evaluation, now_s)
            case Operated():
                return self._operated(event, now_s)
            case RollbackAsked():
                return self._rollback.ask(event)
            case Restored():
                return self._restored(event, now_s)
            case RestoreFailed():
                return self._rollback.failed(event)
            case Draining():
                self._ending = True
                return ()
            case Ticked():
                return ()
            case _:
                assert_never(event)

    def _joined(self, event: Joined, now_s: float) -> tuple[Effect, ...]:
        check_report(event.worker, event.version, event.speed, self._ledger.head)
        if self._membership.is_open(event.session):
            raise UnexpectedMessageError("this session has already joined")
        former = self._membership.join(event, now_s)
        self._offers.belongs(event.worker, event.organisation)
        member = self._membership.of_session(event.session)
        self._ledger.begin(now_s)
        if former is not None and former.boot == event.boot:
            dropped, why = self._withdrawn(event.worker), "its stream broke"
        else:
            dropped = self._leave_open_work(event.worker, LeaveReason.RESTARTED)
            why = "its process started again"
        saved = Save((member.saved(), *dropped))
        resent = () if self._round is None else self._round.rejoin(event.worker, event.session)
        told = tuple(Send(event.session, w) for w in self._words.all(self._ledger.head))
        if former is None:
            note = Note("joined", f"{event.worker}, on version {event.version}", event.worker)
            return (saved, *told, *resent, note)
        again = f"{event.worker}, on version {event.version}: {why}"
        note = Note("rejoined", again, event.worker)
        return (saved, *_sends(former, Replaced()), *told, *resent, note)

    def _heard(self, event: Heard, now_s: float) -> tuple[Effect, ...]:
        member = self._membership.of_session(event.session)
        check_report(
            member.worker, event.version, max(event.speed, event.link_bps), self._ledger.head
        )
        effects = _renewed(member, now_s)
        moved = event.version != member.version
        member.version, member.pending_steps = event.version, event.pending_steps
        member.speed, member.link_bps = event.speed or member.speed, event.link_bps
        if moved:
            effects += (Save((member.saved(),)),)
        is_open = member.worker in self._offers or self._in_round(member)
        pace = Pace(
            local_steps=self._membership.local_steps(member, self._algorithm),
            paused=self._lifecycle.paused,
            num_records=self._ledger.head.num_records,
            void_offer="" if is_open else event.offer_nonce,
        )
        return (*effects, Send(member.session, pace))

    def _offered(self, event: Offered, now_s: float) -> tuple[Effect, ...]:
        member, offer = self._membership.of_session(event.session), event.offer
        if self._in_round(member):
            raise UnexpectedMessageError(f"{member.worker} offers before its round is over")
        self._offers.check(offer, member, self._ledger.head)
        self._offers.add(offer, now_s)
        kept = Save((Put(Table.OFFERS, offer.worker, canonical.encode(offer)),))
        return (*_renewed(member, now_s), kept)

    def _attested(self, event: Attested, now_s: float) -> tuple[Effect, ...]:
        """Relay a word for the newest version, whoever of the members brings it."""
        member, word = self._membership.of_session(event.session), event.attestation
        if not self._words.add(word, self._ledger.head):
            return _renewed(member, now_s)
        relayed = (
            Send(other.session, word)
            for other in self._membership.all()
            if other.connected and other.worker not in (member.worker, word.worker)
        )
        return (*_renewed(member, now_s), *relayed)

    def _refused(self, event: Refused, now_s: float) -> tuple[Effect, ...]:
        member = self._membership.of_session(event.session)
        open_round = self._round_of(event.round)
        why = open_round.refuse(member.worker, event.rule, event.sentence)
        said = f"{member.worker} {why}"
        note = Note("refused", said, member.worker, event.round, event.rule)
        return (*_renewed(member, now_s), note)

    def _disconnected(self, event: Disconnected) -> tuple[Effect, ...]:
        member = self._membership.disconnect(event.session)
        if member is None:
            return ()  # it was taken over, or left: both are known
        note = Note("disconnected", f"{member.worker}: its stream broke", member.worker)
        return (*_saves(self._withdrawn(member.worker)), note)

    def _expelled(self, event: Expelled) -> tuple[Effect, ...]:
        member = self._membership.get(event.worker)
        if member is None:
            return ()
        reason = LeaveReason.EXPELLED.sentence
        self._backoff.end()
        if self._round is not None:
            self._round.lose(event.worker, LeaveReason.EXPELLED)
        drain = _sends(member, Dismiss(finished=False, reason=reason))
        return (*self._removed(member, reason), *drain)

    def _removed(self, member: Member, reason: str) -> tuple[Effect, ...]:
        why = f"it left: {reason}"
        dropped = self._leave_open_work(member.worker, LeaveReason.DEPARTED, why)
        gone = self._membership.remove(member.worker)
        left = Note("left", f"{member.worker}: {reason}", member.worker)
        return (Save((gone, *dropped)), left)

    def _operated(self, event: Operated, now_s: float) -> tuple[Effect, ...]:
        if event.command is not Command.STOP:
            self._backoff.end()  # a person has looked: try at once
            self._offers.skip_interval()
            self._boundary_s = now_s
        elif self._lifecycle.stop is not None and self._round is not None:
            self._round.abort(AbortReason.STOPPED, f"{event.by} asked a second time")
        return self._lifecycle.operate(event, now_s)

    def _restored(self, event: Restored, now_s: float) -> tuple[Effect, ...]:
        self._rollback.check(event.version)
        if complaint := self._rollback.complaint(event):
            return self._rollback.failed(RestoreFailed(event.version, complaint))
        self._boundary_s = now_s
        self._offers.skip_interval()
        void = (Delete(Table.OFFERS, worker) for worker in self._offers.drop_all())
        return self._rollback.restored(event, now_s, *void)

    # What time changes ----------------------------------------------------------------------------

    def _pass_time(self, now_s: float) -> tuple[Effect, ...]:
        effects: list[Effect] = []
        for member in self._membership.lapse(now_s):
            silence = f"not heard for {now_s - member.heard_s:.1f} s"
            left = self._leave_open_work(member.worker, LeaveReason.SILENT, silence)
            effects += _saves(left)
            effects.append(Note("lost", f"{member.worker}: {silence}", member.worker))
        if self._round is not None:
            effects += self._round.advance(now_s, self._membership.gone(self._round.plan.offers))
            if self._round.outcome is not None:
                effects += self._concluded(self._round, self._round.outcome, now_s)
        left_out = self._backoff.left_out(now_s)
        live = (m.worker for m in self._membership.live())
        is_due = self._offers.is_due((w for w in live if w not in left_out), now_s)
        if self._round is None:
            effects += self._at_boundary(is_due, now_s)
        return tuple(effects)

    def _concluded(
        self, over: Round, outcome: Computed | Abort, now_s: float
    ) -> tuple[Effect, ...]:
        self._round, self._boundary_s = None, now_s
        version = self._ledger.head.version + isinstance(outcome, Computed)
        seq = str(self._ledger.head.num_records).encode("ascii")
        stale = self._offers.drop_stale(version)
        changes: tuple[Put | Delete, ...] = (
            Put(Table.ROUND, OUTCOME, seq),
            *(Delete(Table.OFFERS, worker) for worker in stale),
        )
        if isinstance(outcome, Abort):
            told = self._ledger.abort(outcome, now_s, *changes)
            if over.would_fail_again:
                why = f"{outcome.reason}: {outcome.detail}"
                self._backoff.failed(why, now_s, over.blamed)
        else:
            told = self._ledger.commit(outcome, now_s, *changes)
            self._backoff.committed(over.survivors)
        told += tuple(left for _, left in sorted(over.cohort.left.items()))
        return (*told, DropSpool(over.id)) if over.spool_open else told

    def _at_boundary(self, is_due: bool, now_s: float) -> tuple[Effect, ...]:
        needed = self._words.needed(self._ledger.head)
        if (stop := self._lifecycle.due(now_s)) is not None:  # all words are durable, too
            is_late = now_s >= self._boundary_s + self._timings.key_timeout_s
            return self._finish(stop, now_s) if is_late or not needed else ()
        if self._rollback.asked is not None:
            return () if self._ending else self._rollback.at_boundary()
        waits = needed > 0 or self._lifecycle.paused or self._ending or self._backoff.holds(now_s)
        return self._close(now_s) if is_due and not waits else ()

    def _close(self, now_s: float) -> tuple[Effect, ...]:
        offers = self._offers.take(now_s, self._backoff.left_out(now_s))
        live = self._membership.live()
        plan = new_plan(
            self._genesis,
            self._ledger.head,
            round_id=self._new_round_id(),
            offers=offers,
            live=live,
            elapsed_s=self._ledger.elapsed_s(now_s),
            timings=self._timings,
        )
        sessions = {m.worker: m.session for m in live}
        num_records, most_s = self._ledger.head.num_records, self._timings.resolve_timeout_s
        self._round = Round(plan, self._algorithm, num_records, sessions, most_s)
        sends = self._round.open(now_s)
        changes: tuple[Put | Delete, ...] = (
            self._round.saved(),
            Delete(Table.ROUND, OUTCOME),
            *(Delete(Table.OFFERS, worker) for worker in plan.roster),
        )
        return (Save(changes), *sends, closed(plan))

    def _finish(self, control: Control, now_s: float) -> tuple[Effect, ...]:
        effects = self._ledger.control(control, now_s)
        effects += self._rollback.over(self._ledger.head.stopped)
        drain = Dismiss(finished=True, reason=self._ledger.head.stopped)
        for member in self._membership.all():
            effects += _sends(member, drain)
        return (*effects, Finish(self._ledger.head.stopped))

    def _round_of(self, round_id: RoundId) -> Round:
        if self._round is None or self._round.id != round_id:
            raise UnknownRoundError(
                f"round {round_id} is not open: it has ended, as the log says, or never began"
            )
        return self._round

    def _in_round(self, member: Member) -> bool:
        return self._round is not None and member.worker in self._round.cohort.members

    def _leave_open_work(
        self, worker: WorkerId, reason: LeaveReason, detail: str = ""
    ) -> tuple[Delete, ...]:
        """End a worker's part in the open round and withdraw its offer."""
        if self._round is not None:
            self._round.lose(worker, reason, detail)
        return self._withdrawn(worker)

    def _withdrawn(self, worker: WorkerId) -> tuple[Delete, ...]:
        return (Delete(Table.OFFERS, worker),) if self._offers.drop(worker) else ()


def _renewed(member: Member, now_s: float) -> tuple[Effect, ...]:
    if member.hear(now_s):
        return (Note("back", f"{member.worker} is heard again", member.worker),)
    return ()


def _sends(member: Member, message: Dismiss | Replaced) -> tuple[Effect, ...]:
    return (Send(member.session, message),) if member.connected else ()


def _saves(changes: tuple[Put | Delete, ...]) -> tuple[Effect, ...]:
    return (Save(changes),) if changes else ()


def _deletes(
    found: Mapping[Table, Mapping[str, bytes]], *tables: Table
) -> tuple[Put | Delete, ...]:
    return tuple(Delete(t, field) for t in tables for field in sorted(found.get(t, {})))
