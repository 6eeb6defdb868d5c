"""What stands in a small file's place and is none: refused before it is waited for, or eaten."""

import os
import socket
from collections.abc import Callable
from pathlib import Path

import pytest

from common.errors import ConfigError
from services.config import yaml_file
from services.config.config_file import read_mapping
from services.config.genesis_file import load_genesis
from services.config.members_file import read_entries
from services.disk.small_file import MOST_BYTES, read_small
from services.trust import requests as cert_requests
from services.trust.member_listing import listed_in

READERS: list[Callable[[Path], object]] = [
    read_mapping,
    load_genesis,
    cert_requests.show,
    lambda path: listed_in(path, "r"),
    lambda path: read_entries(path, "the list", ()),
]


@pytest.fixture(params=["pipe", "device", "socket"])
def special(tmp_path: Path, request: pytest.FixtureRequest) -> Path:
    path = tmp_path / "a.yaml"
    match request.param:
        case "pipe":
            os.mkfifo(path)
        case "device":
            path.symlink_to("/dev/zero")
        case _:
            with socket.socket(socket.AF_UNIX) as bound:
                bound.bind(os.path.relpath(path))  # its name has room for a hundred characters
    return path


@pytest.mark.parametrize("read", READERS)
def test_what_is_no_file_is_refused_at_once(special: Path, read: Callable[[Path], object]) -> None:
    with pytest.raises(ConfigError, match=r"a\.yaml: a device, pipe or socket; give a file"):
        read(special)


@pytest.mark.parametrize("read", READERS)
@pytest.mark.parametrize("make", [Path.mkdir, os.mkfifo], ids=["folder", "pipe"])
def test_what_cannot_be_read_is_named_once(
    tmp_path: Path, make: Callable[[Path], object], read: Callable[[Path], object]
) -> None:
    path = tmp_path / "a.yaml"
    make(path)
    with pytest.raises(ConfigError) as refused:
        read(path)
    assert str(refused.value).count(str(path)) == 1


@pytest.mark.parametrize("read", READERS)
def test_what_is_larger_than_such_files_are_is_refused_unread(
    tmp_path: Path, read: Callable[[Path], object]
) -> None:
    path = tmp_path / "a.yaml"
    path.touch()
    os.truncate(path, 3 * 2**30)
    with pytest.raises(ConfigError, match=r"a\.yaml: larger than .*; give the right one"):
        read(path)


def test_the_bound_is_the_last_that_passes(tmp_path: Path) -> None:
    path = tmp_path / "a.yaml"
    path.write_bytes(b"#" * MOST_BYTES)
    assert read_small(path) == b"#" * MOST_BYTES
    path.write_bytes(b"#" * (MOST_BYTES + 1))
    with pytest.raises(ConfigError, match="larger than"):
        read_small(path)


def test_what_a_shell_hands_over_is_read() -> None:
    out, into = os.pipe()
    try:
        os.write(into, b"a: 1\n")
        os.close(into)
        assert yaml_file.read(Path(f"/dev/fd/{out}")).value == {"a": 1}
    finally:
        os.close(out)
