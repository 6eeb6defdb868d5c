"""What holds of a run whatever happens to it, in whatever order: long because the run is."""

import copy
import functools
import pickle
from dataclasses import dataclass, field, replace

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from common import canonical
from common.documents import Abort, Answer, Plan
from common.errors import (
    DamagedDataError,
    ProtocolError,
    UnexpectedMessageError,
    UnknownRoundError,
)
from common.ids import RoundId, SessionId, WorkerId
from common.secagg.commitments import commit
from coordinator.head import RunHead
from coordinator.ports import (
    Append,
    Compute,
    Delete,
    Dismiss,
    DropSpool,
    Effect,
    End,
    Finish,
    Members,
    OpenSpool,
    Pace,
    Publish,
    Put,
    Replaced,
    Save,
    Seal,
    Secrets,
    Send,
    Signatures,
    Survivors,
    Table,
)
from simulator.drawn import Drawn
from tests.rig.rounds.run_script import Script, begun, numbers, outcome_of, saved_round

AWS, AZURE = WorkerId("aws"), WorkerId("azure")
WORKERS = (AWS, AZURE, "gcp", "onprem")
ROUND_1 = RoundId(f"{1:032x}")


@dataclass
class Witness:
    """Carries effects out one by one, as the driver does, and watches what may not happen."""

    script: Script
    planned: dict[RoundId, Plan] = field(default_factory=dict)
    ended: set[RoundId] = field(default_factory=set)
    used: dict[WorkerId, str] = field(default_factory=dict)
    spools: set[RoundId] = field(default_factory=set)
    finished: bool = False

    def __post_init__(self) -> None:
        self.head = RunHead.of(self.script.genesis)

    def see(self, effects: tuple[Effect, ...]) -> None:
        for effect in effects:
            if self.finished:  # late evaluations are all that the log still takes
                assert isinstance(effect, Append | Save | Publish | Finish | Send)
                assert not isinstance(effect, Append) or effect.record.evaluation is not None
            self.script.keep((effect,))
            self.see_one(effect)

    def see_one(self, effect: Effect) -> None:
        match effect:
            case Append(record):
                self.head = self.head.after(record)  # gapless, one chain
                if record.takeover is not None:
                    self.used.clear()  # a new coordinator leaves it to the worker to refuse
                if (ended := outcome_of(record)) is not None:
                    assert ended in self.planned
                    assert ended not in self.ended
                    self.ended.add(ended)
            case Publish(record):
                assert self.script.log[-1] == record
            case Send(_, message):
                self.see_message(message)
            case OpenSpool(round_id, members, bits, _):
                assert bits == self.planned[round_id].bits
                assert set(members) <= set(self.planned[round_id].roster)
                self.spools.add(round_id)
            case Seal(round_id):
                assert round_id in self.spools
            case Compute(plan, of, survivors):
                assert set(survivors) <= of.keys() <= set(plan.roster)
                assert len(survivors) >= plan.threshold
                assert list(survivors) == sorted(survivors)
                assert (effect.secrets != Secrets()) == plan.masked
                if plan.masked:  # never both kinds of one member
                    assert effect.secrets.own.keys() == set(survivors)
                    assert effect.secrets.lost.keys() == of.keys() - set(survivors)
            case DropSpool(round_id):
                assert round_id in self.ended
                self.spools.discard(round_id)
            case Finish():
                assert self.head.stopped
                self.finished = True

    def see_message(self, message: object) -> None:
        saved = saved_round(self.script)
        match message:
            case Plan() as plan:
                assert saved is not None
                assert saved.plan == plan
                if plan.round not in self.planned:
                    self.see_plan(plan)
            case Members(round_id, answers, sealed):
                assert saved is not None
                of = {w: a.numbers for w, a in answers.items()}
                assert (saved.plan.round, saved.numbers) == (round_id, of)
                assert len(sealed) == (len(answers) - 1 if saved.plan.masked else 0)
            case Survivors(round_id, survivors) | Signatures(round_id, survivors):
                assert saved is not None
                assert (saved.plan.round, saved.phase) == (round_id, "unmask")
                assert set(survivors) <= set(saved.survivors)
                assert len(survivors) >= saved.plan.threshold
            case End(round_id):
                assert saved is not None
                assert (saved.plan.round, saved.phase) == (round_id, "ending")
            case Pace(_, _, num_records, _):
                assert num_records == len(self.script.log)
            case Dismiss(finished, _):
                assert bool(self.head.stopped) == finished
            case Replaced():
                pass

    def see_plan(self, plan: Plan) -> None:
        algorithm = self.script.genesis.algorithm
        assert self.planned.keys() == self.ended  # one round is open at a time
        assert plan.version == self.head.version
        assert list(plan.roster) == sorted(set(plan.roster))
        assert algorithm.min_cohort <= len(plan.roster) <= algorithm.max_cohort
        assert plan.num_live >= len(plan.roster)
        assert plan.live_speed >= sum(o.speed for o in plan.offers)
        for offer in plan.offers:
            assert self.used.get(offer.worker) != offer.nonce
            self.used[offer.worker] = offer.nonce
        self.planned[plan.round] = plan

    def check_state(self, now_s: float) -> None:
        status = self.script.run.status(now_s)
        stored = self.script.store
        assert stored[Table.STATE]["num_records"] == str(len(self.script.log)).encode()
        if self.finished:
            return
        known = {w.worker for w in status.workers}
        live = {w.worker for w in status.workers if w.live}
        assert stored.get(Table.MEMBERS, {}).keys() == known
        assert stored.get(Table.OFFERS, {}).keys() <= live
        assert len(stored.get(Table.OFFERS, {})) == status.num_offers
        open_rounds = self.planned.keys() - self.ended
        assert bool(open_rounds) == (status.phase != "collecting_offers")
        assert self.spools <= open_rounds


