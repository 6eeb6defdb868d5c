"""A worker's machine, told in lines of text. No shell: effects are shown, and answered.

    1.5 plan with=azure,gcp       seconds, a verb, what of it, options

The worker is aws; who else is in a round, and the coordinator, is `played_run.py`, which lists the
options of lies. A line says what happens to the worker and shows what it does about it, an effect a
line; ` = ` is followed by an answer. `records` shows what of the log was not shown yet, and a line
that appends a record shows it at once, but for `unseen`.

`run at=begun`, offering, staged, exposed or revealed first plays what a worker does up to there in
a round in which nothing goes wrong, without showing it.

Effects that ask are answered as a worker's machine does whose disk and arithmetic are in order;
`close.steps`, `close.age`, `close.finite`, `check` and `follow` answer otherwise, and `gone` takes
files away. `kill=before:WORDS` or `kill=after:WORDS` ends the process at the first effect that is
shown with these words (_ for a blank); `restart` begins again with what was durable by then.
It is long because every event has its line here.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Final

from common import canonical
from common.checks import check_plan
from common.documents import Algorithm, Attestation, Codec, Numbers, Offer, Plan, Record
from common.errors import BadCommitError, CrosscloudError, DivergedError
from common.ids import RoundId, WorkerId
from common.rounds import Rule
from common.terms import round_layout
from simulator.drawn import Drawn, certificate
from tests.rig.rounds.masked_members import signer
from tests.rig.rounds.played_replica import PlayedReplica
from tests.rig.rounds.played_run import ME, Options, PlayedRun
from tests.rig.rounds.shown_effects import named_rounds, shown
from worker.rounds.attempt import MaskedMember
from worker.rounds.conduct import Conduct
from worker.rounds.masked_tier import MaskedTier
from worker.rounds.pace import Turns
from worker.rounds.participation import RoundPhase
from worker.rounds.ports import (
    Abandon,
    Attested,
    Check,
    Disconnected,
    Effect,
    Encode,
    Encoded,
    Ended,
    Event,
    FollowRecords,
    ForgetState,
    Freeze,
    Frozen,
    JudgePlan,
    MoveTo,
    Named,
    Paced,
    Planned,
    Push,
    Recorded,
    Refuse,
    Resumed,
    RetryHead,
    SaveState,
    Send,
    Settle,
    Signed,
    StartAt,
    Stopped,
    SubmitAnswer,
    SubmitShares,
    Survived,
    Ticked,
    Trained,
    Welcomed,
    WriteStage,
)
from worker.rounds.position import genesis_position
from worker.rounds.round import Fate, RefusedError, Stage, WorkState
from worker.rounds.tier import Attempt, Tier
from worker.rounds.tls_tier import TlsTier
from worker.rounds.trust import Trust

FLAGS: Final = frozenset({"again", "aside", "unseen", "paused", "void"})
NOTHING: Final = Numbers(0, 0.0, 0, 65535, 0, 0)


USUAL: Final = {
    "begun": "0 welcome",
    "offering": "1 train",
    "staged": "2 plan",
    "exposed": "3 members\n4 encoded",
    "revealed": "5 survivors",
}
"""What happens in a round, up to each state in which a script may begin."""


class KilledError(Exception):
    """The process ends here."""


@dataclass(frozen=True)
class Met:
    """An event that came in a phase, and what the worker did about it."""

    phase: RoundPhase
    event: type[Event]
    effects: tuple[Effect, ...]


@dataclass
class Durable:
    """What lies on the worker's disk."""

    manifest: SaveState | None = None
    stage: Stage | None = None


