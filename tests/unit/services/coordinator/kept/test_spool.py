"""The spool on a real disk; it is long because every way to lose a shard has its test."""

import errno
import os
import shutil
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from common.errors import (
    BadUpdateError,
    BusyError,
    DamagedDataError,
    NotAMemberError,
    StorageFullError,
    UnknownRoundError,
)
from common.ids import RoundId, WorkerId
from common.shards import SHARD_BYTES, PayloadLayout
from services.coordinator.kept.spool import Spool

ROUND = RoundId("5e" * 16)
AWS, GCP, AZURE = (WorkerId(w) for w in ("aws", "gcp", "azure"))


class SmallLayout:
    """Two data shards of 100 bytes and a short one, a hole, then two side values' shards."""

    SPANS = ((0, 100), (100, 100), (200, 30), (300, 100), (400, 48))
    num_shards = len(SPANS)
    sent_bytes = sum(length for _, length in SPANS)

    def shard(self, index: int) -> tuple[int, int]:
        return self.SPANS[index]


LAYOUT = SmallLayout()
EVERY = tuple(range(LAYOUT.num_shards))
PAYLOAD = bytes(i * 7 % 251 for i in range(448))


def shard(index: int, payload: bytes = PAYLOAD) -> memoryview:
    offset, length = LAYOUT.shard(index)
    return memoryview(payload)[offset : offset + length]


@pytest.fixture
def spool(tmp_path: Path) -> Spool:
    return opened(tmp_path)


def opened(root: Path) -> Spool:
    """A spool as after a start of the process: nothing but the files is known."""
    spool = Spool(root / "spool")
    spool.open_round(ROUND, (AWS, GCP), LAYOUT)
    return spool


def upload(spool: Spool, worker: WorkerId, indices: tuple[int, ...] = EVERY) -> None:
    with spool.receive(ROUND, worker) as stream:
        for index in indices:
            stream.put(index, shard(index))


def test_complete_uploads_are_the_survivors(spool: Spool) -> None:
    upload(spool, GCP)
    upload(spool, AWS, (1, 0))
    assert spool.missing(ROUND, GCP) == ()
    assert spool.missing(ROUND, AWS) == (2, 3, 4)

    assert spool.seal(ROUND) == (GCP,)
    with spool.reader(ROUND, GCP, LAYOUT) as reader:
        assert reader.read(0, 230) == PAYLOAD[:230]
        assert reader.read(150, 3) == PAYLOAD[150:153]
        assert reader.read(300, 148) == PAYLOAD[300:]
    with pytest.raises(DamagedDataError, match="the upload of aws is missing"):
        spool.reader(ROUND, AWS, LAYOUT)


def test_the_real_layout_fits(tmp_path: Path) -> None:
    layout = PayloadLayout(4096 * 300, 8)
    spool = Spool(tmp_path)
    spool.open_round(ROUND, (AWS,), layout)
    with spool.receive(ROUND, AWS) as stream:
        for index in range(layout.num_shards):
            stream.put(index, bytes([index]) * layout.shard(index)[1])
        with pytest.raises(BadUpdateError):
            stream.put(layout.num_shards, b"")
    assert spool.seal(ROUND) == (AWS,)
    with spool.reader(ROUND, AWS, layout) as reader:
        assert reader.read(SHARD_BYTES - 1, 2) == b"\0\1"
        assert reader.read(layout.side_offset, layout.side_bytes) == b"\2" * layout.side_bytes


@pytest.mark.parametrize("index", [-1, 5, 2**32])
def test_a_shard_that_does_not_exist_is_refused(spool: Spool, index: int) -> None:
    with (
        spool.receive(ROUND, AWS) as stream,
        pytest.raises(BadUpdateError, match=f"shard {index} of aws .* 0 to 4, got {index}"),
    ):
        stream.put(index, shard(0))
    assert spool.missing(ROUND, AWS) == EVERY


@pytest.mark.parametrize(("index", "length"), [(0, 99), (0, 101), (2, 100), (4, 0)])
def test_a_shard_of_the_wrong_length_is_refused(spool: Spool, index: int, length: int) -> None:
    expected = f"shard {index} of aws .* expected {LAYOUT.shard(index)[1]} bytes, got {length}"
    with spool.receive(ROUND, AWS) as stream, pytest.raises(BadUpdateError, match=expected):
        stream.put(index, bytes(length))
    assert spool.missing(ROUND, AWS) == EVERY


