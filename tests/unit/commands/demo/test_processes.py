import os
import sys

import pytest

from commands.demo.processes import LocalProcess, end_all

WAITS = "import signal; signal.sigwait([signal.SIGUSR1])"
ENDS_WHEN_ASKED = (
    "import signal\n"
    "signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM])\n"
    "print('ready', flush=True)\n"
    "signal.sigwait([signal.SIGTERM])\n"
    "print('ended in order')\n"
)
NEVER_ENDS = (
    "import signal\n"
    "signal.signal(signal.SIGTERM, signal.SIG_IGN)\n"
    "print('ready', flush=True)\n"
    "signal.sigwait([signal.SIGUSR1])\n"
)


@pytest.fixture
def start(tmp_path):
    started = []

    def run(code: str, name: str = "worker aws", **environment: str) -> LocalProcess:
        log = tmp_path / f"{name}.log"
        process = LocalProcess(name, (sys.executable, "-c", code), log, environment)
        started.append(process)
        return process

    yield run
    for process in started:
        process.kill()


def ready(process: LocalProcess) -> LocalProcess:
    while "ready" not in process.last_lines():
        assert process.exit_code is None, process.last_lines()
    return process


def test_output_and_errors_go_to_the_log(start):
    process = start("import sys; print('out', flush=True); sys.exit('no such file')")
    assert process.wait(20)
    assert process.exit_code == 1
    assert process.last_lines() == "out\nno such file"


def test_only_the_last_lines_are_shown(start):
    process = start("print(*range(5000), sep='\\n')")
    assert process.wait(20)
    assert process.last_lines(2) == "4998\n4999"


def test_a_restart_appends_to_the_same_log(start):
    for word in ("first", "second"):
        assert start(f"print('{word}')").wait(20)
    assert start("").last_lines() == "first\nsecond"


def test_the_environment_is_added_to_ours(start):
    process = start("import os; print(os.environ['ADDED'], 'PATH' in os.environ)", ADDED="yes")
    assert process.wait(20)
    assert process.last_lines() == "yes True"


def test_each_process_has_a_session_of_its_own_so_that_ctrl_c_does_not_reach_it(start):
    process = start(WAITS)
    assert os.getsid(process.pid) == process.pid != os.getsid(0)


def test_killing_twice_is_fine(start):
    process = start(WAITS)
    process.kill()
    process.kill()
    assert process.exit_code == -9


def test_who_ends_when_asked_is_not_killed(start):
    process = ready(start(ENDS_WHEN_ASKED))
    end_all([process], alone_s=0, told_s=20)
    assert process.exit_code == 0
    assert process.last_lines().endswith("ended in order")


def test_who_does_not_end_when_asked_is_killed(start):
    processes = [ready(start(NEVER_ENDS, name)) for name in ("one", "two")]
    end_all(processes, alone_s=0, told_s=0)
    assert [p.exit_code for p in processes] == [-9, -9]


def test_who_ends_alone_is_not_asked(start):
    process = start("")
    end_all([process], alone_s=20, told_s=0)
    assert process.exit_code == 0


def test_settings_of_other_processes_in_our_environment_do_not_reach_it(start, monkeypatch):
    monkeypatch.setenv("CROSSCLOUD_WORKER__STATE_DIR", "/somewhere/else")
    monkeypatch.setenv("LANG", "C.UTF-8")
    shows = "import os; print(sorted(k for k in os.environ if 'CROSSCLOUD' in k or k == 'LANG'))"
    process = start(shows, CROSSCLOUD_A="given")
    assert process.wait(60)
    assert process.last_lines() == "['CROSSCLOUD_A', 'LANG']"
