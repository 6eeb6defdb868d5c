"""One worker's conduct: training goes on; offers, rounds and merges happen around it.

    Trained --> offer --Planned--> Freeze --> answer --Named--> Encode, Push     `participation.py`
    Recorded, in order --> held --believed--> FollowRecords --> MoveTo --> SaveState  `following.py`

Pure: events in; effects out, to be carried out one by one in that order, before the next event. It
reads no clock, draws nothing and does no I/O: the same events, answers and random bytes give the
same effects. A worker that is killed between any two of them goes on from what was durable by then.

An event that is late, repeated or foreign changes nothing. What a rule refuses is told to the
coordinator, or, where the log itself lies, stops the worker with a DivergedError.
"""

from collections.abc import Callable
from typing import Final, assert_never

from common.documents import Attestation, Genesis, Offer, Record
from common.errors import ProtocolError
from common.ids import WorkerId
from common.rounds import Rule
from worker.rounds.belief import BeginAt, Follow, Verify, Wait
from worker.rounds.following import Following
from worker.rounds.pace import Bounds, Missed, OwnPace, Turns
from worker.rounds.participation import Participation
from worker.rounds.ports import (
    Attested,
    BeginTraining,
    Disconnected,
    Encoded,
    Ended,
    Event,
    Finish,
    FollowRecords,
    MoveTo,
    Named,
    Note,
    Paced,
    Planned,
    Recorded,
    Redial,
    Resumed,
    RetryHead,
    SaveState,
    Send,
    SetBounds,
    Signed,
    StartAt,
    Steps,
    Stopped,
    Survived,
    Ticked,
    Trained,
    Welcomed,
    ask,
)
from worker.rounds.position import Position
from worker.rounds.round import Fate, WorkState
from worker.rounds.tier import Tier
from worker.rounds.visited import Visited

SAVE_INTERVAL_S: Final = 300.0
"""A save now and then, also while nothing is committed."""