ABOUT_A_WORKER = [
    *(
        "join",
        "join boot=b2",
        "heard",
        "heard session=1",
        "progress",
        "disconnect",
        "leave",
        "expel",
    ),
    *("offer", "offer version=0", "offer nonce=again"),
    *("numbers", "numbers tokens=7", "numbers round=1", "uploaded", "uploaded round=1", "refuse"),
]
OTHERS = [
    *("tick", "restart", "computed", "failed damaged_shard", "sealed aws,azure,gcp", "sealed aws"),
    *("pause alice", "resume alice", "evaluated loss=2.5", "evaluated loss=2.0"),
    *("rollback alice to=0", "rollback alice to=1", "restored to=0", "restored to=1"),
    *("unrestored to=1", "opened", "opened round=1"),
]
ABOUT_A_MASKED_ROUND = [
    *("sign", "sign by=aws", "sign round=1", "reveal", "reveal by=aws", "reveal wrong=shares"),
    *("reveal wrong=kind", "reveal round=1", "abandon", "abandon by=aws", "refuse rule=11"),
    *("attest", "attest by=aws", "attest version=0"),
]
AS_EXPECTED = {
    "collecting_offers": [f"{verb} {w}" for verb in ("heard", "offer") for w in WORKERS],
    "share_keys": [f"numbers {w}" for w in WORKERS],
    "collect_masked": ["opened", *(f"uploaded {w}" for w in WORKERS)],
    "unmask": [
        "sealed aws,azure,gcp,onprem",
        *(f"{verb} {w}" for verb in ("sign", "reveal") for w in WORKERS),
        "computed",
    ],
    "ending": [f"abandon {w}" for w in WORKERS],
}
LINES = st.one_of(
    st.builds("{0} {1}".format, st.sampled_from(ABOUT_A_WORKER), st.sampled_from(WORKERS)),
    st.sampled_from(OTHERS),
    *[st.sampled_from(["all join", *["as expected"] * 4])] * 3,
)
MASKED_LINES = st.one_of(
    LINES,
    st.builds("{0} {1}".format, st.sampled_from(ABOUT_A_MASKED_ROUND), st.sampled_from(WORKERS)),
)
PASSED_S = st.sampled_from([0.0, 0.1, 0.2, 0.3, 0.5, 1.0, 1.5, 2.0, 6.0, 20.0])


