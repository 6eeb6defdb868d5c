"""Real processes and how they end: told to at a bad moment, on a wrong setting, with their parent.

Nothing here sleeps: a learner that never gets built says when it has begun, and processes and logs
are looked at until they say what is waited for. It is long because every process has its ends here.
"""

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest

from commands.demo.layout import COORDINATOR, EVALUATOR, OPERATOR
from commands.demo.processes import LocalProcess
from services.coordinator.live.embedded_valkey import EmbeddedValkey
from services.coordinator.live.redis_store import RedisLease
from services.process.exit_status import Exit
from tests.integration.conftest import ROOT, LoneCoordinator, lay_out
from tests.rig.chaos.processes import MARK, pid_of, running

PATIENCE_S = 60.0
BUILT_BY_WORKER = pytest.mark.long("the evaluator goes the same way: one child builds a learner")
BUILT_BY_EVALUATOR = pytest.mark.long("the worker goes the same way: one child builds a learner")
PROGRAM = (
    "import sys, time; from common.errors import ToldToEndError;"
    "from services.process import ending;"
    "from tests.rig.workers.blocked_learner import block; ending.begin();"
)
READY = "print('ready', flush=True)"


def until(holds: Callable[[], object]) -> None:
    deadline_s = time.monotonic() + PATIENCE_S
    while not holds():
        assert time.monotonic() < deadline_s, "waited in vain"
        time.sleep(0.02)


class Site:
    """One federation's files, and processes of it that were started here."""

    def __init__(self, federation: LoneCoordinator, stack: ExitStack) -> None:
        self.federation = federation
        self.folder = federation.folder
        self._stack = stack
        stack.enter_context(_kept(self.folder.glob("*.yaml")))
        (self.folder / "began").unlink(missing_ok=True)
        for log in (self.folder / "logs").iterdir():
            log.write_bytes(b"")
        self._before = set(self._temporary())

    def blocked(self, name: str, how: str) -> LocalProcess:
        """Start a process, and return once its learner is being built."""
        began = self.folder / "began"
        process = self.start(name, learner="blocked_learner:build", began=str(began), how=how)
        until(lambda: began.exists() or process.exit_code is not None)
        assert process.exit_code is None, process.last_lines()
        self.builder = int(began.read_text())
        return process

    def start(self, name: str, *, learner: str = "", **data: Any) -> LocalProcess:
        changes: dict[str, Any] = {"learner": f"tests.rig.workers.{learner}"} if learner else {}
        if data:
            changes["data"] = data
        self.edit(name, **changes)
        command = name if name in (COORDINATOR, EVALUATOR) else "worker"
        return self.command(name, command, "--config", self.federation.layout.config(name))

    def command(self, name: str, *arguments: object) -> LocalProcess:
        environment = {"PYTHONPATH": str(ROOT), MARK: str(self.folder)}
        command = (sys.executable, "-m", "crosscloud", *map(str, arguments))
        log = self.federation.layout.log(name)
        process = LocalProcess(name, command, log, environment)
        self._stack.callback(process.kill)
        return process

    def edit(self, name: str, **changes: Any) -> None:
        self.federation.edit(name, **changes)

    def said(self, name: str) -> str:
        return self.federation.layout.log(name).read_text()

    def ends_with(self, process: LocalProcess, status: Exit) -> None:
        """Wait for its end, with nothing left."""
        assert process.wait(PATIENCE_S), process.last_lines()
        assert process.exit_code == status, process.last_lines()
        assert not list(running(self.folder))
        assert set(self._temporary()) <= self._before

    def _temporary(self) -> Iterator[Path]:
        """Yield half-written files, and sockets."""
        for path in self.folder.rglob("*"):
            if path.name.startswith(".") or path.is_socket():
                yield path


@contextmanager
def _kept(files: Iterable[Path]) -> Iterator[None]:
    """Give files back what is in them now."""
    content = {path: path.read_bytes() for path in files}
    yield
    for path, before in content.items():
        path.write_bytes(before)


@pytest.fixture(scope="module")
def federation(tmp_path_factory: pytest.TempPathFactory) -> LoneCoordinator:
    return lay_out(tmp_path_factory.mktemp("federation") / "run", names=("aws",))


@pytest.fixture
def site(federation: LoneCoordinator) -> Iterator[Site]:
    with ExitStack() as stack:
        yield Site(federation, stack)


@pytest.fixture
def redis_url(tmp_path: Path) -> Iterator[str]:
    with EmbeddedValkey(tmp_path / "valkey") as server:
        yield server.url


# Told to end


