import errno
import os
import socket
from contextlib import closing
from pathlib import Path

import pytest

from commands.demo.layout import free_ports
from common.errors import ConfigError, StorageFullError
from services.config.places import await_ports, check_folder, check_ports
from services.observe.prometheus import Registry, serve

HOST = "127.0.0.1"


@pytest.fixture
def taken():
    with socket.create_server((HOST, 0)) as server:
        yield server.getsockname()[1]


def test_free_ports_pass_and_are_free_afterwards() -> None:
    one, two = free_ports(2)
    for _ in range(2):
        check_ports({"control_port": (HOST, one), "bulk_port": (HOST, two), "none": (HOST, 0)})


@pytest.mark.parametrize("setting", ["control_port", "bulk_port", "metrics.port"])
def test_a_port_in_use_is_named_by_its_setting(setting: str, taken: int) -> None:
    free, other = free_ports(2)
    ports = {"control_port": free, "bulk_port": other, "metrics.port": 0, setting: taken}
    with pytest.raises(ConfigError, match=rf"^{setting}: .*port {taken}: Address already in use"):
        check_ports({name: (HOST, port) for name, port in ports.items()})


def test_a_port_that_an_ending_process_leaves_is_waited_for_and_any_other_not_for_ever() -> None:
    (port,) = free_ports(1)
    waited: list[float] = []
    with socket.create_server((HOST, port)) as former:

        def pause(seconds: float) -> None:
            waited.append(seconds)
            if len(waited) == 3:
                former.close()

        await_ports({"bulk_port": (HOST, port)}, pause)
    assert len(waited) == 3
    with (
        socket.create_server((HOST, port)),
        pytest.raises(ConfigError, match=r"^bulk_port: .*Address already in use"),
    ):
        await_ports({"bulk_port": (HOST, port)}, waited.append)
    assert sum(waited[3:]) <= 10


def test_two_settings_of_one_port_are_refused_even_on_two_addresses() -> None:
    (port,) = free_ports(1)
    with pytest.raises(ConfigError, match=rf"metrics\.port: {port} is control_port as well"):
        check_ports({"control_port": (HOST, port), "metrics.port": ("0.0.0.0", port)})


@pytest.mark.parametrize("host", ["192.0.2.1", "no-such-host.invalid", "host:1", "ü" * 80])
def test_an_address_that_is_not_of_this_machine_is_refused(host: str) -> None:
    (port,) = free_ports(1)
    with pytest.raises(ConfigError, match=r"^control_port: cannot listen on"):
        check_ports({"control_port": (host, port)})


@pytest.mark.parametrize("host", ["::1", "[::1]", "::", "localhost", "0.0.0.0"])
def test_addresses_of_this_machine_pass_in_every_form(host: str) -> None:
    (port,) = free_ports(1)
    check_ports({"control_port": (host, port)})


def test_metrics_say_their_setting_where_nothing_can_listen(taken: int) -> None:
    with pytest.raises(ConfigError, match=r"^metrics\.port: cannot listen on"):
        serve(Registry(), HOST, taken)
    (port,) = free_ports(1)
    with pytest.raises(ConfigError, match=r"^metrics\.port: cannot listen on"):
        serve(Registry(), "192.0.2.1", port)
    with closing(serve(Registry(), "[::1]", port)):
        pass


def test_a_folder_is_made_and_left_empty(tmp_path: Path) -> None:
    check_folder("state_dir", tmp_path / "a" / "b")
    assert os.listdir(tmp_path / "a" / "b") == []


def no_folder(tmp_path: Path) -> list[Path]:
    (tmp_path / "file").write_text("")
    (tmp_path / "loop").symlink_to("loop")
    (tmp_path / "dangling").symlink_to("nowhere/at/all")
    inside = [tmp_path / name for name in ("file", "file/below", "loop", "dangling", "x" * 300)]
    return [*inside, Path("/proc/nowhere"), Path("/proc/sys")]


def test_a_folder_that_cannot_be_written_in_is_named_by_its_setting(tmp_path: Path) -> None:
    for folder in no_folder(tmp_path):
        with pytest.raises(ConfigError, match=r"^state_dir: .* cannot be written in"):
            check_folder("state_dir", folder)


def test_a_full_disk_is_no_setting_s_fault(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "open", full)
    with pytest.raises(StorageFullError, match="No space left"):
        check_folder("state_dir", tmp_path)