@settings(max_examples=60)
@given(
    st.lists(st.tuples(LINES, PASSED_S), min_size=10, max_size=60),
    st.sampled_from(["async", "sync"]),
    st.booleans(),
)
@example([("as expected", 0.1)] * 12, "async", True)
def test_whatever_happens_the_log_comes_first_and_each_round_ends_once(
    lines: list[tuple[str, float]], policy: str, stops: bool
) -> None:
    play({"policy": policy, "max_cohort": "3"}, lines, stops=stops)


@settings(max_examples=15, deadline=None)
@given(
    st.lists(st.tuples(MASKED_LINES, PASSED_S), min_size=10, max_size=40),
    st.sampled_from(["3", "4"]),
    st.booleans(),
)
@example([("as expected", 0.1)] * 12, "4", True)
@example([("as expected", 0.1)] * 3 + [("sealed aws,azure,gcp", 0.1), ("restart", 0.1)], "4", True)
def test_whatever_happens_in_masked_rounds_the_same_holds(
    lines: list[tuple[str, float]], max_cohort: str, stops: bool
) -> None:
    run = {"tier": "masked", "min_cohort": "3", "max_cohort": max_cohort}
    play(run, lines, stops=stops)


def play(run: dict[str, str], lines: list[tuple[str, float]], *, stops: bool) -> None:
    """Play lines, and the end of the run if it stops; watch what may not happen."""
    script = begun({"max_staleness": "1", "loss": "2.2", **run})
    witness, now_s = Witness(script), 0.0
    witness.see(script.start(now_s))
    ending = [("stop alice", 0.0), ("stop alice", 0.0), ("tick", 30.0)] if stops else []
    for line, passed_s in [("all join", 0.0), *lines, *ending]:
        now_s += passed_s
        for one in meant(line, script.run.status(now_s).phase):
            if one == "computed" and script.planned is None:
                continue  # what would have been computed?
            before = pickle.dumps(script.run)
            try:
                effects = script.effects_of(f"{now_s} {one}")
            except ProtocolError:
                assert pickle.dumps(script.run) == before, (
                    f"{one!r} was refused and changed something"
                )
                continue
            witness.see(effects)
            witness.check_state(now_s)
    if stops:
        assert witness.finished
        assert witness.planned.keys() == witness.ended


def meant(line: str, phase: str) -> list[str]:
    if line == "all join":
        return [f"join {w}" for w in WORKERS]
    return AS_EXPECTED[phase] if line == "as expected" else [line]


def round_in(phase: str) -> Script:
    """Return a script with a round of aws and azure in `phase`, at 5 s."""
    script = begun()
    script.tell("0 restart")
    lines = ["join", "offer", "numbers", "uploaded"]
    phases = ["share_keys", "collect_masked", "unmask"]
    for verb in lines[: phases.index(phase) + 2]:
        script.tell(f"1 {verb} aws")
        script.tell(f"1 {verb} azure")
    assert script.run.status(1).phase == phase
    return script


ALWAYS_ILLEGAL = (
    *("heard gcp", "heard aws session=9", "heard aws version=1", "heard aws speed=281474976710657"),
    *("join aws session=1", "join gcp version=1", "progress gcp", "leave gcp"),
    *("offer aws", "offer aws run=other", "offer onprem nonce=onprem/1 version=1"),
    *("offer onprem boot=b9", "offer onprem worker=aws", "offer onprem digest=1111"),
    *("offer onprem tokens=0", "offer onprem speed=0", "offer onprem link=-1"),
    *("numbers onprem", "numbers aws round=9", "numbers aws tokens=7", "uploaded onprem"),
    *("refuse onprem", "sealed aws,azure round=9", "failed bad_update round=9"),
    *("evaluated version=1", "evaluated version=-1"),
    *("rollback alice to=0", "rollback alice to=1", "restored to=0", "unrestored to=0"),
)


