"""What takes long tells how far it is while it takes long: here the disk waits for the words."""

import threading
from pathlib import Path

from typing_extensions import override

from common.documents import Algorithm, Genesis, Stop
from common.ids import Digest
from services.disk.data_store import DataStore
from services.disk.files import Bytes
from services.versions.export import export_model
from services.versions.genesis import make_genesis

PATIENCE_S = 60.0


class Words:
    """An outlet that lets others wait for a line that begins so."""

    first_s = every_s = 0.001

    def __init__(self) -> None:
        self.lines: list[str] = []
        self.num_ended = 0
        self._came = threading.Condition()

    def say(self, line: str) -> None:
        with self._came:
            self.lines.append(line)
            self._came.notify_all()

    def end(self) -> None:
        self.num_ended += 1

    def wait_for(self, begin: str) -> None:
        def is_there() -> bool:
            return any(line.startswith(begin) for line in self.lines)

        with self._came:
            assert self._came.wait_for(is_there, PATIENCE_S), f"nobody said: {begin}"


class SlowDisk(DataStore):
    def __init__(self, root: Path, words: Words, begin: str) -> None:
        super().__init__(root)
        self._words, self._begin = words, begin

    @override
    def write(self, content: Bytes) -> Digest:
        self._words.wait_for(self._begin)
        return super().write(content)

    @override
    def read(self, digest: Digest, *, verify: bool = False) -> bytes:
        content = super().read(digest, verify=verify)
        if len(content) == 4 * 8192:  # a segment, not the version's document
            self._words.wait_for(self._begin)
        return content


def made(store: DataStore, words: Words | None) -> Genesis:
    return make_genesis(
        run="small",
        seed=3,
        learner="examples.own_learner:build",
        settings={"width": 8},
        algorithm=Algorithm(),
        stop=Stop(versions=1),
        store=store,
        out=words,
    )


def test_genesis_tells_how_much_of_the_first_version_is_written(tmp_path: Path) -> None:
    words = Words()
    genesis = made(
        SlowDisk(tmp_path, words, "writing the first version: 32.8 kB of 32.8 kB"), words
    )
    assert words.num_ended == 3, "of the model, the step and the version"
    assert genesis == made(DataStore(tmp_path / "again"), None)


def test_export_tells_how_much_of_the_version_is_loaded(tmp_path: Path) -> None:
    words, quiet = Words(), DataStore(tmp_path / "data")
    genesis = made(quiet, None)
    slow = SlowDisk(quiet.root, words, "loading the version: 0 B of 32.8 kB, 0%")
    export_model(genesis, genesis.version0, slow, tmp_path / "model", words)
    assert words.num_ended == 3, "of the model, of the version, of the files"
    assert list((tmp_path / "model").iterdir())
