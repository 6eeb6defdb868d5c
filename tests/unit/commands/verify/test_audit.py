"""Which record is the first false one, from records alone."""

from collections.abc import Callable
from dataclasses import dataclass, field, replace

import pytest

from commands.verify.audit import Audit
from common import canonical
from common.documents import (
    Commit,
    Control,
    Origin,
    Record,
    SideValues,
    Takeover,
)
from common.ids import Digest, RoundId, WorkerId
from common.secagg import signatures
from common.secagg.transcript import list_content
from common.words import run_state
from simulator.drawn import identity_key
from tests.rig.rounds.masked_members import MASKED, Cloud, admits, order, word
from tests.rig.rounds.masked_round import plan_of
from tests.rig.rounds.small_chain import Coordinator
from tests.rig.rounds.small_run import NUMBERS, Run

NOWHERE = Digest("f" * 64)


@dataclass
class Masked:
    """A masked run's log: true plans, numbers and words; of its sums only the names."""

    chain: Coordinator = field(default_factory=lambda: Coordinator(Run(MASKED)))

    def __post_init__(self) -> None:
        self.names = self.chain.run.workers
        self.clouds = {name: Cloud(name) for name in self.names}
        self.id = canonical.digest(self.chain.run.genesis)
        self.first = self.chain.run.version

    @property
    def log(self) -> list[Record]:
        return self.chain.records

    def commit(self, *lost: WorkerId) -> Record:
        chain = self.chain
        plan = plan_of(chain.run, self.clouds, nonce=f"{len(self.log)}")
        plan = replace(plan, version=chain.number, round=RoundId(f"{len(self.log):032x}"))
        survivors = tuple(w for w in plan.roster if w not in lost)
        numbers = dict.fromkeys(plan.roster, NUMBERS)
        content = list_content(plan, plan.roster, survivors)
        signed = {w: signatures.sign(identity_key(w), "list", content).hex() for w in survivors}
        side = SideValues(1, 0, 0)
        made = Commit(plan, numbers, survivors, side, NOWHERE, 1, signed if lost else None)
        chain.number += 1
        chain.run.version = replace(chain.run.version, commits=chain.run.version.commits + 1)
        return chain.append(commit=made)

    def vouch(self, about: Record, *names: WorkerId) -> Record:
        """Append a record with the words of these members."""
        words = {w: word(w, self.id, about).signature or "" for w in names or self.names}
        self.chain.append(control=Control("resume", "ann", ""))
        self.log[-1] = replace(self.log[-1], words=words)
        return self.log[-1]

    def roll_back(self, version: int = 0, **changes: object) -> Record:
        """Return to version 0, or 1, on an operator's order that is true but for `changes`."""
        made = next((r for r in self.log if r.commit and r.version == version), None)
        state = replace(self.first, commits=version)
        digest = canonical.digest(state)
        signed = order("ann", self.id, version, digest, len(self.log))
        self.chain.roll_back(version, state, replace(signed, **changes))  # type: ignore[arg-type]
        origin = None
        if made is not None and made.commit is not None:
            words = {w: word(w, self.id, made).signature or "" for w in self.names}
            origin = Origin(made.commit.plan, version, run_state(made), words)
        rollback = self.log[-1].rollback
        assert rollback is not None
        self.log[-1] = replace(self.log[-1], rollback=replace(rollback, origin=origin))
        return self.log[-1]

    def audit(self) -> Audit:
        return Audit(self.chain.run.genesis, admits, admits, admits)

    def complaint(self) -> str:
        audit = self.audit()
        return next(filter(None, map(audit.complaint, self.log)), "") or audit.awaited()


def played() -> Masked:
    run = Masked()
    run.chain.append(takeover=Takeover("one"))
    for _ in range(2):
        run.vouch(run.commit())
    return run


def test_an_honest_log_has_nothing_false() -> None:
    run = played()
    run.roll_back(1)
    run.vouch(run.commit(WorkerId("gcp")))
    run.chain.append(takeover=Takeover("two"))
    run.log[-1] = replace(run.log[-1], epoch=run.log[-1].seq)
    assert run.complaint() == ""
    audit = run.audit()
    assert [audit.complaint(record) for record in run.log] == [""] * len(run.log)
    assert (audit.head.version, audit.head.next_seq) == (4, len(run.log))


def test_a_tls_log_is_a_chain_and_no_more() -> None:
    chain = Coordinator()
    chain.step()
    chain.step()
    chain.roll_back(0, chain.run.version)
    audit = Audit(chain.run.genesis, admits, admits, None)
    assert [audit.complaint(r) for r in chain.records[:2]] == ["", ""]
    assert audit.awaited() == ""
    assert "is not version 0 of this log" in audit.complaint(chain.records[2])


def test_the_newest_version_may_still_wait_for_words() -> None:
    run = played()
    run.commit()
    assert run.complaint().startswith("version 3 (record 5) has 0 of the 3 members' words")
    run.vouch(run.log[-1], *run.names[:2])
    assert "has 2 of the 3" in run.complaint()
    run.vouch(run.log[5], run.names[3])
    assert run.complaint() == ""


