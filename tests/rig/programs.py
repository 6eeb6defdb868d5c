"""Programs that tests, benchmarks and `make` use where a machine has them; none is needed.

Whoever wants one asks here, by the name of a row of `PROGRAMS`: `find`, or, where nothing goes
without it, `needed`, whose error says what it is for and how to get it. A test is marked:

    @pytest.mark.program("promtool")                  skipped where it is missing, with the reason
    @pytest.mark.program("ss", required=False)        runs all the same, and shows less

With CROSSCLOUD_TESTS_HIDE_PROGRAMS set, every one of them is missing, and starting one is an error
in the process of the tests. So a machine that has all of them tries what one without does.

    python -m tests.rig.programs                      what is here, and how to get the rest
    python -m tests.rig.programs ss                   its path, or what is missing (status 1)
    python -m tests.rig.programs compose              the words that call Compose, likewise

Nothing but the standard library is imported: scripts run this before there is an environment.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

HIDE: Final = "CROSSCLOUD_TESTS_HIDE_PROGRAMS"
_STARTS: Final = {"subprocess.Popen", "os.exec", "os.posix_spawn"}


@dataclass(frozen=True)
class Program:
    """One row.

    Args:
        purpose: what is done with it, to follow "for".
        source: how to get it.
        names: what it may be called on PATH, if not as its row.
    """

    purpose: str
    source: str
    names: tuple[str, ...] = ()


_ENGINE: Final = "Docker Engine with Compose v2, https://docs.docker.com/engine/install"
_PROMETHEUS: Final = "Debian: apt-get install prometheus"
_IPROUTE: Final = "Debian: apt-get install iproute2"

PROGRAMS: Final[Mapping[str, Program]] = {
    "chromium": Program(
        "the report in a browser, and pictures of it",
        "Debian: apt-get install chromium",
        ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome"),
    ),
    "debootstrap": Program("a machine that has nothing yet", "Debian: apt-get install debootstrap"),
    "docker": Program("a federation in containers", _ENGINE),
    "docker-compose": Program("Compose, where it is no plug-in of docker", _ENGINE),
    "ip": Program("links between network namespaces", _IPROUTE),
    "make": Program("checks of what its targets say", "Debian: apt-get install make"),
    "prometheus": Program("what dashboards and rules ask of a real run", _PROMETHEUS),
    "promtool": Program("checks of rules and alerts", _PROMETHEUS),
    "redis-server": Program(
        "Redis itself, over TLS and as a cluster", "Debian: apt-get install redis-server"
    ),
    "ss": Program("the system's own count of a connection's bytes", _IPROUTE),
    "tc": Program("the speed of a link", _IPROUTE),
    "toxiproxy-server": Program(
        "connections that end with a TCP reset", "https://github.com/Shopify/toxiproxy"
    ),
}


class LackingError(Exception):
    """This machine cannot do it; the message says what is missing and how to get it."""


def find(name: str) -> str | None:
    """Return the path of a program, or None where it is missing or hidden."""
    row = PROGRAMS[name]
    if hidden():
        return None
    return next((path for n in row.names or (name,) if (path := shutil.which(n))), None)


def needed(name: str) -> str:
    """Return the path of a program.

    Raises:
        LackingError: it is missing or hidden.
    """
    if (path := find(name)) is None:
        raise LackingError(lacking(name))
    return path


def lacking(*names: str) -> str:
    """Return which of them are missing, what for, and how to get them; "" where all are there."""
    state = f"hidden by {HIDE}" if hidden() else "not on PATH"
    return "; ".join(
        f"{name} is {state}; it is for {PROGRAMS[name].purpose}; {PROGRAMS[name].source}"
        for name in names
        if find(name) is None
    )


def hidden() -> bool:
    """Return whether no program is to be found."""
    return os.environ.get(HIDE, "") not in ("", "0")


def compose() -> list[str]:
    """Return the words that call Compose v2.

    Raises:
        LackingError: there is none, or no engine behind it.
    """
    docker = needed("docker")
    if not _answers(docker, "version"):
        raise LackingError(f"no Docker engine answers: start dockerd, or install {_ENGINE}")
    alone = find("docker-compose")
    for command in ([docker, "compose"], *([[alone]] if alone else [])):
        said = _answers(*command, "version", "--short")
        if said and not said.lstrip("v").startswith("1."):
            return command
    raise LackingError(f"Compose v2 is missing: install {_ENGINE}")


def refuse_hidden() -> None:
    """Make it an error of this process, from now on, to start a program that is hidden."""
    names = {n for name, row in PROGRAMS.items() for n in row.names or (name,)}

    def watch(event: str, arguments: tuple[Any, ...]) -> None:
        if event in _STARTS and hidden():
            name = Path(os.fsdecode(arguments[0])).name
            if name in names:
                raise LackingError(f"{name} is hidden by {HIDE}, and was started all the same")

    sys.addaudithook(watch)


def _answers(*command: str) -> str:
    """Return what a command said; "" where it fails."""
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return done.stdout.strip() if done.returncode == 0 else ""


def _table() -> str:
    lines = []
    for name, row in PROGRAMS.items():
        lines.append(f"{name:17} {find(name) or '-'}")
        lines.append(f"{'':17} for {row.purpose}; {row.source}")
    return "\n".join(lines)


def main(arguments: list[str]) -> int:
    """Print what is asked for."""
    try:
        match arguments:
            case []:
                said = _table()
            case ["compose"]:
                said = " ".join(compose())
            case [name] if name in PROGRAMS:
                said = needed(name)
            case _:
                sys.stderr.write(f"name one of: compose, {', '.join(PROGRAMS)}\n")
                return 2
    except LackingError as e:
        sys.stderr.write(f"{e}\n")
        return 1
    sys.stdout.write(f"{said}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
