"""`crosscloud genesis`: genesis.json and the first version's files, once.

It refuses to replace another genesis: processes pin it by its digest, so a new one is a new run.
"""

import logging
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import Final

from common import canonical
from common.documents import Genesis
from common.errors import ConfigError, MalformedDocumentError
from common.foreign import boundary
from services.config.genesis_file import MOST_BYTES, first_files
from services.config.places import check_folder
from services.config.settings import RunSettings, load_run
from services.config.soundness import loud
from services.disk.data_store import DataStore
from services.disk.files import replace_file
from services.disk.small_file import read_small
from services.observe.progress import outlet
from services.process.exit_status import Exit
from services.versions.genesis import make_genesis

log = logging.getLogger(__name__)

FILE: Final = "genesis.json"


def main(config: Path, out: Path) -> Exit:
    """Write `out/genesis.json` and `out/data/`, and say where they are; all of it or nothing."""
    settings = load_run(config)
    with _all_or_nothing(out):
        genesis = _written(settings, out)
    digest = canonical.digest(genesis)
    sys.stdout.write(f"wrote {out / FILE}: run {settings.name}, SHA-256 {digest}\n")
    named = (settings.settings.get(name) for name in ("model", "tokenizer"))
    for folder in dict.fromkeys(f for f in named if isinstance(f, str) and f.startswith(".")):
        sys.stdout.write(f"copy {folder} beside {FILE} on every machine\n")
    return Exit.OVER


@contextmanager
def _all_or_nothing(out: Path) -> Iterator[None]:
    """Take away what a genesis that is refused or interrupted inside has written."""
    data = first_files(out / FILE)
    new = [folder for folder in (data, out, *out.parents) if not folder.exists()]
    before = {path.name for path in data.iterdir()} if data.is_dir() else set()
    try:
        yield
    except BaseException:
        with suppress(OSError):
            for path in data.iterdir():
                if path.name not in before:
                    path.unlink()
        for folder in new:
            with suppress(OSError):
                folder.rmdir()
        raise


def _written(settings: RunSettings, out: Path) -> Genesis:
    path = out / FILE
    check_folder("--out", out)
    check_folder("--out", first_files(path))
    there = _genesis_in(path)
    if there is not None and not _is_of(there, settings):
        raise ConfigError(f"{path} is of another run: choose an empty folder")
    for sentence in loud(settings.algorithm):
        log.warning("%s", sentence)
    genesis = make_genesis(
        run=settings.name,
        seed=settings.seed,
        learner=settings.learner,
        settings=settings.settings,
        algorithm=settings.algorithm,
        stop=settings.stop,
        store=DataStore(first_files(path)),
        out=outlet(),
        folders=settings.folders,
    )
    if there is not None and canonical.encode(there) != canonical.encode(genesis):
        raise ConfigError(
            f"{path} is of the same settings but of another first version: another machine, "
            "library or learner has made it; keep it, or choose an empty folder"
        )
    with boundary("--out", f"{path} cannot be written", "choose another folder"):
        replace_file(path, canonical.encode(genesis), mode=0o666)
    return genesis


def _genesis_in(path: Path) -> Genesis | None:
    """Return the genesis that is there already; None where there is none."""
    if not os.path.lexists(path):
        return None
    with boundary("--out", f"{path} cannot be read", "move it away, or choose another folder"):
        content = read_small(path, MOST_BYTES).rstrip(b"\n")
    try:
        return canonical.decode(content, Genesis)
    except MalformedDocumentError:
        raise ConfigError(
            f"--out: {path} ({len(content)} bytes) is no genesis, or a part of one that a kill has "
            "left: move it away, or choose an empty folder"
        ) from None


def _is_of(there: Genesis, settings: RunSettings) -> bool:
    """Return whether a genesis was made of these settings, as far as they tell before it is."""
    asked = replace(
        there,
        run=settings.name,
        seed=settings.seed,
        learner=settings.learner,
        settings=settings.settings,
        algorithm=settings.algorithm,
        stop=settings.stop,
    )
    return canonical.encode(asked) == canonical.encode(there)