def test_a_shard_that_comes_again_must_be_the_same(spool: Spool) -> None:
    upload(spool, AWS, (1, 1))
    with (
        spool.receive(ROUND, AWS) as stream,
        pytest.raises(BadUpdateError, match=r"shard 1 of aws .* other content"),
    ):
        stream.put(1, bytes(100))
    upload(spool, AWS)
    upload(spool, AWS)
    spool.seal(ROUND)
    with spool.reader(ROUND, AWS, LAYOUT) as reader:
        assert reader.read(100, 100) == PAYLOAD[100:200]


def test_unknown_rounds_and_strangers_are_refused(spool: Spool) -> None:
    other = RoundId("00" * 16)
    for call in (lambda: spool.missing(other, AWS), lambda: spool.seal(other)):
        with pytest.raises(UnknownRoundError, match=other):
            call()
    with pytest.raises(UnknownRoundError), spool.receive(other, AWS):
        pass
    with pytest.raises(NotAMemberError, match="azure"), spool.receive(ROUND, AZURE):
        pass


def test_a_second_stream_of_a_worker_is_refused_and_the_first_goes_on(spool: Spool) -> None:
    with spool.receive(ROUND, AWS) as first:
        first.put(0, shard(0))
        with (
            pytest.raises(BusyError, match="still running"),
            spool.receive(ROUND, AWS),
        ):
            pass
        upload(spool, GCP)
        first.put(1, shard(1))
    upload(spool, AWS, (2, 3, 4))
    assert spool.seal(ROUND) == (AWS, GCP)


def test_a_stream_that_its_worker_has_given_up_is_ended_and_the_next_one_goes_on(
    spool: Spool,
) -> None:
    given_up, begun = threading.Event(), threading.Event()

    def hang() -> None:
        with spool.receive(ROUND, AWS, given_up.set) as stream:
            stream.put(0, shard(0))
            begun.set()
            assert given_up.wait(60)

    hanging = threading.Thread(target=hang)
    hanging.start()
    assert begun.wait(60)
    spool.end_stream(ROUND, AWS)
    assert spool.missing(ROUND, AWS) == EVERY[1:]
    upload(spool, AWS, EVERY[1:])
    hanging.join()
    spool.end_stream(ROUND, AWS)  # none is open: nothing happens
    assert spool.seal(ROUND) == (AWS,)


def test_after_the_seal_no_shard_is_taken_and_the_answer_stays(tmp_path: Path) -> None:
    spool = opened(tmp_path)
    upload(spool, GCP)
    with spool.receive(ROUND, AWS) as stream:
        for index in EVERY[:-1]:
            stream.put(index, shard(index))
        assert spool.seal(ROUND) == (GCP,)
        with pytest.raises(UnknownRoundError, match=r"shard 4 of aws .* too late"):
            stream.put(4, shard(4))
    with pytest.raises(UnknownRoundError), spool.receive(ROUND, AWS):
        pass
    assert spool.seal(ROUND) == (GCP,)

    again = opened(tmp_path)
    with pytest.raises(UnknownRoundError), again.receive(ROUND, AWS):
        pass
    assert again.seal(ROUND) == (GCP,)


def test_a_seal_after_a_restart_needs_only_the_files(tmp_path: Path) -> None:
    upload(opened(tmp_path), AWS)
    assert Spool(tmp_path / "spool").seal(ROUND) == (AWS,)


def test_a_restart_asks_only_for_what_is_missing(tmp_path: Path) -> None:
    upload(opened(tmp_path), AWS, (0, 2, 3))

    spool = opened(tmp_path)
    assert spool.missing(ROUND, AWS) == (1, 4)
    upload(spool, AWS, (1, 4))
    assert spool.seal(ROUND) == (AWS,)


def test_a_shard_that_a_power_cut_took_is_asked_for_again(tmp_path: Path) -> None:
    upload(opened(tmp_path), AWS, (0, 3))
    os.truncate(tmp_path / "spool" / ROUND / "aws.part", 350)

    assert opened(tmp_path).missing(ROUND, AWS) == (1, 2, 3, 4)

    (tmp_path / "spool" / ROUND / "aws.part").unlink()
    assert opened(tmp_path).missing(ROUND, AWS) == EVERY


