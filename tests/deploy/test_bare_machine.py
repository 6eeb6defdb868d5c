"""A clean clone on a Debian that has Python, git, make and certificates, and nothing else.

It takes as long as `make test` does, and some minutes for the machine and its environment. What is
not committed is not in it.
"""

import os
import subprocess
from pathlib import Path

import pytest

SCRIPT = Path(__file__).with_name("bare_machine.sh")
LACKING = 3
COMMANDS = "make demo ARGS='--seconds 40' && ls -l runs/demo/report.html && make test"

pytestmark = [pytest.mark.program("debootstrap"), pytest.mark.timeout(4 * 3600)]


@pytest.mark.skipif(os.geteuid() != 0, reason="debootstrap needs root")
def test_the_demo_and_all_quick_tests_pass_on_a_machine_that_has_nothing() -> None:
    command = [str(SCRIPT), "sh", "-c", COMMANDS]
    done = subprocess.run(command, stderr=subprocess.PIPE, text=True, check=False)
    if done.returncode == LACKING:
        pytest.skip(done.stderr.splitlines()[-1])
    assert done.returncode == 0, done.stderr