@pytest.mark.parametrize("line", ALWAYS_ILLEGAL)
@pytest.mark.parametrize("phase", ["share_keys", "collect_masked", "unmask"])
def test_an_illegal_event_changes_nothing(phase: str, line: str) -> None:
    script = round_in(phase)
    script.tell("1 numbers aws")
    script.tell("1 join onprem")
    before = pickle.dumps(script.run)

    with pytest.raises(ProtocolError):
        script.tell(f"2 {line}")

    assert pickle.dumps(script.run) == before


@pytest.mark.parametrize(
    ("phase", "line"),
    [
        ("share_keys", "uploaded aws"),
        ("share_keys", "opened"),
        ("unmask", "opened"),
        ("share_keys", "sealed aws,azure"),
        ("share_keys", "computed"),
        ("share_keys", "failed bad_update"),
        ("collect_masked", "sealed aws,azure"),
        ("collect_masked", "computed"),
        ("unmask", "refuse aws"),
        ("unmask", "computed"),
        ("unmask", "failed bad_update"),
    ],
)
def test_an_event_of_another_phase_is_refused_and_changes_nothing(phase: str, line: str) -> None:
    script = round_in(phase)
    before = pickle.dumps(script.run)

    with pytest.raises(UnexpectedMessageError):
        script.tell(f"2 {line}")

    assert pickle.dumps(script.run) == before


def masked_round_in(phase: str) -> Script:
    """Return a script with a masked round of four in `phase`, onprem lost from `unmask` on."""
    return copy.deepcopy(_masked_round_in(phase))


@functools.cache
def _masked_round_in(phase: str) -> Script:
    script = begun({"tier": "masked", "min_cohort": "3"})
    script.tell("0 restart")
    for verb in ("join", "offer"):
        for worker in WORKERS:
            script.tell(f"1 {verb} {worker}")
    steps = {
        "collect_masked": [f"1 numbers {w}" for w in WORKERS],
        "unmask": [*(f"1 uploaded {w}" for w in WORKERS[:3]), "1 leave onprem"],
        "signing": ["1 sealed aws,azure,gcp", "1 sign aws"],
        "revealing": ["1 sign azure", "1 sign gcp", "1 reveal aws"],
        "computing": ["1 reveal azure", "1 reveal gcp"],
        "ending": ["1 join onprem boot=b2"],
    }
    if phase == "ending":
        del steps["computing"]
    for name, lines in steps.items() if phase != "share_keys" else ():
        for line in lines:
            script.tell(line)
        if name == phase:
            break
    if phase == "ending":
        script.tell("6.5 tick")
        script.tell("6.5 abandon azure")
    return script


MASKED_PHASES = (
    *("share_keys", "collect_masked", "unmask", "signing", "revealing", "computing", "ending"),
)
ALLOWED = {
    "signing": ("sign aws", "sign azure"),
    "revealing": ("sign aws", "sign azure", "reveal aws", "reveal azure"),
    "computing": ("sign aws", "sign azure", "reveal aws", "reveal azure", "computed"),
    "ending": ("abandon aws", "abandon azure"),
}
"""Of the lines below, those that are in order; the others are refused in that phase."""

MASKED_LINES_BELOW = (
    *("sign aws", "sign azure", "reveal aws", "reveal azure", "abandon aws", "abandon azure"),
    *("sign aws by=gcp", "sign aws of=aws,gcp", "sign onprem", "sign aws round=9", "sign nobody"),
    *("reveal aws wrong=shares", "reveal aws wrong=kind", "reveal azure wrong=missing"),
    *("reveal azure wrong=size", "reveal onprem", "reveal aws round=9", "reveal nobody"),
    *("abandon aws by=gcp", "abandon nobody", "abandon aws round=9", "computed"),
    "attest nobody",
)


