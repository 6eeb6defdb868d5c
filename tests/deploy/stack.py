"""A federation of deploy/compose under Docker: images built, started, asked, killed, taken down.

Base images are those that a machine without a registry can make (base_images.sh), unless
PYTHON_IMAGE is set: then images come from where compose.yaml says. Packages come from
deploy/docker/wheels, filled by this machine's pip where it is empty. Its project has a name of its
own: a federation that `make up` started is left alone. Images stay, for the next time.
"""

import hashlib
import json
import os
import subprocess
import sys
import time
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.rig.programs import LackingError, compose, needed

ROOT = Path(__file__).parents[2]
PROJECT = "crosscloud-test"
WORKERS = ("aws", "gcp", "azure", "onprem")
OURS = ("coordinator", "evaluator", *WORKERS)
SERVICES = (*OURS, "redis", "prometheus")
PATIENCE_S = 900.0
FILES = ("compose.yaml", "compose.no-grafana.yaml", "../../tests/deploy/compose.test.yaml")


def docker(*arguments: str, check: bool = True) -> subprocess.CompletedProcess[str]:
    """Run one docker command; a failure shows what it said."""
    done = subprocess.run(
        [needed("docker"), *arguments], capture_output=True, text=True, timeout=PATIENCE_S
    )
    assert not check or done.returncode == 0, f"docker {arguments}: {done.stdout}{done.stderr}"
    return done


class Stack:
    """See the module docstring."""

    def __init__(self) -> None:
        files = [f"--file={ROOT / 'deploy' / 'compose' / f}" for f in FILES]
        self._compose = [*compose(), f"--project-name={PROJECT}", *files]
        self._environ = {**os.environ, "CROSSCLOUD_TAG": "test"}
        if "PYTHON_IMAGE" not in os.environ:
            self._environ |= _stand_ins()

    def compose(self, *arguments: str) -> str:
        """Run a compose command on this project; a failure shows what it said."""
        done = subprocess.run(
            [*self._compose, *arguments],
            capture_output=True,
            text=True,
            env=self._environ,
            timeout=3 * PATIENCE_S,
        )
        assert done.returncode == 0, f"compose {arguments}: {(done.stdout + done.stderr)[-4000:]}"
        return done.stdout

    def build(self) -> None:
        """Build every image, in the way that `make up` does."""
        self.compose("build")

    def up(self) -> None:
        """Start what does not run, and wait until all of it is healthy."""
        self.compose("up", "--detach", "--no-build", "--wait")

    def down(self) -> None:
        """Remove everything but images."""
        self.compose("--profile=tools", "down", "--volumes", "--timeout=5")

    def logs(self) -> str:
        """Return the last lines of every process."""
        return self.compose("logs", "--no-color", "--tail=15")

    def container(self, service: str) -> str:
        """Return a container's name."""
        return f"{PROJECT}-{service}-1"

    def inspect(self, service: str) -> dict[str, Any]:
        """Return what Docker knows of a container."""
        found: list[dict[str, Any]] = json.loads(docker("inspect", self.container(service)).stdout)
        return found[0]

    def execute(
        self, service: str, *command: str, check: bool = True
    ) -> subprocess.CompletedProcess[str]:
        """Run a command in a container."""
        return docker("exec", self.container(service), *command, check=check)

    def version(self) -> int:
        """Return the run's version as the coordinator shows it; -1 where nobody answers."""
        program = "from urllib.request import urlopen as u; print(u('http://127.0.0.1:7446').read().decode())"
        shown = self.execute("coordinator", "python", "-c", program, check=False)
        lines = [n for n in shown.stdout.splitlines() if n.startswith("crosscloud_model_version ")]
        return int(float(lines[0].split()[1])) if lines else -1

    def healthy(self, service: str) -> bool:
        """Return whether a container's health check passed last."""
        state = self.inspect(service)["State"]
        return bool(state["Running"] and state["Health"]["Status"] == "healthy")

    def await_version(self, version: int) -> None:
        """Wait until the run has come to `version`."""
        self.wait(lambda: self.version() >= version, f"version {version}")

    def wait(self, found: Callable[[], bool], what: str) -> None:
        """Wait for something for as long as a busy machine may take."""
        deadline_s = time.monotonic() + PATIENCE_S
        while not found():
            assert time.monotonic() < deadline_s, f"no {what} within {PATIENCE_S} s: {self.logs()}"
            time.sleep(5)


def _stand_ins() -> dict[str, str]:
    """Make base images and wheels; return the settings of compose.yaml that use them."""
    made = subprocess.run(
        [ROOT / "tests" / "deploy" / "base_images.sh"], capture_output=True, text=True
    )
    if made.returncode:
        raise LackingError(made.stderr.strip()[-500:])
    _fetch_wheels(ROOT / "deploy" / "docker" / "wheels")
    return {
        "PYTHON_IMAGE": "crosscloud-test/python",
        "REDIS_IMAGE": "crosscloud-test/redis",
        "PROMETHEUS_IMAGE": "crosscloud-test/prometheus",
        "PIP_NO_INDEX": "1",
    }


def _fetch_wheels(folder: Path) -> None:
    """Let this machine's pip download what the images install, unless it has for these versions."""
    constraints = ROOT / "constraints.txt"
    project = (ROOT / "pyproject.toml").read_text()
    key = hashlib.sha256(project.encode() + constraints.read_bytes()).hexdigest()
    stamp = folder / f".fetched-{key[:16]}"
    if stamp.exists():
        return
    named = tomllib.loads(project)["project"]
    extras = named["optional-dependencies"]
    # redis asks for async-timeout on some Python 3.11 alone, such as Debian's
    needs = ("dumb-init", "hatchling", "async-timeout", *named["dependencies"])
    done = subprocess.run(
        [
            *(sys.executable, "-m", "pip", "download", "--quiet", "--dest", str(folder)),
            *("--constraint", str(constraints)),
            *(*needs, *extras["coordinator"], *extras["worker"]),
        ],
        capture_output=True,
        text=True,
    )
    if done.returncode:
        raise LackingError(f"pip finds not all packages: {done.stderr[-500:]}")
    stamp.touch()