class Conduct:
    """See the module docstring.

    Args:
        boot: names this process.
        new_nonce: draws an offer's.
        position: where a worker without state stands.
        resolve_timeout_s: a round's outcome is waited for at most so long, whatever its plan says.
        now_s: seconds of a clock that never goes back, as it is made.
        turns: how cohorts take turns, as this worker's own files have it.
        unsafe: rules that are not looked at: only tests, that show what they are for, give any.
    """

    def __init__(
        self,
        name: WorkerId,
        genesis: Genesis,
        *,
        boot: str,
        tier: Tier,
        new_nonce: Callable[[], str],
        position: Position,
        resolve_timeout_s: float,
        now_s: float,
        turns: Turns = Turns(),  # noqa: B008 - frozen
        unsafe: frozenset[Rule] = frozenset(),
    ) -> None:
        self._name = name
        self._genesis = genesis
        self._boot = boot
        self._tier = tier
        self._new_nonce = new_nonce
        self._pace = OwnPace(genesis.algorithm, turns)
        self._told_bounds: Bounds | None = None
        self._part = Participation(name, genesis, tier, self._pace, resolve_timeout_s, unsafe)
        self._log = Following(name, genesis, tier, position)
        self.known = Visited().standing_on(0, genesis.version0)
        self._words: tuple[Attestation, ...] = ()  # on which it stood as it was saved
        self.begun, self.connected = False, False
        self._finished = False
        self._unsaved = False  # whether a round's outcome is in no save yet
        self._now_s = self._saved_at_s = now_s

    @property
    def position(self) -> Position:
        """Where it stands in log and chain."""
        return self._log.position

    @property
    def offer_nonce(self) -> str:
        """The nonce of the open offer, "" if there is none."""
        offer = self._part.round.offer
        return "" if offer is None else offer.nonce

    @property
    def part(self) -> Participation:
        """Its part in rounds; to be looked at."""
        return self._part

    def handle(self, event: Event, now_s: float) -> Steps[None]:
        """Let one event change something; each step is taken before the next is asked for.

        Args:
            event: what happened.
            now_s: of the clock.

        Raises:
            DivergedError: this worker cannot go on; the sentence says why.
        """
        self._now_s = now_s
        match event:
            case Welcomed():
                yield from self._welcomed(event)
            case Disconnected():
                self.connected = False
            case Paced():
                yield from self._paced(event)
            case Planned():
                at, num_held = self.position, len(self._log)
                fate = yield from self._part.planned(event.plan, at, num_held, now_s)
                if fate is not None:
                    yield from self._save()
            case Named() | Encoded() | Survived() | Signed() | Ended():
                yield from self._part.handle(event)
            case Recorded():
                yield from self._recorded(event.record)
            case Attested():
                yield from self._attested(event.word)
            case Resumed():
                yield from self._resumed(event)
            case Trained():
                yield from self._trained(event)
            case Ticked():
                yield from self._ticked()
            case Stopped():
                self._part.finishing, self._part.round.offer = True, None
                yield from self._finish_if_settled()
            case _:
                assert_never(event)

    # Sessions and pace ----------------------------------------------------------------------------

    def _resumed(self, event: Resumed) -> Steps[None]:
        self._log.resume(event.position)
        self.known, self._words = event.known, event.words
        self._pace.begin(event.missed)
        if event.stage is not None:
            self._part.resume(event.stage, self._now_s)
        resume = "save" if event.stage is None else "stage"
        yield Note(f"resuming at version {event.position.version} from the {resume}")
        yield from self._begin(resume)

    def _welcomed(self, event: Welcomed) -> Steps[None]:
        self.connected = True
        if self.begun:  # a coordinator that lost them may need them
            for word in self._tier.newest_words() or self._words:
                yield Send(word)
        self._log.welcomed(event)
        if not self.begun:
            self._log.start(event.start)
            yield from self._follow()
        elif self.position.behind:
            yield from self._moved_by(RetryHead(event.num_records))

    def _paced(self, event: Paced) -> Steps[None]:
        if complaint := self._pace.told(event.local_steps, paused=event.paused):
            yield Note(complaint, is_warning=True)
        yield from self._tell_bounds()
        if event.void_offer and event.void_offer == self.offer_nonce:  # not one from before it
            self._part.round.offer = None

    def _tell_bounds(self) -> Steps[None]:
        if self.begun and (bounds := self._pace.bounds) != self._told_bounds:
            self._told_bounds = bounds
            yield SetBounds(bounds)

    def _trained(self, event: Trained) -> Steps[None]:
        """Offer, if there is enough work and nothing stands against it."""
        round_ = self._part.round
        may_work = self.connected and self.begun and not self._part.finishing
        if not may_work or self.position.behind or not self._log.is_told_all:
            return
        if round_.work is not WorkState.FREE or round_.offer is not None:
            return
        if event.pending.steps >= self._pace.bounds.local_steps:
            round_.offer = offer = self._offer(event)
            yield Send(offer)

    def _offer(self, event: Trained) -> Offer:
        at, pending = self.position, event.pending
        offer = Offer(
            run=self._genesis.run,
            worker=self._name,
            boot=self._boot,
            nonce=self._new_nonce(),
            version=at.version,
            digest=at.digest,
            tokens=pending.tokens,
            lr_sum=pending.lr_sum,
            age_256=pending.age_256,
            steps=pending.steps,
            speed=max(1, round(event.speed)),
            link_bps=event.link_bps,
        )
        return self._tier.sign_offer(offer)

    # The log --------------------------------------------------------------------------------------

    def _recorded(self, record: Record) -> Steps[None]:
        if record.seq < self._log.next_seq:
            return  # a new session may begin with what the old one had sent already
        if record.seq > self._log.next_seq:
            yield Redial()  # a newcomer's session, at a later snapshot than it could begin at
            return
        self._log.hold(record)
        yield from self._follow()

    def _attested(self, word: Attestation) -> Steps[None]:
        try:
            self._tier.heard(word)
        except ProtocolError as e:
            yield Note(f"no such word: {e}", is_warning=True)
            return
        yield from self._follow()

    def _follow(self) -> Steps[None]:
        """Follow what is held up to the last record whose version is believed."""
        log = self._log
        while (move := log.next_move(self.known, self._part.round, begun=self.begun)) is not None:
            match move:
                case BeginAt(index=index):
                    yield from self._start_at(log.take(index + 1))
                case Verify():
                    yield from log.verify(self._part.round)
                case Follow(num=num):
                    yield from self._go(log.take(num))
                case Wait():
                    yield from log.wait(move, self._now_s)
                    return
                case _:
                    assert_never(move)

    def _start_at(self, records: list[Record]) -> Steps[None]:
        """A newcomer begins at the version of the last one, which it believes."""
        yield from self._log.believed(self._now_s)
        self._tier.forget(records)
        position = yield from ask(StartAt(records[-1]))
        if position is None:  # it took too long; there is a newer snapshot
            if not len(self._log):
                yield Redial()
            return
        self._log.position = position
        self._pace.begin(Missed(position.version, position.version))
        yield from self._begin("")
        yield from self._save()

    def _go(self, records: list[Record]) -> Steps[None]:
        """Follow records, and settle the rounds that they end; the last one is believed."""
        for record in records:
            fate = yield from self._part.resolve(record)
            self._unsaved = self._unsaved or fate is not None
            if record.commit is not None:
                num_members = len(record.commit.plan.offers)
                self._pace.made(num_members, own=fate is Fate.CONTRIBUTED)
        yield from self._log.believed(self._now_s)
        follow = FollowRecords(tuple(records), self._log.snapshot_seq)
        moved = yield from self._moved_by(follow)
        self._tier.forget(records)
        if not moved and self._unsaved and self._part.settled:
            yield from self._save()  # only then may the stage, which holds the same work, go
        yield from self._finish_if_settled()

    def _moved_by(self, effect: FollowRecords | RetryHead) -> Steps[bool]:
        """Go where an effect leads: the parameters onto its version, and save the outcome."""
        followed = yield from ask(effect)
        self._log.position = at = followed.position
        if followed.moved:
            yield from self._part.leave()
            contributed, self._part.contributed = self._part.contributed, ""
            yield MoveTo(at, contributed, at.rolled_back)
            yield from self._save()
            yield from self._tell_bounds()
        return followed.moved

    # What lasts -----------------------------------------------------------------------------------

    def _begin(self, resume: str) -> Steps[None]:
        yield BeginTraining(resume)
        self.begun = True
        yield from self._tell_bounds()

    def _save(self) -> Steps[None]:
        """Make the present state the one that a restart finds; no round may be unresolved."""
        if not self._part.settled:
            raise AssertionError("the stage would be lost, and with it that its work was exposed")
        at = self.position
        self.known = self.known.standing_on(at.version, at.digest)
        self._words = self._tier.newest_words() or self._words
        yield SaveState(at, self.known, self._words, self._pace.missed)
        self._unsaved, self._saved_at_s = False, self._now_s

    def _ticked(self) -> Steps[None]:
        is_told_all = self.connected and self._log.is_told_all
        if is_told_all and (yield from self._part.give_up(self._now_s)):
            yield from self._save()
        due = self._now_s - self._saved_at_s > SAVE_INTERVAL_S
        if due and self.begun and self._part.settled:
            yield from self._save()

    def _finish_if_settled(self) -> Steps[None]:
        if self._part.finishing and self._part.settled and not self._finished:
            self._finished = True
            if self.begun:
                yield from self._save()
            yield Finish()