@dataclass
class Script:
    """See the module docstring.

    Args:
        at: the state in which to begin; "" = with nothing.
        met: every event.
        rules: by which something was refused.
    """

    run: PlayedRun
    replica: PlayedReplica
    trust: Trust
    turns: Turns
    unsafe: frozenset[Rule]
    resolve_timeout_s: float
    at: str = ""
    durable: Durable = field(default_factory=Durable)
    conduct: Conduct | None = None
    num_boots: int = 0
    num_shown: int = 0
    pending: Numbers = NOTHING
    frozen: Numbers = NOTHING
    offers: list[Offer] = field(default_factory=list)
    plan: Plan | None = None
    survivors: tuple[WorkerId, ...] = ()
    attempt: Attempt | None = None
    lines: list[str] = field(default_factory=list)
    trap: tuple[str, str] = ("", "")
    options: Options = field(default_factory=dict)
    met: list[Met] = field(default_factory=list)
    rules: set[Rule] = field(default_factory=set)

    # Telling ------------------------------------------------------------------------------------

    def begin(self) -> str:
        """Start the worker, and play what is usual up to the state in which to begin."""
        self.start(0.0)
        if not self.at:
            return "ok"
        for state, lines in USUAL.items():
            for line in lines.splitlines():
                self.tell(line)
            if state == self.at:
                return self._state()
        raise AssertionError(f"no such state: {self.at}")

    def tell(self, line: str) -> str:
        """Let one thing happen; return what the worker does about it."""
        now_s, verb, what, self.options = parsed(line)
        self.lines = []
        when, _, words = self.options.get("kill", "").partition(":")
        self.trap = when, words.replace("_", " ")
        if verb in _OUTSIDE:
            _OUTSIDE[verb](self, what)
        elif verb == "restart":
            self._guarded(lambda: self.start(now_s))
        elif verb == "kill":
            self.conduct = None
        elif verb == "state":
            self.lines.append(self._state())
        elif verb == "mask":
            self._guarded(self._mask)
        else:
            events = _EVENTS[verb](self, what, self.options)
            assert self.conduct is not None or not events, f"the process has ended: {line}"
            self._guarded(lambda: self._feed(now_s, *events))
        if self.trap[1] and self.conduct is not None:
            raise AssertionError(f"nothing was shown to kill at: {line}")
        return named_rounds("\n".join(self.lines) or "ok")

    def _guarded(self, do: Callable[[], object]) -> None:
        try:
            do()
        except KilledError:
            self.conduct = None
        except CrosscloudError as e:
            self.lines.append(f"ends: {type(e).__name__}: {e}")
            self.conduct = None
            if isinstance(e, DivergedError):
                self.rules.add(Rule.RECORD)

    def start(self, now_s: float) -> None:
        """Begin a process with what is durable."""
        self.num_boots += 1
        boot, genesis = f"b{self.num_boots}", self.run.run.genesis
        self.attempt = None
        self.conduct = Conduct(
            ME,
            genesis,
            boot=boot,
            tier=self._tier(boot),
            new_nonce=lambda: f"{ME}/{len(self.offers) + 1}",
            position=genesis_position(genesis),
            resolve_timeout_s=self.resolve_timeout_s,
            now_s=now_s,
            turns=self.turns,
            unsafe=self.unsafe,
        )
        self.pending = self.frozen = NOTHING
        self.replica.position = genesis_position(genesis)
        if (stage := self.durable.stage) is not None and stage.answer is not None:
            self.frozen = stage.answer.numbers
        if (kept := self.durable.manifest) is not None:
            self.replica.position = kept.position
            resumed = Resumed(kept.position, kept.known, kept.words, kept.missed, stage)
            self._feed(now_s, resumed)

    def _tier(self, boot: str) -> Tier:
        run, algorithm = self.run, self.run.run.algorithm
        if not algorithm.masked:
            return TlsTier(ME)
        draw = Drawn(f"{ME}/{boot}")
        member = MaskedMember(ME, algorithm, self.trust, run.admits, signer(ME), draw, self.unsafe)
        return MaskedTier(
            member,
            run.run.genesis,
            lambda: certificate(ME),
            admitted=run.admits,
            operators=run.operators,
        )

    def _feed(self, now_s: float, *events: Event) -> None:
        for event in events:
            self._handle(event, now_s)

    def _handle(self, event: Event, now_s: float) -> None:
        assert self.conduct is not None
        phase, told = self.conduct.part.phase, list[Effect]()
        steps, answer = self.conduct.handle(event, now_s), None
        try:
            while True:
                try:
                    effect = steps.send(answer)
                except StopIteration:
                    return
                at = shown(effect)
                self._kill("before", at)
                answer, of = self._carry_out(effect)
                told.append(effect)
                self.lines.append(at + (of and f" = {of}"))
                self._kill("after", at)
        finally:
            self.met.append(Met(phase, type(event), tuple(told)))

    def _kill(self, when: str, at: str) -> None:
        if self.trap[0] == when and at.startswith(self.trap[1]):
            self.lines.append(f"killed {when} it: {at}" if when == "before" else "killed after it")
            raise KilledError

    # Carrying effects out -----------------------------------------------------------------------

    def _carry_out(self, effect: Effect) -> tuple[Any, str]:
        """Return the answer, and how it is shown."""
        assert self.conduct is not None
        assert _may_be(effect, self.durable.stage, self.conduct), shown(effect)
        match effect:
            case Send(Offer() as offer):
                self.offers.append(offer)
            case Send(SubmitAnswer(_, answer, sealed)):
                self.run.told[ME] = answer, dict(sealed)
            case Send(Refuse(_, rule, _)):
                self.rules.add(rule)
            case JudgePlan(plan):
                complaint = self._judged(plan)
                return complaint, complaint or "it may be"
            case Freeze():
                return self._freeze()
            case WriteStage(stage):
                self.durable.stage = stage
            case SaveState():
                self.durable = Durable(effect)
            case ForgetState():
                self.durable = Durable()
            case Encode():
                self.attempt = effect.attempt
                self._mask()
            case Settle(_, fate):
                if fate is Fate.FREE:
                    self.pending = _added(self.pending, self.frozen)
                self.frozen = NOTHING
            case Check(record):
                return self.replica.check(record, self.options.get("check", ""))
            case StartAt(record):
                return self.replica.start_at(record)
            case FollowRecords(records, snapshot_seq):
                told = self.options.get("follow", "")
                return self.replica.follow(records, snapshot_seq, told)
            case RetryHead(num_records):
                return self.replica.retry(num_records)
            case _:
                pass
        return None, ""

    def _judged(self, plan: Plan) -> str:
        version = self.run.state(self.replica.position.digest)
        assert version is not None
        try:
            check_plan(self.run.run.genesis, version, plan)
        except BadCommitError as e:
            return str(e)
        return ""

    def _freeze(self) -> tuple[Frozen, str]:
        self.durable.stage = None  # what was staged before makes room
        o, numbers = self.options, self.pending
        if "close.age" in o:
            numbers = replace(numbers, age_256=int(o["close.age"]))
        self.pending, self.frozen = NOTHING, numbers
        finite = o.get("close.finite", "yes") == "yes"
        told = f"{numbers.steps} steps" + ("" if finite else ", not finite")
        return Frozen(numbers, 2**20, finite), told

    def _mask(self) -> None:
        """Mask an update of zeros, as an encoding of the round does."""
        assert self.attempt is not None
        assert self.plan is not None
        layout = round_layout(self.run.run.genesis, self.plan.bits, self.plan.fragment)
        num_own = layout.num_data_shards + len(layout.side_shards)
        shards = (bytearray(layout.shard(i)[1]) for i in range(num_own))
        try:
            for _ in self.attempt.protect(layout, shards):
                pass
        except RefusedError as e:
            self.rules.add(e.rule)
            self.lines.append(f"refused by rule {e.rule}: {e.sentence}")

    # From lines to events -----------------------------------------------------------------------

    def welcomed(self, what: str, o: Options) -> list[Event]:
        """`welcome`, at record `start`."""
        assert self.conduct is not None
        records = self.run.records
        start = records[int(o.get("start", "-1"))]
        begun = self.conduct.begun
        self.num_shown = self.conduct.position.next_seq if begun else start.seq + 1
        return [Welcomed(start, int(o.get("records", len(records))))]

    def shown_records(self, what: str, o: Options) -> list[Event]:
        """`records`: those that this session has not shown yet."""
        new = self.run.records[self.num_shown :]
        self.num_shown = len(self.run.records)
        return [Recorded(r) for r in new]

    def again(self, what: str, o: Options) -> list[Event]:
        """`record SEQ`: one of the log, whether or not it is the next."""
        return [Recorded(self.run.records[int(what)])]

    def appended(self, record: Record) -> list[Event]:
        """Show a record that was appended."""
        if "unseen" in self.options:
            return []
        self.num_shown = len(self.run.records)
        return [Recorded(record)]

    def planned(self, what: str, o: Options) -> list[Event]:
        """`plan`; `offer=N`: with that offer of the worker's, not its newest."""
        if "again" not in o:
            number = int(o.get("offer", len(self.offers)))
            plan = self.run.planned(self.offers[number - 1], o)
            if "aside" in o:
                return [Planned(plan)]
            self.plan = plan
        assert self.plan is not None
        return [Planned(self.plan)]

    def named(self, what: str, o: Options) -> list[Event]:
        """`members`."""
        round_id, answers, sealed = self.run.answers(o)
        return [Named(self._round(o, round_id), answers, sealed)]

    def survived(self, what: str, o: Options) -> list[Event]:
        """`survivors LIST`: all of U2 by default."""
        names = what.split(",") if what else self.run.u2
        round_id = self._round(o, self._current())
        self.survivors = tuple(WorkerId(w) for w in names)
        return [Survived(round_id, self.survivors)]

    def signed(self, what: str, o: Options) -> list[Event]:
        """`signatures LIST`: by whom; by all survivors by default."""
        by = what.split(",") if what else self.survivors
        told = self.run.signatures(self.survivors, by, o.get("wrong", ""))
        return [Signed(self._round(o, self._current()), told)]

    def _current(self) -> RoundId:
        assert self.run.plan is not None, "no plan yet"
        return self.run.plan.round

    def _round(self, o: Options, otherwise: RoundId) -> RoundId:
        return RoundId(f"{int(o['round']):08x}{0:024x}") if "round" in o else otherwise

    def trained(self, what: str, o: Options) -> list[Event]:
        """`train STEPS`: so many are pending now."""
        steps = int(what or "20")
        self.pending = Numbers(100 * steps, 0.002 * steps, 0, 65535, steps, 16)
        return [Trained(self.pending, 100.0, 0)]

    def paced(self, what: str, o: Options) -> list[Event]:
        """`pace STEPS`."""
        void = o.get("offer", self.offers[-1].nonce if self.offers else "") if "void" in o else ""
        return [Paced(int(what or "20"), "paused" in o, void)]

    def attested(self, what: str, o: Options) -> list[Event]:
        """`word NAMES`."""
        return [Attested(self.run.word_of(name, o)) for name in what.split(",")]

    def _state(self) -> str:
        assert self.conduct is not None
        at = self.conduct.position
        behind = f", behind version {at.log.version}" if at.behind else ""
        offer = self.conduct.offer_nonce
        return (
            f"{self.conduct.part.phase.value}, on version {at.version}{behind}, "
            f"{f'offer {offer}' if offer else 'no offer'}, next record #{at.next_seq}"
        )