@pytest.mark.parametrize("index", EVERY)
def test_a_damaged_shard_is_named_and_the_others_are_read(tmp_path: Path, index: int) -> None:
    spool = opened(tmp_path)
    upload(spool, AWS)
    spool.seal(ROUND)
    offset, length = LAYOUT.shard(index)
    with (tmp_path / "spool" / f"{ROUND}.sealed" / "aws.done").open("r+b") as file:
        file.seek(offset + length - 1)
        file.write(bytes([PAYLOAD[offset + length - 1] ^ 1]))

    with spool.reader(ROUND, AWS, LAYOUT) as reader:
        for other in EVERY:
            start, size = LAYOUT.shard(other)
            if other == index:
                with pytest.raises(DamagedDataError, match=f"shard {index} of aws"):
                    reader.read(start, size)
            else:
                assert reader.read(start, size) == shard(other)


def test_a_lost_sidecar_is_damage_of_the_first_shard_that_is_read(tmp_path: Path) -> None:
    spool = opened(tmp_path)
    upload(spool, AWS)
    spool.seal(ROUND)
    (tmp_path / "spool" / f"{ROUND}.sealed" / "aws.sums").unlink()

    with (
        spool.reader(ROUND, AWS, LAYOUT) as reader,
        pytest.raises(DamagedDataError, match="shard 3 of aws"),
    ):
        reader.read(310, 1)


@contextmanager
def full_disk(monkeypatch: pytest.MonkeyPatch, call: str) -> Iterator[None]:
    def fail(*_: object) -> int:
        raise OSError(errno.ENOSPC, "no space left")

    with monkeypatch.context() as patch:
        patch.setattr(os, call, fail)
        yield


@pytest.mark.parametrize("call", ["pwrite", "fsync"])
def test_a_full_disk_loses_only_the_shard_that_did_not_fit(
    spool: Spool, monkeypatch: pytest.MonkeyPatch, call: str
) -> None:
    upload(spool, AWS, (0, 1, 2, 3))
    with (
        spool.receive(ROUND, AWS) as stream,
        full_disk(monkeypatch, call),
        pytest.raises(StorageFullError, match="shard 4 of aws"),
    ):
        stream.put(4, shard(4))

    assert spool.missing(ROUND, AWS) == (4,)
    upload(spool, AWS, (4,))
    assert spool.seal(ROUND) == (AWS,)


