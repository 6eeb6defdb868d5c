"""A newcomer reads in its log how much of a version has come, and how long the rest will take."""

from dataclasses import replace
from pathlib import Path

import pytest

from common import canonical
from common.canonical import digest_of
from common.documents import Version
from common.schema import ModelSchema, TensorSpec
from services.disk.data_store import DataStore
from services.versions.downloads import Downloads
from tests.rig.rounds.small_run import Run

SEGMENT = 2**20
SEGMENTS = [bytes([i]) * 4 * SEGMENT for i in range(1, 6)]
GENESIS = replace(Run().genesis, schema=ModelSchema((TensorSpec("w", (5 * SEGMENT,)),)))
VERSION = Version(
    theta=tuple(map(digest_of, SEGMENTS)),
    state={},
    scales=(),
    clip=0.0,
    commits=3,
)


class Log:
    """Downloads into a store, one file every `each_s` seconds."""

    def __init__(self, folder: Path, each_s: float) -> None:
        self.lines: list[str] = []
        self.store = DataStore(folder)
        self._s, self._each_s = 0.0, each_s
        self._downloads = Downloads(GENESIS, self.lines.append, lambda: self._s)

    def comes(self, content: bytes, kind: str = "version") -> None:
        self._s += self._each_s
        self._downloads.came(self.store.write(content), kind, self.store)


@pytest.mark.parametrize(("each_s", "num_lines"), [(0.5, 0), (6.0, 2), (15.0, 4)])
def test_a_version_is_told_of_every_ten_seconds_from_its_first_file_on(
    tmp_path: Path, each_s: float, num_lines: int
) -> None:
    log = Log(tmp_path, each_s)
    log.comes(canonical.encode(VERSION))
    for segment in SEGMENTS:
        log.comes(segment)
    assert len(log.lines) == num_lines
    if num_lines == 4:
        assert log.lines[0] == "files of the version: 8.4 MB of 21.0 MB, 40%, 45 s left"
        assert log.lines[-1] == "files of the version: 21.0 MB of 21.0 MB, 100%, 0 s left"


def test_what_is_here_already_is_not_awaited(tmp_path: Path) -> None:
    log = Log(tmp_path, 15.0)
    for segment in SEGMENTS[:3]:
        log.store.write(segment)
    log.comes(canonical.encode(VERSION))
    log.comes(SEGMENTS[3])
    log.comes(SEGMENTS[4])
    assert [line.partition(": ")[2] for line in log.lines] == ["8.4 MB of 8.4 MB, 100%, 0 s left"]


def test_documents_that_are_only_compared_and_files_of_no_version_say_nothing(
    tmp_path: Path,
) -> None:
    log = Log(tmp_path, 15.0)
    log.comes(canonical.encode(replace(VERSION, commits=4)))
    log.comes(canonical.encode(VERSION))
    log.comes(b"healed" * 1000)
    log.comes(SEGMENTS[0], "aggregate")
    assert log.lines == []
    log.comes(SEGMENTS[1])
    log.comes(SEGMENTS[2])
    (line,) = log.lines
    assert line.startswith("files of the version: 8.4 MB of 21.0 MB")
