"""What the coordinator's metrics say of a run that is shown to them effect by effect."""

from dataclasses import replace

import numpy as np
import pytest

from common.documents import Abort, Counters, Record, WorkerCounters
from common.ids import Digest, RoundId, SessionId, WorkerId
from common.rounds import LeaveReason
from common.terms import round_layout
from coordinator.ports import Append, Compute, LeftOut, Note, OpenSpool, Publish, Seal, Send
from coordinator.status import Status, WorkerStatus
from services.coordinator.messages import Carried, Summed
from services.coordinator.watch.observer import Observer
from services.coordinator.watch.reports import Reports
from services.observe.metrics.coordinator import CoordinatorMetrics
from services.trust.identity import Identity, Role
from tests.rig.rounds.masked_members import measured
from tests.rig.rounds.small_run import SMALL, Run, random_vector

WORKERS = {w: WorkerCounters(contributions=2) for w in ("aws", "azure", "gcp", "onprem")}
RECORD = Record(3, Digest("p"), 0, 0, 1, Digest("d"), 0.5, Counters(workers=WORKERS))


class Watched:
    """An observer on a clock that the test sets."""

    def __init__(self) -> None:
        self.now_s = 0.0
        self.metrics = CoordinatorMetrics(run="demo", software="0.1.0", tier="masked")
        self.reports = Reports()
        self.observer = Observer(self.metrics, self.reports, lambda: self.now_s)
        names = (Identity("demo", Role.WORKER, "acme", w) for w in WORKERS)
        self.observer.listed((*names, Identity("demo", Role.EVALUATOR, "acme", "evaluator")))

    def value(self, name: str, **labels: str) -> float | None:
        return self.metrics.registry.get_sample_value(f"crosscloud_{name}", labels)


@pytest.fixture
def watched() -> Watched:
    return Watched()


def commit_record() -> Record:
    run = Run()
    thetas = {w: run.theta() + random_vector(SMALL, i, 0.01) for i, w in enumerate(run.workers)}
    commit, _ = run.commit({w: t.astype(np.float32) for w, t in thetas.items()})
    return replace(RECORD, commit=commit)


def abort_record() -> Record:
    abort = Abort(RoundId("0" * 32), (WorkerId("aws"), WorkerId("gcp")), "below_threshold", "gone")
    return replace(RECORD, abort=abort)


def test_a_rounds_phases_and_its_whole_are_timed(watched: Watched) -> None:
    record = commit_record()
    assert record.commit is not None
    plan = record.commit.plan
    members, survivors = tuple(plan.roster), record.commit.survivors
    effects = (
        (10.0, Send(SessionId("s"), plan)),
        (12.0, OpenSpool(plan.round, members, plan.bits, plan.fragment)),
        (15.0, Seal(plan.round)),
        (19.0, Compute(plan, record.commit.numbers, survivors)),
        (24.0, Append(record)),
        (24.0, Publish(record)),
    )
    for watched.now_s, effect in effects:
        watched.observer.effect(effect, 0.0)
    took = "round_phase_duration_seconds_sum"
    phases = ("share_keys", "collect_masked", "unmask", "commit")
    assert [watched.value(took, phase=p) for p in phases] == [2.0, 3.0, 4.0, 5.0]
    assert watched.value("round_duration_seconds_sum", outcome="committed") == 14.0
    assert watched.value("rounds_total", outcome="committed", reason="") == 1
    assert watched.value("update_staleness_versions_count") == 4


def test_counts_of_the_log_go_on_after_a_restart_and_durations_are_not_made_up(
    watched: Watched,
) -> None:
    evaluation = measured(7, 2.25, accuracy=0.41, perplexity=9.49)
    for record in (
        *(commit_record(), abort_record(), abort_record()),
        replace(RECORD, evaluation=evaluation),
    ):
        watched.observer.recalled(record)
    assert watched.value("rounds_total", outcome="committed", reason="") == 1
    assert watched.value("rounds_total", outcome="aborted", reason="below_threshold") == 2
    assert watched.value("cohort_workers_count") == 3
    assert watched.value("evaluation_loss_nats") == 2.25
    assert watched.value("round_duration_seconds_count", outcome="aborted") is None
    watched.observer.effect(Publish(abort_record()), 0.0)
    assert watched.value("rounds_total", outcome="aborted", reason="below_threshold") == 3


