import errno
import json
import os
import threading
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from common.canonical import digest_of, encode
from common.documents import Counters, Record, Takeover
from common.errors import (
    ConfigError,
    DamagedDataError,
    StaleLeaderError,
    StorageFullError,
)
from common.ids import Digest
from services.coordinator.kept.log_store import LogStore

GENESIS = digest_of(b"genesis")


def record(seq: int, previous: Digest, leader: str = "a") -> Record:
    return Record(
        seq, previous, 0, 1700000000, 0, GENESIS, 0.0, Counters(), takeover=Takeover(leader)
    )


def chain(length: int) -> list[Record]:
    found: list[Record] = []
    for seq in range(length):
        found.append(record(seq, digest_of(encode(found[-1])) if found else GENESIS))
    return found


def written(folder: Path, length: int) -> LogStore:
    log = LogStore(folder, GENESIS)
    log.load()
    for r in chain(length):
        log.append(r)
    return log


def reopened(folder: Path) -> LogStore:
    log = LogStore(folder, GENESIS)
    log.load()
    return log


def file_names(folder: Path) -> list[str]:
    return sorted(p.name for p in folder.iterdir())


def test_records_come_back_in_order_from_disk(tmp_path: Path) -> None:
    written(tmp_path / "log", 3)

    log = LogStore(tmp_path / "log", GENESIS)
    assert log.load() == chain(3)[-1]
    assert log.num_records == 3
    assert list(log.records(1)) == [encode(r) for r in chain(3)[1:]]
    assert log.read(0) == encode(chain(3)[0])
    assert file_names(tmp_path / "log") == [f"{seq:012d}.json" for seq in range(3)]
    with pytest.raises(IndexError):
        log.read(3)


def test_an_empty_log_has_no_record(tmp_path: Path) -> None:
    log = LogStore(tmp_path, GENESIS)
    assert log.load() is None
    assert log.num_records == 0
    assert list(log.records()) == []


def test_appending_the_same_record_again_is_fine(tmp_path: Path) -> None:
    log = written(tmp_path, 2)
    log.append(chain(2)[1])
    log.append(chain(2)[0])
    assert log.num_records == 2

    behind = reopened(tmp_path)
    behind.append(chain(2)[1])
    assert file_names(tmp_path) == ["000000000000.json", "000000000001.json"]


def test_a_leader_that_finds_the_name_taken_is_stale_and_changes_nothing(tmp_path: Path) -> None:
    first, second = written(tmp_path, 1), reopened(tmp_path)
    after = digest_of(encode(chain(1)[0]))
    first.append(record(1, after, "first"))

    with pytest.raises(StaleLeaderError, match=r"000000000001\.json"):
        second.append(record(1, after, "second"))
    assert second.num_records == 1
    assert reopened(tmp_path).load() == record(1, after, "first")
    assert len(file_names(tmp_path)) == 2


def test_of_two_racing_appends_exactly_one_wins(tmp_path: Path) -> None:
    for seq in range(20):
        logs = {name: reopened(tmp_path) for name in ("a", "b")}
        tip = digest_of(logs["a"].read(seq - 1)) if seq else GENESIS
        start, outcomes = threading.Barrier(2), dict[str, str]()

        def append(name: str, seq: int = seq, tip: Digest = tip) -> None:
            start.wait()  # noqa: B023
            try:
                logs[name].append(record(seq, tip, name))  # noqa: B023
                outcomes[name] = "won"  # noqa: B023
            except StaleLeaderError:
                outcomes[name] = "lost"  # noqa: B023

        threads = [threading.Thread(target=append, args=(name,)) for name in logs]
        for t in threads:
            t.start()
        for t in threads:
            t.join()

        assert sorted(outcomes.values()) == ["lost", "won"]
        winner = next(name for name, outcome in outcomes.items() if outcome == "won")
        assert reopened(tmp_path).load() == record(seq, tip, winner)


def test_a_link_that_was_made_although_an_error_came_counts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = os.link

    def link_then_fail(source: Path, target: Path) -> None:
        real(source, target)
        raise OSError(errno.ETIMEDOUT, "timed out")

    monkeypatch.setattr(os, "link", link_then_fail)
    assert written(tmp_path, 2).num_records == 2