def _may_be(effect: Effect, stage: Stage | None, conduct: Conduct) -> bool:
    """Return whether an effect keeps what no script may break: durable before visible.

    Args:
        stage: as it is on the disk.
    """
    match effect:
        case Send(SubmitAnswer(round_, answer)):
            return stage is not None and (stage.plan.round, stage.answer) == (round_, answer)
        case Push(round_):
            return stage is not None and stage.exposed and stage.plan.round == round_
        case Send(SubmitShares(round_)):
            return stage is not None and stage.revealed and stage.plan.round == round_
        case Send(Abandon()):
            return stage is not None and not stage.revealed
        case Send(Attestation() as word) if word.worker == ME and stage is not None:
            return word.plan != canonical.digest(stage.plan) or word == stage.word
        case MoveTo() | SaveState():
            return conduct.part.round.work is WorkState.FREE
    return True


def _added(a: Numbers, b: Numbers) -> Numbers:
    steps = a.steps + b.steps
    return Numbers(100 * steps, 0.002 * steps, 0, 65535, steps, 16)


_OUTSIDE: Final[Mapping[str, Callable[[Script, str], None]]] = {
    "gone": lambda s, what: s.replica.lose(what),
    "kept": lambda s, _: s.replica.gone.clear(),
    "fork": lambda s, _: s.run.fork(),
    "truth": lambda s, _: s.run.truth(),
}

