"""Real processes of a program that only waits: who starts, who is told, who ends."""

import io
from pathlib import Path
from unittest import mock

import pytest
from rich.console import Console

from commands.demo import demo
from commands.demo.federation import Federation
from commands.demo.layout import FederationSpec, WorkerSpec
from commands.demo.processes import ProcessFailedError
from protos.v1 import operator_pb2
from services.wire.operator_link import run_status
from tests.rig.silent_outlet import SilentOutlet

PROGRAM = """
import pathlib, signal, sys
signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM])
role, _, config = sys.argv[1:4]
print(role, pathlib.Path(config).stem, flush=True)
here = pathlib.Path("behaviour") / pathlib.Path(config).stem
if here.exists():
    sys.exit(here.read_text())
if role == "genesis":
    out = pathlib.Path(sys.argv[5])
    out.mkdir()
    (out / "genesis.json").write_text("{}")
elif role != "export":
    signal.sigwait([signal.SIGTERM])
    print("ended in order")
"""


@pytest.fixture
def federation(tmp_path, monkeypatch):
    (tmp_path / "crosscloud").mkdir()
    (tmp_path / "crosscloud" / "__init__.py").touch()
    (tmp_path / "crosscloud" / "__main__.py").write_text(PROGRAM)
    (tmp_path / "behaviour").mkdir()
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)  # and processes look where we do
    spec = FederationSpec(
        folder=Path("tiny"),
        name="tiny",
        workers=(WorkerSpec("aws", {"a.py": "1"}), WorkerSpec("gcp", {"b.py": "2"})),
        validation={"c.py": "3"},
        run={"stop": {"versions": 1}},
    )
    found = Federation(spec)
    monkeypatch.setattr(found, "status", lambda: None)  # nobody listens
    yield found
    found.stop(told_s=0)


def log(federation: Federation, name: str) -> str:
    return federation.layout.log(name).read_text()


def until(federation: Federation, name: str, words: str) -> None:
    while words not in log(federation, name):
        federation.check()
        federation.sleep(0.01)


def fail(name: str, reason: str) -> None:
    Path("behaviour", name).write_text(reason)


def test_every_process_gets_its_own_settings(federation):
    federation.start()
    for name, role in (("coordinator", "coordinator"), ("evaluator", "evaluator")):
        until(federation, name, f"{role} {name}")
    for name in ("aws", "gcp"):
        until(federation, name, f"worker {name}")
    assert log(federation, "genesis") == "genesis run\n"
    assert not federation.finished()


def test_whoever_is_told_to_stop_ends_in_order_and_has_not_failed(federation):
    with federation:
        for name in ("coordinator", "evaluator", "aws", "gcp"):
            until(federation, name, name)
    for name in ("coordinator", "evaluator", "aws", "gcp"):
        assert log(federation, name).endswith("ended in order\n")
    federation.check()


def test_a_failed_process_is_named_with_the_end_of_its_log(federation):
    fail("gcp", "no such file: shard-7")
    federation.start()
    with pytest.raises(ProcessFailedError, match=r"(?s)gcp ended with code 1.*shard-7"):
        federation.wait(60)


def test_a_genesis_that_fails_starts_nothing(federation):
    fail("run", "algorithm.codec: unsound")
    with pytest.raises(ProcessFailedError, match="unsound"):
        federation.start()
    assert not federation.layout.log("coordinator").exists()


def test_a_killed_worker_has_not_failed_and_starts_again_on_its_settings(federation):
    federation.start()
    until(federation, "aws", "worker aws")
    federation.process("aws").kill()
    federation.check()
    federation.restart("aws")
    until(federation, "aws", "worker aws\nworker aws")


def test_an_interrupt_ends_the_wait_and_then_every_process(federation):
    def interrupted_run() -> None:
        with federation:
            until(federation, "aws", "worker aws")
            federation.interrupted.set()
            federation.wait(60)

    with pytest.raises(KeyboardInterrupt):
        interrupted_run()
    assert log(federation, "aws").endswith("ended in order\n")


def test_another_command_runs_to_its_end(federation):
    federation.layout.write()
    federation.run("export", "--config", federation.config("evaluator"))
    assert log(federation, "export") == "export evaluator\n"


def watched(federation: Federation, looks: list[float]) -> str:
    """Let the demo look at these times; return what it shows."""
    out, times_s = io.StringIO(), iter(looks)

    def now_s() -> float:
        if (now_s := next(times_s, None)) is None:
            federation.interrupted.set()
            return looks[-1]
        return now_s

    def at_once(seconds: float) -> None:
        Federation.sleep(federation, 0.0)

    with mock.patch.object(federation, "sleep", at_once), federation:
        for name in federation.workers:
            until(federation, name, f"worker {name}")
        with pytest.raises(KeyboardInterrupt):
            demo._watch(federation, Console(file=out, width=200), now_s, patience_s=60.0)
    return out.getvalue()


def test_a_demo_whose_workers_take_a_minute_to_join_says_nothing_yet(federation):
    assert "not joined" not in watched(federation, [0.0, 59.0])


def test_a_demo_that_nobody_joins_names_everybody_and_the_last_of_their_logs(federation):
    federation.unanswered = "the coordinator at 127.0.0.1:1: nothing listens at the proxy p:9"
    shown = watched(federation, [0.0, 59.0, 60.0, 61.0])
    assert shown.count("2 of 2 workers have not joined after 60 s; Ctrl-C ends it") == 1
    assert "coordinator: the coordinator at 127.0.0.1:1: nothing listens at the proxy p:9" in shown
    assert "aws said last: worker aws" in shown
    assert "gcp said last: worker gcp" in shown


def test_a_demo_that_nobody_has_joined_yet_says_that_it_waits_and_for_how_many(
    federation, monkeypatch
):
    answers = iter([run_status(operator_pb2.GetStatusResponse())] * 3)
    monkeypatch.setattr(federation, "status", lambda: next(answers, None))
    shown = watched(federation, [0.0, 0.0, 5.0, 10.0])
    lines = [f"{seconds:>4} s  waiting for 2 workers to join" for seconds in (0, 5, 10)]
    assert shown.splitlines()[:3] == lines
    assert "version" not in shown


def test_stopping_twice_or_before_the_start_is_fine(federation):
    federation.stop()
    federation.stop()


def test_who_waits_for_a_demo_sees_what_it_makes_before_the_run_and_after_it(federation):
    told = SilentOutlet()
    with demo._started(federation, told):
        assert told.num_ended == 1
    demo._export(federation, Path("model"), told)
    assert told.num_ended == 2
