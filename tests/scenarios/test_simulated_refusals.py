"""Rules that only an attack breaks: nothing lost, late or begun anew makes a worker refuse by one.

The alert for attacks rests on that (`ATTACKED` in common/rounds.py).
"""

from collections import Counter
from typing import Any
from unittest import mock

import pytest

from common.ids import WorkerId
from common.rounds import ATTACKED, Rule
from coordinator.ports import Message, Survivors
from coordinator.unmask import Unmasking
from services.observe.metrics.worker import WorkerMetrics
from simulator.faults import faults_of
from simulator.many import play

SEEDS = 24

right_missed = Unmasking.missed


def names_two_lists(self: Any, worker: WorkerId) -> tuple[Message, ...]:
    told = right_missed(self, worker)
    others = [w for w in self._survivors if w != worker]
    fewer = tuple(w for w in self._survivors if w != others[-1])
    return (*told, Survivors(self._plan.round, fewer)) if told else ()


@pytest.fixture
def refusals() -> Any:
    """Count what the metrics of all workers are told."""
    found: Counter[Rule] = Counter()

    def refused(_: WorkerMetrics, rule: Rule) -> None:
        found[rule] += 1

    with mock.patch.object(WorkerMetrics, "refused", refused):
        yield found


def test_no_loss_delay_or_restart_makes_a_worker_refuse_as_it_would_an_attack(
    refusals: Counter[Rule],
) -> None:
    assert not any(play(seed, faults_of(seed)) for seed in range(SEEDS))
    assert not refusals.keys() & set(ATTACKED)
    assert refusals  # histories in which nobody refuses show nothing


def test_a_coordinator_that_names_two_lists_is_refused_by_such_a_rule(
    refusals: Counter[Rule],
) -> None:
    with mock.patch.object(Unmasking, "missed", names_two_lists):
        for seed in range(6):
            play(seed, ())
    assert refusals[Rule.SURVIVORS]
