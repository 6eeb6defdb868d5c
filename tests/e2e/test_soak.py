"""64 workers for minutes (`--soak-minutes`): nothing grows, nobody is let go."""

from pathlib import Path

import pytest

from benchmarks.soak import FITTED, soak

NUM_ERRORS = 3.0  # standard errors that are given away
LEAK_BYTES = 50.0  # per round, that is taken for none
ENOUGH_ROUNDS = 500  # in fewer a process warms up, and there is nothing to tell a leak from
MOST_PAGES = 6 * 2**20  # that warming up takes while a line is fitted


@pytest.mark.timeout(0)  # as long as it is told to
def test_a_coordinator_of_64_workers_does_not_grow(
    tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    minutes = request.config.getoption("--soak-minutes")
    found = soak(tmp_path / "soak", 60 * minutes)
    assert found.failed == []
    assert found.rounds > 0
    assert found.aborts == 0
    for role, memory in found.memory.items():
        pages = memory.pages.per_round - NUM_ERRORS * memory.pages.noise
        assert pages * FITTED * found.rounds <= MOST_PAGES, f"{role} grows: {memory.pages}"
        for held in memory.held if found.rounds >= ENOUGH_ROUNDS else ():
            assert held.per_round - NUM_ERRORS * held.noise <= LEAK_BYTES, f"{role} leaks: {held}"
