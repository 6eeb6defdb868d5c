import random
from pathlib import Path

from services.disk.files import Draft, sync_file, sync_folder
from simulator.disk import Disk, watched
from simulator.host import HOST, Host


def on_a_host(disk: Disk, work) -> None:
    host = Host("h", died=lambda _: None, tell=print)
    token = HOST.set(host)
    try:
        with watched(disk):
            work()
    finally:
        HOST.reset(token)


def after_a_cut(disk: Disk) -> dict[str, bytes]:
    disk.cut_power(random.Random(0), keep=False)
    return {p.name: p.read_bytes() for p in disk.root.iterdir()}


def written(path: Path, content: bytes, *, sync: bool, folder: bool) -> None:
    path.write_bytes(content)
    if sync:
        sync_file(path)
    if folder:
        sync_folder(path.parent)


def test_a_file_that_was_synced_with_its_folder_stays(tmp_path: Path) -> None:
    disk = Disk(tmp_path / "disk")
    on_a_host(disk, lambda: written(disk.root / "a", b"x", sync=True, folder=True))
    assert after_a_cut(disk) == {"a": b"x"}


def test_what_lies_in_a_folder_is_held_once_the_folder_is(tmp_path: Path) -> None:
    disk = Disk(tmp_path / "disk")
    path = disk.root / "folder" / "a"

    def write() -> None:
        path.parent.mkdir()
        written(path, b"x", sync=True, folder=True)

    on_a_host(disk, write)
    assert not disk.holds(path)
    on_a_host(disk, lambda: sync_folder(disk.root))
    assert disk.holds(path)
    path.write_bytes(b"y")
    assert not disk.holds(path)


def test_a_name_whose_folder_was_not_synced_is_lost(tmp_path: Path) -> None:
    disk = Disk(tmp_path / "disk")
    on_a_host(disk, lambda: written(disk.root / "a", b"x", sync=True, folder=False))
    assert after_a_cut(disk) == {}


def test_content_that_was_not_synced_is_lost(tmp_path: Path) -> None:
    disk = Disk(tmp_path / "disk")
    on_a_host(disk, lambda: written(disk.root / "a", b"x", sync=False, folder=True))
    assert after_a_cut(disk) == {"a": b""}


def test_a_rename_that_was_not_synced_leaves_the_old_file(tmp_path: Path) -> None:
    (tmp_path / "disk").mkdir()
    (tmp_path / "disk" / "a").write_bytes(b"old")
    disk = Disk(tmp_path / "disk")

    def replace() -> None:
        with Draft(disk.root, "a") as draft:
            draft.append(b"new")
            draft.rename(disk.root / "a")

    on_a_host(disk, replace)
    assert (disk.root / "a").read_bytes() == b"new"
    assert after_a_cut(disk) == {"a": b"old"}