def test_what_bulk_carried_adds_up_and_goes_on_after_a_restart(watched: Watched) -> None:
    sent = {"worker": "aws", "direction": "sent", "kind": "update"}
    watched.reports.carried("aws", "sent", "update", 1000)  # by the coordinator before
    watched.observer.answer(Carried({"aws": 5}, {"evaluator": 3}))
    watched.observer.answer(Carried({"aws": 6}, {}))
    assert watched.value("coordinator_network_bytes_total", **sent) is None  # not kept yet
    watched.observer.status(status())
    assert watched.value("coordinator_network_bytes_total", **sent) == 1011
    received = {"worker": "evaluator", "direction": "received", "kind": "download"}
    assert watched.value("coordinator_network_bytes_total", **received) == 3


def test_refusals_are_counted_by_rule_and_members_left_out_by_reason(watched: Watched) -> None:
    aws, round_id = WorkerId("aws"), RoundId("0" * 32)
    assert watched.value("refusals_total", rule="8") == 0
    assert watched.value("members_left_out_total", reason="late_upload") == 0
    for rule in (8, 8, 5, 99):
        watched.observer.effect(Note("refused", "why", aws, round_id, rule), 0.0)
    watched.observer.effect(Note("closed", "no refusal", round=round_id), 0.0)
    watched.observer.effect(LeftOut(round_id, aws, LeaveReason.LATE_UPLOAD), 0.0)
    shown = {rule: watched.value("refusals_total", rule=rule) for rule in ("8", "5", "4", "other")}
    assert shown == {"8": 2, "5": 1, "4": 0, "other": 1}
    assert watched.value("members_left_out_total", reason="late_upload") == 1
    assert watched.value("members_left_out_total", reason="refused") == 0


def test_a_committed_sum_counts_once_for_each_live_worker_over_restarts_too(
    watched: Watched,
) -> None:
    run, record = Run(), commit_record()
    commit = record.commit
    assert commit is not None
    layout = round_layout(run.genesis, commit.plan.bits, commit.plan.fragment)
    one = layout.aggregate_bytes(len(commit.survivors)) * commit.plan.num_live
    assert one > 0
    watched.observer.recalled(record)
    assert watched.value("committed_sum_bytes_total") == one
    watched.observer.effect(Publish(record), 0.0)
    assert watched.value("committed_sum_bytes_total") == 2 * one


def test_the_sum_is_timed_apart_from_the_commit(watched: Watched) -> None:
    watched.observer.answer(Summed(3, 0.5, 2.0, 0.5, 0.001))
    assert watched.value("commit_duration_seconds_sum") == 2.0
    assert watched.value("sum_duration_seconds_sum") == 0.5
    assert watched.value("aggregate_norm") == 0.5
    assert watched.value("aggregate_saturation_ratio") == 0.001


def test_a_name_that_left_the_list_before_the_restart_has_no_series(watched: Watched) -> None:
    counters = Counters(workers={**WORKERS, "former": WorkerCounters(contributions=9)})
    watched.observer.effect(Publish(replace(RECORD, counters=counters)), 0.0)
    assert watched.value("worker_contributions_total", worker="aws") == 2
    assert watched.value("worker_contributions_total", worker="former") is None
    assert watched.value("worker_info", worker="aws", organisation="acme") == 1
    assert watched.value("worker_info", worker="evaluator", organisation="acme") is None


def status(*live: str, state: str = "running") -> Status:
    workers = tuple(
        WorkerStatus(WorkerId(w), True, 0.0, 1, 0, 0.0, "offered", 5, 100, 0, 20, 2) for w in live
    )
    return Status(
        *(state, 1, Digest("d"), 4, 0.5, 9.0, "collecting_offers", "offers of nobody", 2.0, 1, 0),
        *(None, Counters(), workers),
    )


def test_a_worker_that_left_is_shown_as_not_live(watched: Watched) -> None:
    watched.observer.status(status("aws", "gcp"))
    assert watched.value("worker_live", worker="aws") == 1
    assert watched.value("worker_offered", worker="aws") == 1
    watched.observer.status(status("gcp"))
    assert watched.value("worker_live", worker="aws") == 0
    assert watched.value("worker_offered", worker="aws") == 0
    assert watched.value("live_workers") == 1


def test_a_run_that_is_over_says_so(watched: Watched) -> None:
    watched.observer.status(status("aws"))
    assert watched.value("run_ended") == 0
    watched.observer.status(status("aws", state="stopped"))
    assert watched.value("run_ended") == 1
