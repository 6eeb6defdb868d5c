import logging
import resource

import pytest

from services.process.descriptors import RESERVE, connections, raise_limit


class Limits:
    """What the system says and takes."""

    def __init__(self, soft: int, hard: int, *, refuses: bool = False) -> None:
        self.now = (soft, hard)
        self.refuses = refuses

    def get(self, which: int) -> tuple[int, int]:
        assert which == resource.RLIMIT_NOFILE
        return self.now

    def set(self, which: int, limits: tuple[int, int]) -> None:
        if self.refuses:
            raise ValueError("not allowed to raise maximum limit")
        self.now = limits


@pytest.fixture
def system(monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> Limits:
    made = Limits(*request.param[:2], refuses=len(request.param) > 2)
    monkeypatch.setattr(resource, "getrlimit", made.get)
    monkeypatch.setattr(resource, "setrlimit", made.set)
    return made


@pytest.mark.parametrize(
    ("system", "in_force"),
    [
        ((1024, 4096), 4096),
        ((4096, 4096), 4096),
        ((1024, resource.RLIM_INFINITY), 2**20),
        ((1024, 2**30), 2**20),
    ],
    indirect=["system"],
)
def test_the_soft_limit_is_raised_to_the_hard_one_and_it_is_said(
    system: Limits, in_force: int, caplog: pytest.LogCaptureFixture
) -> None:
    before, hard = system.now
    with caplog.at_level(logging.INFO):
        assert raise_limit() == in_force
    assert system.now == (in_force, hard)
    (told,) = caplog.messages
    assert told == f"open files and connections: at most {in_force}, {before} before"


@pytest.mark.parametrize("system", [(1024, 4096, "refuses")], indirect=True)
def test_where_it_cannot_be_raised_that_is_said(
    system: Limits, caplog: pytest.LogCaptureFixture
) -> None:
    assert raise_limit() == 1024
    assert "no more to be had" in caplog.text


@pytest.mark.parametrize(
    ("system", "wanted", "most"),
    [
        ((4096, 4096), 2112, 2112),
        ((1024, 1024), 2112, 1024 - RESERVE),
        ((100, 100), 2112, 16),
        ((resource.RLIM_INFINITY, resource.RLIM_INFINITY), 2112, 2112),
    ],
    indirect=["system"],
)
def test_connections_leave_a_reserve_of_descriptors(system: Limits, wanted: int, most: int) -> None:
    assert connections("control", wanted) == most


@pytest.mark.parametrize("system", [(1024, 1024)], indirect=True)
def test_fewer_connections_than_wanted_are_said_with_what_to_do(
    system: Limits, caplog: pytest.LogCaptureFixture
) -> None:
    connections("control", 2112)
    assert "control port: at most 896 connections, 2112 would be right" in caplog.text
    assert "raise the hard limit (LimitNOFILE, ulimit -Hn) to 2240" in caplog.text
