"""Sets the demonstration's federation up: certificates, genesis, texts, a folder per process.

    /data/authority/  ca.key and all that it signed; mounted by nothing else
    /data/NAME/       what NAME finds in /etc/crosscloud: settings, own certificate, genesis, texts

It runs once before everything else, in an image of the worker's. What is there stays: a second `up`
goes on with the same run. To begin another, remove the volumes.
"""

import secrets
import shutil
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Final

from commands import genesis
from common.errors import CrosscloudError
from services.config.settings import load_run
from services.process.exit_status import Exit, exit_of
from services.trust.authority import MEMBERS, Holder, init_federation
from services.trust.identity import Role
from services.trust.pins import PINS, pin_workers
from worker.training.demo_text import stdlib_shares, write_texts

CONFIG: Final = Path("/config")
DATA: Final = Path("/data")
AUTHORITY: Final = DATA / "authority"
GENESIS: Final = AUTHORITY / "genesis"
WORKERS: Final = ("aws", "gcp", "azure", "onprem")
PASSWORD: Final = AUTHORITY / "redis.password"


def main() -> Exit:
    """Write what is missing; return the exit status."""
    run = load_run(CONFIG / "run.yaml").name
    holders = (
        Holder(Role.COORDINATOR, "coordinator", "coordinator", ("coordinator",)),
        Holder(Role.EVALUATOR, "evaluator", "evaluator"),
        Holder(Role.OPERATOR, "operator", "operator"),
        *(Holder(Role.WORKER, name, name) for name in WORKERS),
    )
    init_federation(AUTHORITY, run, holders)
    pin_workers(AUTHORITY / PINS, [AUTHORITY / f"{name}.pem" for name in WORKERS])
    genesis.main(CONFIG / "run.yaml", GENESIS)
    if not PASSWORD.exists():
        PASSWORD.touch(mode=0o600)
        PASSWORD.write_text(secrets.token_urlsafe(32), encoding="utf-8")
    password = PASSWORD.read_text(encoding="utf-8")

    texts = stdlib_shares(len(WORKERS))
    for name, share in zip(WORKERS, texts.shares, strict=True):
        own = f"name: {name}\ntls: {{ca: ca.pem, certificate: {name}.pem, key: {name}.key}}\n"
        give(name, "worker.yaml", own, AUTHORITY / PINS, GENESIS / genesis.FILE)
        write_texts(share, DATA / name / "text")
        write_texts(texts.validation, DATA / name / "validation")
    give("evaluator", "evaluator.yaml", "", GENESIS / genesis.FILE)
    write_texts(texts.validation, DATA / "evaluator" / "validation")
    give("operator", "operator.yaml", "")
    shutil.copytree(GENESIS, DATA / "coordinator" / "genesis", dirs_exist_ok=True)
    url = f"redis_url: redis://:{password}@redis:6379/0\n"
    give("coordinator", "coordinator.yaml", url, AUTHORITY / MEMBERS)

    conf = (CONFIG / "redis.conf").read_text(encoding="utf-8")
    write(DATA / "redis" / "redis.conf", f"{conf}requirepass {password}\n", mode=0o644)
    return Exit.OVER


def give(name: str, settings: str, more_settings: str, *files: Path) -> None:
    """Write a process's settings, and copy to it its certificate and other files."""
    folder = DATA / name
    copy((AUTHORITY / "ca.pem", AUTHORITY / f"{name}.pem", AUTHORITY / f"{name}.key"), folder)
    copy(files, folder)
    write(folder / "config.yaml", (CONFIG / settings).read_text(encoding="utf-8") + more_settings)


def copy(files: Iterable[Path], folder: Path) -> None:
    """Copy files with their modes."""
    for file in files:
        shutil.copy(file, folder / file.name)


def write(path: Path, text: str, mode: int = 0o600) -> None:
    """Write a file that may hold a password. Redis is another user, alone with its folder."""
    path.touch(mode=mode)
    path.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    try:
        sys.exit(main())
    except CrosscloudError as e:
        sys.stderr.write(f"setup: {e}\n")
        sys.exit(exit_of(e))
