"""Tries the ports and folders of a process at once, so that a setting is named, not a call.

A port that is taken, an address that is not of this machine, a folder on a read-only disk: each is
one sentence with the field that has to change. Tried means tried: a port is bound and let go, a
file is written and removed.
"""

import os
import secrets
import socket
import time
from collections.abc import Callable, Mapping
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Final

from common.errors import ConfigError, StorageFullError
from common.foreign import boundary
from services.disk.files import is_full

_TRIES: Final = 10
_PAUSE_S: Final = 0.5

Listen = tuple[str, int]
"""Address and port; the address as the settings have it."""


def await_ports(ports: Mapping[str, Listen], pause: Callable[[float], None] = time.sleep) -> None:
    """Return once every port can be listened on: a killed process may have left one that ends.

    Args:
        ports: as in `check_ports`.
        pause: waits so many seconds.

    Raises:
        ConfigError: after a few seconds one of them still cannot.
    """
    for _ in range(_TRIES):
        with suppress(ConfigError):
            return check_ports(ports)
        pause(_PAUSE_S)
    return check_ports(ports)


def check_ports(ports: Mapping[str, Listen]) -> None:
    """Listen on every port for a moment, on all at once.

    Args:
        ports: by the setting's path; port 0 is none.

    Raises:
        ConfigError: one cannot be listened on, or two are the same.
    """
    owners: dict[int, str] = {}
    with ExitStack() as stack:
        for setting, (host, port) in ports.items():
            if not port:
                continue
            if port in owners:
                raise ConfigError(f"{setting}: {port} is {owners[port]} as well: give each its own")
            owners[port] = setting
            stack.enter_context(listening(setting, host, port))


def listening(setting: str, host: str, port: int) -> socket.socket:
    """Return a socket that listens there.

    Raises:
        ConfigError: it cannot; names the setting.
    """
    fix = "end what listens there, or give another port, or an address of this machine"
    with boundary(setting, f"cannot listen on {host}, port {port}", fix):
        bare = host.strip("[]")
        family, *_ = socket.getaddrinfo(
            bare, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        return socket.create_server((bare, port), family=family)


def check_folder(setting: str, folder: Path) -> None:
    """Make the folder unless it is there, and write in it.

    Raises:
        ConfigError: it cannot be made or written in.
        StorageFullError: the disk is full, which is no setting's fault.
    """
    with boundary(
        setting, f"{folder} cannot be written in", "choose another, or let this user write"
    ):
        try:
            folder.mkdir(parents=True, exist_ok=True)
            tried = folder / f".tried-{secrets.token_hex(4)}"
            os.close(os.open(tried, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600))
            tried.unlink()
        except OSError as e:
            if is_full(e):
                raise StorageFullError(f"cannot use {folder}: {e.strerror}; free some") from None
            raise