@pytest.mark.parametrize(
    ("name", "number"),
    [
        ("aws", signal.SIGTERM),
        pytest.param("aws", signal.SIGINT, marks=BUILT_BY_WORKER),
        (EVALUATOR, signal.SIGINT),
    ],
)
def test_who_is_told_to_end_while_a_learner_is_built_leaves_nothing(
    site: Site, name: str, number: signal.Signals
) -> None:
    process = site.blocked(name, "waits")
    os.kill(process.pid, number)
    site.ends_with(process, Exit.TOLD)
    with pytest.raises(ProcessLookupError):
        os.kill(site.builder, 0)


@pytest.mark.parametrize("name", [pytest.param("aws", marks=BUILT_BY_WORKER), EVALUATOR])
def test_so_it_is_where_the_learner_is_stuck_in_a_library_and_hears_no_signal(
    site: Site, name: str
) -> None:
    process = site.blocked(name, "stuck")
    os.kill(process.pid, signal.SIGTERM)
    os.kill(process.pid, signal.SIGTERM)  # as some supervisors do
    site.ends_with(process, Exit.TOLD)


@pytest.mark.parametrize(
    ("name", "sign"),
    [("aws", "no stream to"), (EVALUATOR, "cannot be followed: ")],
    ids=["aws", "evaluator"],
)
def test_who_is_told_to_end_while_it_dials(site: Site, name: str, sign: str) -> None:
    process = site.start(name)
    until(lambda: sign in site.said(name))
    process.terminate()
    site.ends_with(process, Exit.TOLD)


def test_a_coordinator_that_is_told_to_end_while_another_leads(site: Site, redis_url: str) -> None:
    lease = RedisLease(redis_url, "test", "another")
    assert lease.acquire(PATIENCE_S)
    site.edit(COORDINATOR, redis_url=redis_url)
    process = site.start(COORDINATOR)
    until(lambda: "waiting for its lease to end" in site.said(COORDINATOR))
    process.terminate()
    site.ends_with(process, Exit.TOLD)
    assert lease.renew(PATIENCE_S)
    lease.close()


@pytest.mark.long("tests/integration/test_broken_download.py kills one while it is dialled again")
def test_a_coordinator_that_is_killed_is_no_trouble_with_a_certificate(
    site: Site, tmp_path: Path
) -> None:
    site.edit(EVALUATOR, state_dir=str(tmp_path))  # a new one hears the log from its start
    coordinator, evaluator = site.start(COORDINATOR), site.start(EVALUATOR)
    until(lambda: "version 0: loss" in site.said(EVALUATOR) or evaluator.exit_code is not None)
    measured = site.folder / "coordinator" / "log" / "000000000001.json"
    until(measured.exists)  # a kill may leave the half of what is being written
    coordinator.kill()
    until(lambda: "dialling again" in site.said(EVALUATOR))
    until(lambda: "nothing listens at " in site.said(EVALUATOR))
    assert "cannot be followed: the coordinator closed" not in site.said(EVALUATOR)
    evaluator.terminate()
    assert evaluator.wait(PATIENCE_S), evaluator.last_lines()
    coordinator = site.start(COORDINATOR)  # which ends the killed one's store
    until(lambda: site.said(COORDINATOR).count("privacy tier") == 2)
    coordinator.terminate()
    site.ends_with(coordinator, Exit.TOLD)


def test_a_signal_for_every_process_of_a_service_is_one_for_its_first(site: Site) -> None:
    process = site.start(COORDINATOR)
    until(lambda: "privacy tier" in site.said(COORDINATOR))
    children = [pid_of(process.pid, role) for role in ("bulk", "commit")]
    for pid in (*children, process.pid):
        os.kill(pid, signal.SIGTERM)
    site.ends_with(process, Exit.TOLD)
    assert "was killed" not in site.said(COORDINATOR)


def test_an_operator_who_stops_watching(site: Site) -> None:
    config = site.federation.layout.config(OPERATOR)
    process = site.command(OPERATOR, "status", "--watch", "--config", config)
    until(lambda: "no answer" in site.said(OPERATOR))
    os.kill(process.pid, signal.SIGINT)
    site.ends_with(process, Exit.TOLD)
    assert "Traceback" not in site.said(OPERATOR)


