import errno
import fcntl
import logging
import os
import re
import socket
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from common.errors import ConfigError
from services.config import state_owner
from services.config.state_owner import Claim, check, held, runs_on
from tests.rig.rounds.small_run import Run

GENESIS = Run().genesis


def at_once(_: float) -> None:
    """Wait for nobody."""


@pytest.fixture
def claim(tmp_path: Path) -> Claim:
    return Claim(tmp_path / "state", "state_dir", GENESIS, "worker aws")


@contextmanager
def refused(claim: Claim, *said: str) -> Iterator[None]:
    with pytest.raises(ConfigError) as told:
        yield
    assert str(told.value).startswith(f"{claim.setting}: ")
    for words in (str(claim.folder), *said):
        assert words in str(told.value)


def test_a_second_process_on_a_folder_is_refused_and_told_who_runs_there(claim: Claim) -> None:
    who = f"worker aws of run {GENESIS.run}, process {os.getpid()} on "
    with held(claim):
        with refused(claim, "this worker runs here already", who), held(claim, at_once):
            pass
        found = runs_on(claim)
        assert found is not None
        assert found.startswith(who)
    assert runs_on(claim) == ""
    with held(claim):  # its next life
        assert check(claim)


def test_a_process_that_is_about_to_end_is_waited_for(claim: Claim) -> None:
    running = ExitStack()
    running.enter_context(held(claim))
    with held(claim, lambda _: running.close()):
        assert runs_on(claim)


def test_a_folder_kept_for_another_name_or_role_is_refused_also_when_nobody_runs(
    claim: Claim,
) -> None:
    with held(claim):
        pass
    for who in ("worker azure", "evaluator aws"):
        other = replace(claim, who=who)
        with refused(claim, "is kept for worker aws", who, "folder of its own"), held(other):
            pass


def test_a_folder_of_before_the_names_is_taken_by_the_first_on_it(claim: Claim) -> None:
    with held(claim):
        (claim.folder / state_owner.OWNER).unlink()
    azure = replace(claim, who="worker azure")
    with held(azure), refused(claim, "kept for worker azure"):
        check(claim)


def test_a_folder_of_another_run_is_refused_and_left_as_it_is(claim: Claim) -> None:
    with held(claim):
        pass
    (claim.folder / state_owner.RUN).write_text("0" * 64)
    (claim.folder / state_owner.LOCK).unlink()
    with refused(claim, "is of another run"), held(claim):
        pass
    assert not (claim.folder / state_owner.LOCK).exists()


def test_standbys_share_a_folder_and_a_coordinator_that_stands_alone_does_not(
    tmp_path: Path,
) -> None:
    alone = Claim(tmp_path, "data_dir", GENESIS, "coordinator")
    standby = replace(alone, shared=True)
    said = "this coordinator runs here already"
    with held(standby), held(standby), refused(alone, said), held(alone, at_once):
        pass
    with held(alone), refused(alone), held(standby, at_once):
        pass


def test_a_process_that_was_forked_does_not_hold_the_folder(claim: Claim) -> None:
    parents, childs = socket.socketpair()
    with held(claim):
        if not (child := os.fork()):
            parents.close()
            childs.send(b"I")
            childs.recv(1)  # until its parent is done
            os._exit(0)
    childs.close()
    with parents:
        parents.recv(1)
        assert runs_on(claim) == ""
    os.waitpid(child, 0)


def test_a_filesystem_without_locks_is_said_and_passed_over(
    claim: Claim, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def none(*_: object) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(fcntl, "flock", none)
    with caplog.at_level(logging.WARNING), held(claim), held(claim):
        assert runs_on(claim) is None
    assert re.search(r"state_dir: no locks in .*No locks available", caplog.text)