_EVENTS: Final[Mapping[str, Callable[[Script, str, Options], list[Event]]]] = {
    "welcome": Script.welcomed,
    "disconnect": lambda s, _, o: [Disconnected()],
    "records": Script.shown_records,
    "record": Script.again,
    "pace": Script.paced,
    "train": Script.trained,
    "plan": Script.planned,
    "members": Script.named,
    "encoded": lambda s, _, o: [Encoded(s._round(o, s._current()))],
    "survivors": Script.survived,
    "signatures": Script.signed,
    "end": lambda s, _, o: [Ended(s._round(o, s._current()))],
    "word": Script.attested,
    "tick": lambda s, _, o: [Ticked()],
    "stop": lambda s, _, o: [Stopped()],
    "commit": lambda s, what, o: s.appended(s.run.committed(what, o)),
    "rollback": lambda s, what, o: s.appended(s.run.returned(int(what), o)),
    "abort": lambda s, what, o: s.appended(s.run.aborted(what, o)),
    "log": lambda s, what, o: s.appended(s.run.said(what, o)),
}


def parsed(line: str) -> tuple[float, str, str, Options]:
    """Return seconds, verb, what of it ("" if nothing) and options of a line."""
    at, verb, *rest = line.split()
    words = [x for x in rest if "=" not in x]
    options = dict(x.split("=", 1) for x in rest if "=" in x) | {x: x for x in words if x in FLAGS}
    names = [x for x in words if x not in FLAGS]
    return float(at), verb, names[0] if names else "", options


def begun(line: str) -> Script:
    """Return a script whose worker is not started yet; a line is as in `run tier=masked ...`."""
    _, _, _, o = parsed(f"0 {line}")
    min_cohort = int(o.get("min_cohort", "3"))
    algorithm = Algorithm(
        tier=o.get("tier", "masked"),
        min_cohort=min_cohort,
        colluding=int(o.get("colluding", "0")),
        max_share=float(o.get("max_share", "0.6")),
        max_staleness=float(o.get("max_staleness", "8")),
        codec=Codec(),
    )
    trust = Trust(
        tier=o.get("trust.tier", "masked"),
        colluding=int(o.get("trust.colluding", o.get("colluding", "0"))),
        min_cohort=int(o.get("trust.min_cohort", min_cohort)),
        max_share=float(o.get("trust.max_share", "0.6")),
    )
    unsafe = frozenset(r for r in Rule if str(r.value) in o.get("unsafe", "").split(","))
    turns = Turns(int(o.get("turns", "1")), int(o.get("full", "0")))
    run = PlayedRun.of(algorithm, o)
    resolve_s, at = float(o.get("resolve", "3600")), o.get("at", "")
    return Script(run, PlayedReplica(run), trust, turns, unsafe, resolve_s, at)
