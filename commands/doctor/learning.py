"""Tries a worker's or evaluator's learner on its own device and data, in a process apart.

    doctor --starts--> python -m commands.doctor.learning CONFIG OUT --one line per finding--> OUT

Apart, because it may be killed: a batch that does not fit ends the process, and doctor says so.
"""

import json
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path

from commands.doctor.findings import Finding, checked
from commands.doctor.role import role_of
from common.errors import ConfigError
from services.config.genesis_file import load_genesis
from services.config.settings import load_evaluator, load_worker
from services.process.own_modules import own_command, own_path
from services.trust.identity import Role
from services.versions.learner import process_learner
from services.versions.rehearsal import Rehearsal, rehearse
from worker.training.learner import Learner

_SAME_PLACE = "look at what else takes memory here, or lower settings.batch"


def look(config: Path) -> Iterator[Finding]:
    """Yield what a process on this settings file would find when it begins to work."""
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "findings"
        out.touch()
        ended = subprocess.run(  # noqa: S603 - our own program
            own_command("commands.doctor.learning", str(config), str(out)),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            env={**os.environ, **own_path()},
            check=False,
        )
        for line in out.read_text(encoding="utf-8").splitlines():
            yield Finding(**json.loads(line))
    if code := ended.returncode:
        how = f"was killed by {signal.Signals(-code).name}" if code < 0 else f"ended with {code}"
        last = (ended.stderr.strip().splitlines() or [""])[-1]
        sentence = f"the process that tried it {how}: {_SAME_PLACE} {last}".strip()
        yield Finding("step", False, sentence)


def examine(config: Path) -> Iterator[Finding]:
    """Yield the findings, in the process apart: learner, data, step; up to the first failure."""
    learners: list[Learner] = []
    role = role_of(config)

    def learner() -> str:
        made, name = _build(config, role)
        learners.append(made)
        return f"{name} builds the run's model"

    yield checked("learner", learner)
    if not learners:
        return
    made = learners[0]
    if remarks := made.remarks():
        yield Finding("data", True, "; ".join(remarks))

    def step() -> str:
        if role is Role.WORKER:
            return _said(rehearse(lambda: made.train(0.0), again=True), "a full batch")
        return _said(rehearse(made.evaluate), "the validation shard")

    yield checked("step", step)


def _said(rehearsed: Rehearsal | None, what: str) -> str:
    assert rehearsed is not None
    return f"{what}: {rehearsed.sentence}"


def _build(config: Path, role: Role) -> tuple[Learner, str]:
    settings = load_worker(config) if role is Role.WORKER else load_evaluator(config)
    genesis = load_genesis(settings.genesis)
    name = settings.learner or genesis.learner
    try:
        return process_learner(genesis, settings), name
    except ImportError as e:
        raise ConfigError(f"learner {name}: {e}: install what it needs") from None


def main() -> int:
    """Write each finding to the file, once it is known."""
    config, out = map(Path, sys.argv[1:])
    with out.open("a", encoding="utf-8") as file:
        for finding in examine(config):
            file.write(json.dumps(asdict(finding)) + "\n")
            file.flush()
    return 0


if __name__ == "__main__":
    sys.exit(main())