def told(program: str, number: int = signal.SIGTERM) -> subprocess.CompletedProcess[str]:
    """Run a program that says "ready", send it a signal then, and return how it ended."""
    command = (sys.executable, "-c", PROGRAM + program)
    with subprocess.Popen(
        command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        process.send_signal(number)
        said, wrong = process.communicate(timeout=PATIENCE_S)
    return subprocess.CompletedProcess(command, process.returncode, said, wrong)


@pytest.mark.parametrize(
    "work",
    ["block('stuck')", pytest.param("time.sleep(600)", marks=pytest.mark.long("ended as above"))],
)
def test_what_hangs_for_good_is_ended_by_force(work: str) -> None:
    ended = told(f"ending.within(0.2)\ntry: {READY}; {work}\nexcept ToldToEndError: {work}")
    assert ended.returncode == Exit.TOLD
    assert "it is ended by force" in ended.stderr


def test_what_undoes_itself_in_time_is_not_forced() -> None:
    undo = "print('undone'); sys.exit(7)"
    ended = told(
        f"ending.within(float('inf'))\ntry: {READY}; time.sleep(600)\nexcept ToldToEndError: {undo}"
    )
    assert (ended.returncode, ended.stdout, ended.stderr) == (7, "undone\n", "")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGHUP])
def test_other_signals_that_end_a_process_let_it_undo_itself_too(number: int) -> None:
    undo = "print('undone'); sys.exit(7)"
    ended = told(f"pass\ntry: {READY}; time.sleep(600)\nexcept ToldToEndError: {undo}", number)
    assert (ended.returncode, ended.stdout, ended.stderr) == (7, "undone\n", "")


def test_a_lost_terminal_does_not_end_what_was_started_to_outlive_it() -> None:
    ignored = f"import signal; signal.signal(signal.SIGHUP, signal.SIG_IGN); {PROGRAM}"
    program = f"{READY}; sys.stdin.readline(); print('goes on')"
    command = (sys.executable, "-c", ignored + program)
    pipes: dict[str, Any] = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    with subprocess.Popen(command, cwd=ROOT, text=True, **pipes) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        process.send_signal(signal.SIGHUP)
        assert process.communicate("\n", timeout=PATIENCE_S)[0] == "goes on\n"


# Settings