@pytest.mark.parametrize("line", MASKED_LINES_BELOW)
@pytest.mark.parametrize("phase", MASKED_PHASES)
def test_an_illegal_event_of_a_masked_round_changes_nothing(phase: str, line: str) -> None:
    script = masked_round_in(phase)
    before = pickle.dumps(script.run)

    if line in ALLOWED.get(phase, ()):
        script.tell(f"6.6 {line}" if phase == "ending" else f"1 {line}")
        return
    with pytest.raises(ProtocolError):
        script.tell(f"6.6 {line}" if phase == "ending" else f"1 {line}")

    assert pickle.dumps(script.run) == before


@pytest.mark.parametrize("phase", ["collect_masked", "unmask", "signing", "revealing", "computing"])
def test_a_masked_round_that_is_stopped_waits_for_the_word_of_its_members(phase: str) -> None:
    script = masked_round_in(phase)
    script.tell("2 stop alice")

    told = script.tell("2 stop alice")

    if phase == "computing":  # everything is revealed: no word can free anything
        assert script.log[-2].abort is not None
        assert script.log[-2].abort.abandons is None
        return
    assert [e.message for e in told if isinstance(e, Send)][:3] == [End(ROUND_1)] * 3
    script.tell("2 abandon azure")
    script.tell("2 abandon gcp")
    assert script.log[-2].abort is not None
    assert script.log[-2].abort.reason == "stopped"
    assert (script.log[-2].abort.abandons or {}).keys() == {AZURE, "gcp"}


@pytest.mark.parametrize("phase", MASKED_PHASES)
def test_what_is_stored_of_a_masked_round_holds_no_secret(phase: str) -> None:
    script = masked_round_in(phase)
    assert script.planned is not None
    held = [s.masking.to_bytes() for c in script.clouds.values() for s in c.secrets.values()]
    for worker, cloud in script.clouds.items():
        attempt = cloud.attempt(script.planned)
        draw = Drawn(f"{worker}/{ROUND_1}")
        own, common = draw(32), draw(32)
        commitments = attempt.answer(numbers())[0].commitments
        assert commitments is not None
        assert commitments.own == commit("commit-self", own).hex()
        held += [own, common]
    assert len(set(held)) == 3 * len(WORKERS)

    for fields in script.store.values():
        for content in fields.values():
            assert not any(s in content or s.hex().encode() in content for s in held)


@pytest.mark.parametrize("phase", ["share_keys", "collect_masked", "unmask"])
def test_a_restart_in_any_phase_ends_the_round_by_record(phase: str) -> None:
    script = round_in(phase)

    takeover, _, _, abort, save, publish, drop = script.tell("2 restart")

    assert isinstance(takeover, Append)
    assert takeover.record.epoch == takeover.record.seq == 1
    assert isinstance(abort, Append)
    assert abort.record.abort == Abort(
        ROUND_1, (AWS, AZURE), "coordinator_restarted", f"c2 took over in {phase}"
    )
    assert isinstance(save, Save)
    assert publish == Publish(abort.record)
    assert drop == DropSpool(ROUND_1)
    again = script.tell("3 restart")
    assert [e.record.seq for e in again if isinstance(e, Append)] == [3]  # nothing is open any more


def test_a_round_whose_outcome_was_logged_but_not_saved_gets_no_second_one() -> None:
    script = round_in("unmask")
    before = {table: dict(fields) for table, fields in script.store.items()}
    script.tell("2 sealed aws,azure")
    script.tell("2 computed")
    script.store = before  # the process died right after its Append

    effects = script.tell("3 restart")

    assert [e.record.seq for e in effects if isinstance(e, Append)] == [2]
    assert script.log[-1].takeover is not None
    assert script.log[-1].version == 1
    assert saved_round(script) is None


