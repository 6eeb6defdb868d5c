"""Checks that a folder has what its process needs: room, fsync, and for a log hard links."""

import os
import secrets
import shutil
import threading
from pathlib import Path
from typing import Final

from commands.doctor.findings import Stopwatch, or_else
from common.errors import ConfigError
from services.disk.files import sync_file, sync_folder

_SLOW_FSYNC_MS: Final = 200.0


def room(folder: Path, needed_bytes: float) -> str:
    """Compare the room in `folder`, what it holds included, with so many bytes.

    Raises:
        ConfigError: there is less.
    """
    place = _made(folder)
    held = sum(p.stat().st_size for p in place.rglob("*") if p.is_file())
    free = shutil.disk_usage(place).free
    said = f"{folder}: {_gb(free)} free, {_gb(held)} in use here, {_gb(needed_bytes)} needed in all"
    if free + held < needed_bytes:
        raise ConfigError(f"{said}: free space, or choose a folder on a larger disk")
    return said


def durable(folder: Path) -> str:
    """Write, fsync file and folder.

    Raises:
        ConfigError: that fails, or takes so long that every record waits for it.
    """
    path = _made(folder) / f".doctor-{secrets.token_hex(4)}"
    watch = Stopwatch()
    try:
        with or_else(f"make {folder} writable for this user, on a disk that can fsync"):
            path.write_bytes(bytes(4096))
            sync_file(path)
            sync_folder(folder)
    finally:
        path.unlink(missing_ok=True)
    if watch.ms > _SLOW_FSYNC_MS:
        raise ConfigError(
            f"{folder}: an fsync takes {watch.ms:.0f} ms: choose a faster disk, local if it can be"
        )
    return f"{folder}: an fsync takes {watch.ms:.1f} ms"


def exclusive(folder: Path, num_racers: int = 2) -> str:
    """Let racers create one name by `link`: exactly one of them may succeed.

    Raises:
        ConfigError: there are no hard links, or two racers both succeeded.
    """
    place, name = _made(folder), f".doctor-{secrets.token_hex(4)}"
    drafts = [place / f"{name}.{i}" for i in range(num_racers)]
    won: list[int] = []
    failed: list[OSError] = []
    gate = threading.Barrier(num_racers)

    def race(number: int) -> None:
        gate.wait()
        try:
            os.link(drafts[number], place / name)
            won.append(number)
        except FileExistsError:
            pass
        except OSError as e:
            failed.append(e)

    try:
        for draft in drafts:
            draft.write_text(draft.name)
        racers = [threading.Thread(target=race, args=(i,)) for i in range(num_racers)]
        for racer in racers:
            racer.start()
        for racer in racers:
            racer.join()
        if failed or len(won) != 1 or (place / name).read_text() != drafts[won[0]].name:
            why = failed[0].strerror if failed else f"{len(won)} racers won"
            raise ConfigError(
                f"{folder}: of {num_racers} exclusive creations not exactly one succeeded ({why}): "
                "the log needs a file system with hard links, such as ext4 or xfs; choose another"
            )
    finally:
        for path in (*drafts, place / name):
            path.unlink(missing_ok=True)
    return f"{folder}: of {num_racers} racing creations of one name exactly one succeeds"


def _made(folder: Path) -> Path:
    with or_else(f"make {folder}, writable for this user"):
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    return folder


def _gb(num_bytes: float) -> str:
    return f"{num_bytes / 1e9:.3g} GB"