@pytest.mark.parametrize(
    ("name", "changes", "sentence"),
    [
        ("aws", {"data": {"train": ["/absent/text"]}}, "/absent/text"),
        pytest.param(
            EVALUATOR,
            {"data": {"validation": ["/absent/text"]}},
            "/absent/text",
            marks=BUILT_BY_EVALUATOR,
        ),
        pytest.param(
            "aws",
            {"learner": "tests.rig.workers.blocked_learner:fail"},
            "ZeroDivisionError: it has no cats",
            marks=BUILT_BY_WORKER,
        ),
        (
            EVALUATOR,
            {"learner": "tests.rig.workers.blocked_learner:fail"},
            "ZeroDivisionError: it has no cats",
        ),
        ("aws", {"learner": "tests.rig.workers.blocked_learner:other"}, "the run has"),
        pytest.param(
            EVALUATOR,
            {"learner": "tests.rig.workers.blocked_learner:other"},
            "the run has",
            marks=BUILT_BY_EVALUATOR,
        ),
        ("aws", {"tls": {"ca": "no.pem", "certificate": "aws.pem", "key": "aws.key"}}, "no.pem"),
        pytest.param(
            "aws", {"genesis": "absent.json"}, "absent.json", marks=pytest.mark.long("as no.pem is")
        ),
        ("aws", {"trust": {"tier": "masked"}}, "tier"),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else value,
)
def test_a_wrong_setting_or_learner_is_named_and_ends_with_a_status_of_its_own(
    site: Site, name: str, changes: dict[str, Any], sentence: str
) -> None:
    site.edit(name, **changes)
    process = site.start(name)
    site.ends_with(process, Exit.SETTINGS)
    assert sentence in process.last_lines(3)  # each problem has a line
    if "cats" in sentence:
        assert "blocked_learner.py, line " in process.last_lines(1)


# A child and its parent


@pytest.mark.parametrize(
    "how",
    [
        "waits",
        pytest.param("stuck", marks=pytest.mark.long("below, a child is stuck in a library")),
    ],
)
def test_a_trainer_that_builds_its_learner_ends_with_its_link(site: Site, how: str) -> None:
    process = site.blocked("aws", how)
    os.kill(process.pid, signal.SIGKILL)
    until(lambda: not list(running(site.folder)))


def test_the_children_of_a_coordinator_end_with_it(site: Site) -> None:
    process = site.start(COORDINATOR)
    until(lambda: "privacy tier" in site.said(COORDINATOR))
    os.kill(process.pid, signal.SIGKILL)
    until(lambda: {f.role for f in running(site.folder)} == {"valkey"})  # which the next one takes
    process = site.start(COORDINATOR)
    until(lambda: site.said(COORDINATOR).count("privacy tier") == 2)
    process.terminate()
    site.ends_with(process, Exit.TOLD)


ORDERS = pytest.mark.long("`rollback` is an order to the same port")


@pytest.mark.parametrize(
    "command",
    ["status", *(pytest.param(n, marks=ORDERS) for n in ("pause", "resume", "stop")), "rollback"],
)
def test_a_coordinator_that_is_not_there_is_no_wrong_setting(site: Site, command: str) -> None:
    version = (0,) * (command == "rollback")
    config = site.federation.layout.config(OPERATOR)
    process = site.command(OPERATOR, command, *version, "--config", config)
    site.ends_with(process, Exit.FAILED)
    assert "crosscloud: the coordinator at" in site.said(OPERATOR)


CHILD = (
    "import sys; from threading import Event; from common.errors import ToldToEndError;"
    "from services.wire.child import Line; from tests.rig.workers.blocked_learner import block\n"
    "line = Line(int(sys.argv[1]), ()); line.hold()\n"
)


@pytest.mark.parametrize(
    ("work", "status", "said"),
    [
        ("line.receive()\nexcept EOFError: print('read')", Exit.OVER, "read\n"),
        ("Event().wait()\nexcept ToldToEndError: print('undone')", Exit.OVER, "undone\n"),
        pytest.param(
            "Event().wait()\nexcept ToldToEndError: Event().wait()",
            Exit.TOLD,
            "",
            marks=pytest.mark.long("ended by force as what is stuck in a library"),
        ),
        ("block('stuck')\nfinally: pass", Exit.TOLD, ""),
    ],
    ids=["at its line", "elsewhere", "does not let go", "stuck in a library"],
)
def test_whatever_a_child_is_at_it_ends_with_its_parent(work: str, status: Exit, said: str) -> None:
    ours, theirs = socket.socketpair()
    command = (sys.executable, "-c", CHILD + f"try: {READY}; {work}", str(theirs.fileno()))
    with (
        theirs,
        subprocess.Popen(
            command, cwd=ROOT, pass_fds=(theirs.fileno(),), stdout=subprocess.PIPE, text=True
        ) as process,
    ):
        theirs.close()
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        process.terminate()  # not its affair
        ours.close()
        answer, _ = process.communicate(timeout=PATIENCE_S)
    assert (process.returncode, answer) == (status, said)


def test_a_process_that_a_learner_forks_hears_signals_as_any_other() -> None:
    program = (
        "import os, time\npid = os.fork()\n"
        "if not pid:\n    time.sleep(600)\n"
        "os.kill(pid, 15); print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), flush=True)\n"
    )
    ours, theirs = socket.socketpair()
    command = (sys.executable, "-c", CHILD + program, str(theirs.fileno()))
    with ours, theirs:
        done = subprocess.run(
            command,
            cwd=ROOT,
            pass_fds=(theirs.fileno(),),
            capture_output=True,
            text=True,
            timeout=PATIENCE_S,
        )
    assert done.stdout == "-15\n"


@pytest.mark.parametrize("name", [pytest.param("aws", marks=BUILT_BY_WORKER), EVALUATOR])
def test_a_second_process_on_a_folder_is_told_so_and_a_killed_one_leaves_it_free(
    site: Site, name: str
) -> None:
    first = site.blocked(name, "waits")
    command = EVALUATOR if name == EVALUATOR else "worker"
    again = site.command("again", command, "--config", site.federation.layout.config(name))
    assert again.wait(PATIENCE_S), again.last_lines()
    assert again.exit_code == Exit.SETTINGS
    said = site.said("again")
    assert f"state_dir: this {command} runs here already: {command} {name} of run test" in said
    assert "Traceback" not in said
    first.kill()
    (site.folder / "began").unlink()
    site.blocked(name, "waits").kill()


def test_a_second_coordinator_on_a_folder_is_told_so_whatever_its_ports(site: Site) -> None:
    first = site.start(COORDINATOR)
    until(lambda: "control port" in site.said(COORDINATOR) or first.exit_code is not None)
    again = site.command(
        "again", COORDINATOR, "--config", site.federation.layout.config(COORDINATOR)
    )
    assert again.wait(PATIENCE_S), again.last_lines()
    assert again.exit_code == Exit.SETTINGS
    assert "data_dir: this coordinator runs here already: coordinator of run" in site.said("again")
    first.terminate()
    site.ends_with(first, Exit.TOLD)
