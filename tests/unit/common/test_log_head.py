"""Which record can be the next one of a log."""

from collections.abc import Callable
from dataclasses import replace

import pytest

from common import canonical
from common.documents import Control, Record, Takeover
from common.errors import DivergedError, ProtocolError
from common.ids import Digest
from common.log_head import LogHead
from tests.rig.rounds.masked_members import measured
from tests.rig.rounds.small_chain import Coordinator

NOWHERE = Digest("f" * 64)


@pytest.fixture
def coordinator() -> Coordinator:
    made = Coordinator()
    made.append(control=Control("resume", "ann", ""))
    made.step()
    return made


def head_of(coordinator: Coordinator) -> LogHead:
    head = LogHead.of(coordinator.run.genesis)
    for record in coordinator.records:
        head = head.after(coordinator.run.genesis, record)
    return head


def test_an_honest_log_is_read_to_its_end(coordinator: Coordinator) -> None:
    first = coordinator.run.version
    coordinator.append(control=Control("pause", "ann", ""))
    coordinator.step()
    coordinator.roll_back(1, first)
    coordinator.step()
    head = head_of(coordinator)
    last = coordinator.records[-1]
    assert (head.next_seq, head.version, head.digest) == (6, 4, last.digest)
    assert head.previous == canonical.digest(last)
    assert head == LogHead.at(last)


def with_plan(record: Record, **changes: object) -> Record:
    assert record.commit is not None
    plan = replace(record.commit.plan, **changes)  # type: ignore[arg-type]
    return replace(record, commit=replace(record.commit, plan=plan))


def with_counters(record: Record, **changes: object) -> Record:
    return replace(record, counters=replace(record.counters, **changes))  # type: ignore[arg-type]


LIES: list[tuple[Callable[[Record], Record], str]] = [
    (lambda r: replace(r, version=r.version - 1), "its version is 1, after 1 a commit must give 2"),
    (lambda r: replace(r, version=r.version + 1), "its version is 3"),
    (lambda r: replace(r, commit=None), "it is of 0 kinds"),
    (lambda r: replace(r, takeover=Takeover("eve")), "it is of 2 kinds (takeover, commit)"),
    (lambda r: with_counters(r, tokens=0), "do not follow from the commits: tokens"),
    (lambda r: with_counters(r, workers={}), "do not follow from the commits: workers"),
    (lambda r: with_counters(r, member_steps_256=-1), "commits: member_steps_256"),
    (lambda r: with_counters(r, elapsed_s=-1), "the run's time goes back from 0 s to -1 s"),
    (lambda r: replace(r, progress=0.5), "its progress is 0.5"),
    (lambda r: with_plan(r, version=0), "its round starts from version 0"),
    (lambda r: with_plan(r, digest=NOWHERE), "its round starts from version 1 ffffffff"),
    (lambda r: with_plan(r, bits=5), "its round has 5 bits"),
    (lambda r: with_plan(r, fragment=-1), "its round is of fragment -1 of 1"),
    (lambda r: with_plan(r, num_live=2), "of its round, num_live is 2, below"),
    (lambda r: with_plan(r, progress=0.5), "of its round, progress is 0.5, no outer schedule"),
    (lambda r: with_plan(r, offers=()), "of its round, 0 offers, must be"),
    (lambda r: with_plan(r, tier="masked"), "of its round, tier is 'masked', the run's is"),
]


@pytest.mark.parametrize(("lie", "complaint"), LIES)
def test_a_commit_that_cannot_be_is_refused_with_the_reason(
    coordinator: Coordinator, lie: Callable[[Record], Record], complaint: str
) -> None:
    head = head_of(coordinator)
    record = lie(coordinator.step())
    with pytest.raises(DivergedError) as refusal:
        head.after(coordinator.run.genesis, record)
    assert complaint in str(refusal.value)


def test_what_moves_nothing_names_the_head(coordinator: Coordinator) -> None:
    head = head_of(coordinator)
    evaluated = coordinator.append(evaluation=measured(1))
    for lie in (
        replace(evaluated, digest=NOWHERE),
        replace(evaluated, version=0),
        replace(evaluated, progress=0.9),
        with_counters(evaluated, steps=0),
    ):
        with pytest.raises(DivergedError):
            head.after(coordinator.run.genesis, lie)
    assert head.after(coordinator.run.genesis, evaluated).version == 1


def test_a_roll_back_is_to_a_version_that_there_was(coordinator: Coordinator) -> None:
    head = head_of(coordinator)
    back = coordinator.roll_back(1, coordinator.run.version)
    assert head.after(coordinator.run.genesis, back).version == 2
    assert back.rollback is not None
    for version in (-1, 2, 12345):
        lie = replace(back, rollback=replace(back.rollback, version=version))
        with pytest.raises(DivergedError, match=f"it returns to version {version}"):
            head.after(coordinator.run.genesis, lie)


def test_a_record_of_another_log_does_not_follow(coordinator: Coordinator) -> None:
    head = head_of(coordinator)
    record = coordinator.step()
    for lie in (replace(record, seq=record.seq + 1), replace(record, previous=NOWHERE)):
        with pytest.raises(ProtocolError, match="has another log"):
            head.after(coordinator.run.genesis, lie)