def test_an_upload_is_named_complete_only_after_it_is_durable(
    spool: Spool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    done = tmp_path / "spool" / ROUND / "aws.done"
    real, seen = os.fsync, list[bool]()

    def sync(fd: int) -> None:
        seen.append(done.exists())
        real(fd)

    monkeypatch.setattr(os, "fsync", sync)
    upload(spool, AWS)
    assert seen == [False, False]
    assert done.exists()


def test_the_seal_is_durable_step_by_step(
    spool: Spool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    upload(spool, AWS)
    root, steps, real = tmp_path / "spool", list[tuple[str, bool]](), os.fsync

    def sync(fd: int) -> None:
        which = "round" if os.path.sameopenfile(fd, folder) else "root"
        steps.append((which, (root / f"{ROUND}.sealed").exists()))
        real(fd)

    folder = os.open(root / ROUND, os.O_RDONLY)
    monkeypatch.setattr(os, "fsync", sync)
    spool.seal(ROUND)
    os.close(folder)
    assert steps == [("round", False), ("root", True)]


def test_drop_deletes_open_and_sealed_rounds(tmp_path: Path) -> None:
    spool = opened(tmp_path)
    later = RoundId("ff" * 16)
    spool.open_round(later, (AWS,), LAYOUT)
    spool.seal(ROUND)
    assert Spool(tmp_path / "spool").rounds() == (ROUND, later)

    with spool.receive(later, AWS) as stream:
        stream.put(0, shard(0))
        spool.drop(later)
        with pytest.raises(UnknownRoundError):
            stream.put(1, shard(1))
    spool.drop(ROUND)
    spool.drop(ROUND)
    assert spool.rounds() == ()
    assert list((tmp_path / "spool").iterdir()) == []


def test_members_upload_at_the_same_time(tmp_path: Path) -> None:
    members = tuple(WorkerId(f"w{i}") for i in range(8))
    payloads = {w: bytes([i]) * 448 for i, w in enumerate(members)}
    spool = Spool(tmp_path)
    spool.open_round(ROUND, members, LAYOUT)

    def send(worker: WorkerId) -> None:
        with spool.receive(ROUND, worker) as stream:
            for index in EVERY:
                stream.put(index, shard(index, payloads[worker]))

    threads = [threading.Thread(target=send, args=(w,)) for w in members]
    for t in threads:
        t.start()
    for t in threads:
        t.join()

    assert spool.seal(ROUND) == members
    for worker in members:
        with spool.reader(ROUND, worker, LAYOUT) as reader:
            assert reader.read(300, 148) == payloads[worker][300:]


steps = st.one_of(
    st.tuples(st.just("put"), st.sampled_from([AWS, GCP]), st.sampled_from(EVERY)),
    st.tuples(st.just("restart"), st.just(AWS), st.just(0)),
)


@settings(deadline=None)
@given(st.lists(steps, max_size=40))
def test_any_order_with_duplicates_and_restarts_keeps_exactly_what_came(
    tmp_path_factory: pytest.TempPathFactory, script: list[tuple[str, WorkerId, int]]
) -> None:
    root = tmp_path_factory.mktemp("root")
    spool, came = opened(root), {AWS: set[int](), GCP: set[int]()}
    for verb, worker, index in script:
        if verb == "restart":
            spool = opened(root)
        else:
            upload(spool, worker, (index,))
            came[worker].add(index)
        for w, indices in came.items():
            assert spool.missing(ROUND, w) == tuple(sorted(set(EVERY) - indices))

    complete = tuple(sorted(w for w, indices in came.items() if len(indices) == len(EVERY)))
    assert spool.seal(ROUND) == complete
    for worker in complete:
        with spool.reader(ROUND, worker, LAYOUT) as reader:
            assert reader.read(0, 230) + reader.read(300, 148) == PAYLOAD[:230] + PAYLOAD[300:]


def test_an_upload_that_does_not_fit_waits_until_a_round_is_dropped(tmp_path: Path) -> None:
    spool = Spool(tmp_path / "spool", max_bytes=2 * LAYOUT.sent_bytes - 1)
    other = RoundId("0f" * 16)
    spool.open_round(ROUND, (AWS, GCP), LAYOUT)
    spool.open_round(other, (AZURE,), LAYOUT)
    upload(spool, GCP, (0,))
    for refused in (
        lambda: upload(spool, AWS),
        lambda: spool.check_room(ROUND, AWS),
        lambda: spool.check_room(other, AZURE),
    ):
        with pytest.raises(BusyError, match=r"the spool is full.*limits\.max_spool_bytes"):
            refused()
    upload(spool, GCP, EVERY)  # what was let in may go on
    assert spool.seal(ROUND) == (GCP,)
    with pytest.raises(BusyError):
        spool.check_room(other, AZURE)
    spool.drop(ROUND)
    spool.check_room(other, AZURE)


def test_uploads_leave_room_on_the_disk_for_what_was_promised_and_the_log(tmp_path: Path) -> None:
    free = shutil.disk_usage(tmp_path).free
    spool = Spool(tmp_path / "spool", spare_bytes=2 * free)
    spool.open_round(ROUND, (AWS,), LAYOUT)
    with pytest.raises(BusyError, match=r"the disk is full.*make room"):
        upload(spool, AWS)
    assert not list((tmp_path / "spool" / ROUND).iterdir())


@pytest.mark.parametrize("name", ["", ".", "..", "../log", "ABSOLUTE", "5E" * 16, "5e" * 15 + "/a"])
def test_a_name_that_is_no_round_s_touches_nothing(tmp_path: Path, name: str) -> None:
    spool = opened(tmp_path)
    upload(spool, AWS)
    victim = tmp_path / "log"
    victim.mkdir()
    (victim / "record").write_text("kept")
    before = sorted(tmp_path.rglob("*"))
    none = RoundId(str(victim) if name == "ABSOLUTE" else name)
    for touch in (
        lambda: spool.open_round(none, (AWS,), LAYOUT),
        lambda: spool.seal(none),
        lambda: spool.reader(none, AWS, LAYOUT),
        lambda: spool.drop(none),
    ):
        with pytest.raises(AssertionError, match="no round has the id"):
            touch()
    assert sorted(tmp_path.rglob("*")) == before


def test_what_is_no_round_s_in_the_folder_is_left_alone(tmp_path: Path) -> None:
    spool = opened(tmp_path)
    for name in ("lost+found", ".sealed", "5e.sealed"):
        (tmp_path / "spool" / name).mkdir()
    assert spool.rounds() == (ROUND,)