def test_a_file_system_without_links_is_refused_with_the_fix(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise OSError(errno.EPERM, "not permitted")

    monkeypatch.setattr(os, "link", fail)
    with pytest.raises(ConfigError, match="choose another folder"):
        written(tmp_path, 1)
    assert file_names(tmp_path) == []


def test_a_full_disk_appends_nothing_and_the_log_stays_readable(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> int:
        raise OSError(errno.ENOSPC, "no space left")

    log = written(tmp_path, 2)
    with monkeypatch.context() as patch:
        patch.setattr(os, "pwrite", fail)
        with pytest.raises(StorageFullError):
            log.append(chain(3)[2])

    assert reopened(tmp_path).num_records == 2
    assert len(file_names(tmp_path)) == 2
    log.append(chain(3)[2])
    assert reopened(tmp_path).num_records == 3


def test_the_name_exists_only_after_the_content_is_durable(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    events: list[str] = []
    real_sync, real_link = os.fsync, os.link

    def sync(fd: int) -> None:
        events.append("fsync")
        real_sync(fd)

    def link(source: Path, target: Path) -> None:
        events.append("link")
        real_link(source, target)

    monkeypatch.setattr(os, "fsync", sync)
    monkeypatch.setattr(os, "link", link)
    written(tmp_path, 1)
    assert events == ["fsync", "fsync", "link", "fsync"]  # the folder's own name comes first


@pytest.mark.parametrize("content", [b"", b"{", b"\xff\xfe", b"null", b"[" * 5000])
def test_a_damaged_record_is_named(tmp_path: Path, content: bytes) -> None:
    written(tmp_path, 3)
    (tmp_path / "000000000001.json").write_bytes(content)
    with pytest.raises(DamagedDataError, match=r"000000000001\.json"):
        reopened(tmp_path)


def test_a_missing_record_is_named(tmp_path: Path) -> None:
    log = written(tmp_path, 3)
    (tmp_path / "000000000001.json").unlink()
    with pytest.raises(DamagedDataError, match=r"000000000001\.json is missing"):
        reopened(tmp_path)
    with pytest.raises(DamagedDataError, match=r"000000000001\.json is missing"):
        list(log.records())


def test_a_record_that_does_not_follow_is_named(tmp_path: Path) -> None:
    written(tmp_path, 3)
    path = tmp_path / "000000000001.json"
    path.write_bytes(encode(replace(chain(2)[1], time_s=1)))
    with pytest.raises(DamagedDataError, match=r"000000000002\.json does not follow record 1"):
        reopened(tmp_path)

    path.write_bytes(encode(chain(3)[2]))
    with pytest.raises(DamagedDataError, match=r"000000000001\.json holds record 2"):
        reopened(tmp_path)


def test_the_log_of_another_run_is_refused(tmp_path: Path) -> None:
    written(tmp_path, 1)
    with pytest.raises(DamagedDataError, match="does not follow this run's genesis"):
        LogStore(tmp_path, digest_of(b"another")).load()


def test_the_log_of_another_run_is_no_damaged_one_though_it_cannot_be_read(tmp_path: Path) -> None:
    written(tmp_path, 1)
    path = tmp_path / "000000000000.json"
    whole = json.loads(path.read_bytes())
    path.write_text(json.dumps({**whole, "of_another_protocol": 1}))
    with pytest.raises(DamagedDataError, match="is another run's log; give this run a data_dir"):
        LogStore(tmp_path, digest_of(b"another")).load()
    for content in (path.read_bytes(), b"[]", b"{", b'{"previous":3}', b'{"previous":"x"}'):
        path.write_bytes(content)
        with pytest.raises(DamagedDataError, match="is damaged: "):
            reopened(tmp_path)


def test_drafts_of_decided_records_are_removed_and_later_ones_left(tmp_path: Path) -> None:
    written(tmp_path, 2)
    for name in (".000000000001.ab.tmp", ".000000000002.ab.tmp", ".x.tmp", "notes.txt"):
        (tmp_path / name).touch()

    reopened(tmp_path)
    assert file_names(tmp_path) == [
        ".000000000002.ab.tmp",
        ".x.tmp",
        "000000000000.json",
        "000000000001.json",
        "notes.txt",
    ]


def test_a_gap_is_our_own_bug(tmp_path: Path) -> None:
    log = written(tmp_path, 1)
    with pytest.raises(AssertionError, match="a gap"):
        log.append(chain(3)[2])
    with pytest.raises(AssertionError, match="follow the last"):
        log.append(record(1, GENESIS))
    assert file_names(tmp_path) == [f"{0:012d}.json"]


@settings(deadline=None)
@given(st.data())
def test_any_changed_byte_is_noticed(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    folder = tmp_path_factory.mktemp("log")
    written(folder, 3)
    path = folder / f"{data.draw(st.integers(0, 1)):012d}.json"
    content = bytearray(path.read_bytes())
    content[data.draw(st.integers(0, len(content) - 1))] ^= data.draw(st.integers(1, 255))
    path.write_bytes(content)

    with pytest.raises(DamagedDataError, match=r"00000000000[0-2]\.json"):
        reopened(folder)