def test_a_coordinator_that_dies_between_takeover_and_abort_leaves_the_round_to_the_next() -> None:
    script = round_in("collect_masked")
    takeover, save, *_ = script.effects_of("2 restart")
    script.keep((takeover, save))

    script.tell("3 restart")

    assert [r.takeover.leader for r in script.log if r.takeover is not None] == ["c1", "c2", "c3"]
    assert script.log[-1].abort is not None
    assert script.log[-1].epoch == 2


def test_each_record_names_the_bytes_of_the_one_before_and_the_first_the_genesis() -> None:
    script = round_in("unmask")
    script.tell("2 sealed aws,azure")
    script.tell("2 computed")

    first, second = script.log

    assert first.previous == canonical.digest(script.genesis)
    assert second.previous == canonical.digest(first)
    assert (first.time_s, second.time_s) == (1_700_000_000, 1_700_000_002)


def test_the_head_of_another_log_is_refused() -> None:
    script = round_in("share_keys")
    record = script.log[0]

    for wrong in (replace(record, seq=1), replace(record, previous=record.digest)):
        with pytest.raises(DamagedDataError, match="does not follow"):
            RunHead.of(script.genesis).after(wrong)


def test_pace_follows_the_fastest_live_worker_within_its_bounds() -> None:
    script = begun()
    script.tell("0 restart")
    paces = {}
    for worker, speed in (("aws", 400), ("azure", 130), ("gcp", 3), ("onprem", 0)):
        script.tell(f"0 join {worker} speed={speed}")
    for worker, speed in (("aws", 400), ("azure", 130), ("gcp", 3), ("onprem", 0)):
        (send,) = script.tell(f"1 heard {worker} speed={speed}")
        assert isinstance(send, Send)
        assert isinstance(send.message, Pace)
        paces[worker] = send.message.local_steps

    # 20 * 130 / 400 = 6.5, half up; gcp at the least; onprem is not measured yet.
    assert paces == {"aws": 20, "azure": 7, "gcp": 5, "onprem": 20}

    script.tell("5 heard azure speed=130")
    (*_, send) = script.tell("11.5 heard azure speed=130")  # nobody else is heard any more
    assert Pace(20, paused=False, num_records=1, void_offer="") in [
        e.message for e in (*script.tell("12 heard azure speed=130"), send) if isinstance(e, Send)
    ]


def test_one_save_takes_the_offers_into_the_round() -> None:
    script = begun()
    for line in ("0 restart", "0 join aws", "0 join azure", "1 offer aws"):
        script.tell(line)

    _, save, *sends = script.tell("1 offer azure")

    assert isinstance(save, Save)
    assert [(type(c), c.table, c.field) for c in save.changes] == [
        (Put, Table.ROUND, "open"),
        (Delete, Table.ROUND, "outcome"),
        (Delete, Table.OFFERS, "aws"),
        (Delete, Table.OFFERS, "azure"),
    ]
    assert [e.session for e in sends if isinstance(e, Send)] == ["aws-1", "azure-1"]


def test_what_comes_for_the_round_before_is_unknown_to_the_next() -> None:
    script = round_in("unmask")
    script.tell("2 sealed aws,azure")
    script.tell("2 computed")
    script.tell("3 offer aws")
    script.tell("3 offer azure")

    with pytest.raises(UnknownRoundError):
        script.tell("4 numbers aws round=1")
    script.tell("4 numbers aws round=2")


def test_numbers_travel_to_members_compute_and_store_unchanged() -> None:
    script = round_in("share_keys")
    odd = numbers({"tokens": "12345", "steps": "7"})
    script.tell("2 numbers aws tokens=12345 steps=7")

    *_, to_aws, to_azure = script.tell("2 numbers azure")

    of = {AWS: odd, AZURE: numbers()}
    assert script.planned is not None
    digest = canonical.digest(script.planned)
    told = Members(ROUND_1, {w: Answer(digest, w, n) for w, n in of.items()}, {})
    assert to_aws == Send(SessionId("aws-1"), told)
    assert to_azure == Send(SessionId("azure-1"), told)
    saved = saved_round(script)
    assert saved is not None
    assert saved.numbers == of