def test_a_version_that_too_few_vouch_for_is_no_base() -> None:
    run = played()
    run.vouch(run.commit(), *run.names[:2])
    run.commit()
    assert run.complaint() == (
        "record 7: it goes on from version 3, for which 2 members gave their word and 3 are needed"
    )


def test_words_may_stand_in_the_next_commit_itself_and_a_roll_back_needs_none() -> None:
    run = played()
    made = run.commit()
    run.commit()
    words = {w: word(w, run.id, made).signature or "" for w in run.names[1:]}
    run.log[-1] = replace(run.log[-1], words=words)
    assert "has 0 of" in run.complaint()
    run.roll_back(1)
    assert run.complaint() == ""


def changed(record: Record, **changes: object) -> Record:
    assert record.commit is not None
    return replace(record, commit=replace(record.commit, **changes))  # type: ignore[arg-type]


def with_plan(record: Record, **changes: object) -> Record:
    assert record.commit is not None
    return changed(record, plan=replace(record.commit.plan, **changes))  # type: ignore[arg-type]


LIES: list[tuple[int, Callable[[Record], Record], str]] = [
    (0, lambda r: replace(r, epoch=1), "record 0: its epoch is 1, the newest takeover is record 0"),
    (3, lambda r: replace(r, epoch=2), "record 3: its epoch is 2"),
    (2, lambda r: replace(r, time_s=9), "record 3 does not follow record 2 as that is here"),
    (2, lambda r: replace(r, seq=7), "record 7 does not follow record 1"),
    (0, lambda r: replace(r, previous=NOWHERE), "record 0 does not follow the genesis"),
    (3, lambda r: replace(r, version=3), "log record 3 is of no honest log: its version is 3"),
    (3, lambda r: replace(r, progress=0.9), "log record 3 is of no honest log: its progress"),
    (3, lambda r: replace(r, digest=Digest("../x")), "record 3: a file's name in it is no SHA-256"),
    (3, lambda r: changed(r, aggregate="../x"), "record 3: a file's name in it is no SHA-256"),
    (2, lambda r: replace(r, words={**(r.words or {}), WorkerId("gcp"): "00"}), "gcp did not sign"),
    (0, lambda r: replace(r, words={WorkerId("gcp"): "00"}), "record 0: gcp did not sign the word"),
    (3, lambda r: with_plan(r, tier="tls"), "of its round, tier is 'tls', the run's is 'masked'"),
    (3, lambda r: with_plan(r, run="other"), "of its round, run is 'other', ours is 'small'"),
    (3, lambda r: with_plan(r, threshold=2), "of its round, threshold is 2, must be 3"),
    (
        3,
        lambda r: with_plan(r, offers=tuple(replace(o, tokens=9) for o in r.commit.plan.offers)),  # type: ignore[union-attr]
        "record 3: the signature of the offer of aws is wrong",
    ),
]


@pytest.mark.parametrize(("seq", "lie", "complaint"), LIES)
def test_the_first_false_record_is_named(
    seq: int, lie: Callable[[Record], Record], complaint: str
) -> None:
    run = played()
    run.log[seq] = lie(run.log[seq])
    assert complaint in run.complaint()


def test_a_list_of_survivors_needs_their_signatures() -> None:
    run = played()
    made = run.commit(WorkerId("gcp"))
    assert made.commit is not None
    signed = dict(made.commit.signatures or {})
    del signed[WorkerId("aws")]
    run.log[-1] = changed(made, signatures=signed)
    assert "2 members signed its list of survivors, 3 are needed" in run.complaint()


@pytest.mark.parametrize(
    ("changes", "complaint"),
    [
        ({"num_records": 9}, "the signature of its order is wrong"),
        ({"certificate": "!"}, "its certificate is not base64"),
    ],
)
def test_a_roll_back_needs_an_operator_s_order(changes: dict[str, object], complaint: str) -> None:
    run = played()
    run.roll_back(0, **changes)
    assert complaint in run.complaint()


def test_a_roll_back_shows_the_words_for_what_returns_and_it_is_of_this_log() -> None:
    run = played()
    back = run.roll_back(1)
    assert back.rollback is not None
    assert back.rollback.origin is not None
    without = replace(back.rollback, origin=None)
    few = replace(back.rollback.origin, words={})
    tls = replace(back.rollback.origin, plan=replace(back.rollback.origin.plan, tier="tls"))
    for rollback, complaint in (
        (without, "too few members gave their word for version 1, which returns"),
        (replace(back.rollback, origin=few), "too few members gave their word for version 1"),
        (replace(back.rollback, origin=tls), "of its round, tier is 'tls', the run's is 'masked'"),
        (replace(back.rollback, version=2), "what returns is not version 2 of this log"),
        (replace(back.rollback, order=None), "no operator has signed it"),
    ):
        run.log[-1] = replace(back, rollback=rollback)
        assert complaint in run.complaint()
