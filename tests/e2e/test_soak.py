"""64 workers for minutes (`--soak-minutes`): nothing grows, nobody is let go."""

from pathlib import Path

import pytest

from benchmarks.soak import FITTED, soak

MOST_GROWTH_MIB = 6.0  # over the time that is fitted; what warming up leaves of a short run
NUM_ERRORS = 3.0  # standard errors that are given away


@pytest.mark.timeout(0)  # as long as it is told to
def test_a_coordinator_of_64_workers_does_not_grow(
    tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    minutes = request.config.getoption("--soak-minutes")
    found = soak(tmp_path / "soak", 60 * minutes)
    assert found.failed == []
    assert found.rounds > 0
    assert found.aborts == 0
    for role, slope in found.slopes.items():
        least = slope.mib_per_hour - NUM_ERRORS * slope.noise
        assert least * FITTED * minutes / 60 <= MOST_GROWTH_MIB, f"{role} grows: {slope}"
