"""Masked rounds through a real coordinator: workers fall silent at every message.

The workers are played; gRPC, mTLS, the spool, the unmasking and the log are real. After each round
the published sum is compared with what its survivors have sent, and at the end the log with what
each of them takes for the fate of its work.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import pytest
from typing_extensions import override

from tests.rig.rounds.masked_cohort import Cohort, masked_cohort
from tests.rig.rounds.masked_round import Loss
from worker.rounds.round import Fate

NAMES = ("aws", "azure", "gcp", "hetzner", "onprem")


@pytest.fixture
def cohort(
    tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest
) -> Iterator[Cohort]:
    folder = tmp_path_factory.mktemp("masked") / "run"
    with masked_cohort(folder, NAMES[: request.param]) as made:
        yield made


def losses(*names: str, loss: Loss) -> dict[str, Loss]:
    return dict.fromkeys(names, loss)


PHASES = (Loss.ANSWER, Loss.UPLOAD, Loss.LAST_SHARD, Loss.SIGNATURE, Loss.SHARES)


@pytest.mark.parametrize("cohort", [5], indirect=True, ids="of {}".format)
def test_of_five_one_or_two_may_be_lost_at_any_message_and_the_sum_is_exact(
    cohort: Cohort,
) -> None:
    rounds = [
        {},
        *(losses("azure", loss=loss) for loss in PHASES),
        *(losses("aws", "onprem", loss=loss) for loss in PHASES),
        {"gcp": Loss.UPLOAD, "aws": Loss.SHARES},
    ]
    contributions = dict.fromkeys(NAMES, 0)
    for number, lost in enumerate(rounds, start=1):
        record = cohort.play(lost)
        assert record.commit is not None
        assert record.version == number
        gone = {n for n, loss in lost.items() if loss <= Loss.LAST_SHARD}
        assert set(record.commit.survivors) == set(NAMES) - gone
        cohort.check(record.commit)
        for name in record.commit.survivors:
            contributions[name] += 1
    check_ledger(cohort, contributions)


@pytest.mark.parametrize("cohort", [5], indirect=True, ids="of {}".format)
def test_of_five_three_losses_abort_and_the_next_round_commits(cohort: Cohort) -> None:
    contributions = dict.fromkeys(NAMES, 0)
    for loss in (Loss.UPLOAD, Loss.SIGNATURE, Loss.SHARES):
        record = cohort.play(losses("aws", "gcp", "onprem", loss=loss))
        assert record.abort is not None
        assert record.abort.reason == "below_threshold"
        assert len(record.abort.abandons or {}) >= 3  # K - t + 1

        record = cohort.play({})
        assert record.commit is not None
        assert record.commit.survivors == NAMES
        cohort.check(record.commit)
        contributions = {name: n + 1 for name, n in contributions.items()}
    check_ledger(cohort, contributions)


@pytest.mark.long("of five one or two are lost at the same messages")
@pytest.mark.parametrize("cohort", [4], indirect=True, ids="of {}".format)
def test_of_four_one_may_be_lost(cohort: Cohort) -> None:
    contributions = dict.fromkeys(cohort.names, 0)
    for loss in PHASES:
        record = cohort.play(losses("hetzner", loss=loss))
        assert record.commit is not None
        cohort.check(record.commit)
        for name in record.commit.survivors:
            contributions[name] += 1
    check_ledger(cohort, contributions)


@pytest.mark.long("test_federation.py has three real workers, and kills one")
@pytest.mark.parametrize("cohort", [3], indirect=True, ids="of {}".format)
def test_of_three_a_loss_aborts_and_the_returning_worker_s_round_commits(cohort: Cohort) -> None:
    for loss in (Loss.UPLOAD, Loss.LAST_SHARD):
        record = cohort.play(losses("azure", loss=loss))
        assert record.abort is not None
        assert record.abort.reason == "below_threshold"
    record = cohort.play({})
    assert record.commit is not None
    cohort.check(record.commit)
    check_ledger(cohort, dict.fromkeys(cohort.names, 1))


class _KilledError(Exception):
    """The coordinator is to be killed now."""


@dataclass
class Interrupted(Cohort):
    """Stops where it is told to, once."""

    at: Loss = Loss.NEVER

    @override
    def step(self, loss: Loss, names: tuple[str, ...], lost: Mapping[str, Loss]) -> tuple[str, ...]:
        if loss is self.at:
            self.at = Loss.NEVER
            raise _KilledError
        return super().step(loss, names, lost)


UPLOADED = pytest.mark.long("after the signatures more of a round is lost")


@pytest.mark.parametrize(
    "at",
    [pytest.param(Loss.LAST_SHARD, marks=UPLOADED), Loss.SIGNATURE],
    ids=lambda x: x.name.lower(),
)
@pytest.mark.parametrize("cohort", [4], indirect=True, ids="of {}".format)
def test_a_killed_coordinator_s_round_is_abandoned_and_the_next_one_commits(
    cohort: Cohort, at: Loss
) -> None:
    played = Interrupted(cohort.coordinator, cohort.names, cohort.stack, at=at)
    with pytest.raises(_KilledError):
        played.play({})
    assert played.plan is not None
    assert played.coordinator.process is not None
    played.coordinator.process.kill()
    played.coordinator.start()
    workers = [played.connect(name) for name in played.names]
    for worker in workers[:2]:  # K - t + 1
        worker.abandon(played.plan)
    record = played.concluded("abort", played.names, {})
    assert record.abort is not None
    assert record.abort.reason == "coordinator_restarted"
    assert (record.abort.abandons or {}).keys() == set(played.names[:2])

    record = played.play({})
    assert record.commit is not None
    played.check(record.commit)
    check_ledger(played, dict.fromkeys(played.names, 1))


def check_ledger(cohort: Cohort, contributions: Mapping[str, int]) -> None:
    """No work is in two sums, and log and workers agree on which is in one."""
    assert cohort.head is not None
    in_log = {n: w.contributions for n, w in cohort.head.counters.workers.items()}
    assert in_log == contributions
    for name, worker in cohort.workers.items():
        fates = list(worker.fates.values())
        assert fates.count(Fate.CONTRIBUTED) == contributions[name]
        assert set(fates) <= {Fate.CONTRIBUTED, Fate.FREE}  # enough signed, or abandoned
