"""What a real coordinator left of a masked run is proven; and what was done to a copy of it, named.

Its workers are played, with keys, masks and words of real ones.
"""

import json
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
from typer.testing import CliRunner

from commands.app import app
from commands.demo.layout import COORDINATOR, Layout
from common import canonical
from common.documents import Record, Version
from services.process.exit_status import Exit
from tests.rig.rounds.masked_cohort import masked_cohort
from tests.rig.rounds.masked_round import Loss

NAMES = ("aws", "azure", "gcp", "onprem")


@dataclass
class Left:
    """What a run of three versions left; the record of a failed round holds the last words."""

    layout: Layout
    log: list[Record]

    def copied(self, folder: Path) -> Path:
        shutil.copytree(self.layout.state(COORDINATOR), folder)
        return folder

    def verify(self, folder: Path, *more: str | Path) -> tuple[int, str]:
        certs = self.layout.folder / "certs"
        own = ("--ca", certs / "ca.pem", "--pins", certs / "pins.yaml")
        genesis = ("--genesis", self.layout.genesis)
        line = ("verify", folder, *own, *genesis, *more)
        done = CliRunner().invoke(app, [*map(str, line)])
        return done.exit_code, done.output


@pytest.fixture(scope="module")
def left(tmp_path_factory: pytest.TempPathFactory) -> Left:
    with masked_cohort(tmp_path_factory.mktemp("masked") / "run", NAMES) as cohort:
        for lost in ({}, {"gcp": Loss.UPLOAD}, {}):
            assert cohort.play(lost).commit is not None
        failed = cohort.play(dict.fromkeys(NAMES[:2], Loss.UPLOAD))
        assert failed.abort is not None
        layout = cohort.coordinator.layout
    paths = sorted(layout.coordinator.log.iterdir())
    return Left(layout, [canonical.decode(p.read_bytes(), Record) for p in paths])


def test_what_is_left_is_proven_in_words_and_for_programs(left: Left, tmp_path: Path) -> None:
    folder = left.copied(tmp_path / "copy")
    status, said = left.verify(folder)
    assert status == Exit.OVER, said
    digest = left.log[-1].digest
    assert f"proven: version 3, {digest}, is what these signed sums make, bit for bit" in said
    status, said = left.verify(folder, "--json")
    assert status == Exit.OVER
    assert json.loads(said)["proven"]


def test_version_0_is_made_from_the_seed_where_its_files_are_gone(
    left: Left, tmp_path: Path
) -> None:
    folder = left.copied(tmp_path / "copy")
    genesis = tmp_path / "genesis.json"
    shutil.copyfile(left.layout.genesis, genesis)
    first = json.loads(genesis.read_text())["version0"]
    (folder / "data" / first).unlink()
    status, said = left.verify(folder, "--genesis", genesis)
    assert status == Exit.OVER, said


def commit(left: Left, version: int) -> Record:
    return next(r for r in left.log if r.commit is not None and r.version == version)


def sum_of(left: Left, version: int) -> str:
    made = commit(left, version).commit
    assert made is not None
    return f"data/{made.aggregate}"


def worded(left: Left) -> str:
    return f"log/{next(r.seq for r in left.log if r.words):012d}.json"


def segment(left: Left) -> str:
    store = left.layout.coordinator.data
    head = canonical.decode((store / commit(left, 3).digest).read_bytes(), Version)
    return f"data/{head.theta[0]}"


def flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    at = content.index(b'"words"') + 24 if b'"words"' in content else len(content) // 2
    content[at] = ord("0") if content[at] != ord("0") else ord("1")
    path.write_bytes(content)


@pytest.mark.parametrize(
    ("name", "change", "complaint"),
    [
        (lambda left: sum_of(left, 2), Path.unlink, "is missing"),
        (lambda left: sum_of(left, 2), flip, "is damaged"),
        (segment, Path.unlink, "is missing"),
        (segment, flip, "is damaged"),
        (worded, flip, "did not sign the word in it for version 1"),
        (worded, Path.unlink, "is missing"),
        (lambda left: f"log/{commit(left, 2).seq:012d}.json", flip, ""),
    ],
    ids=["no sum", "sum", "no segment", "segment", "word", "no record", "record"],
)
def test_what_was_changed_is_named(
    left: Left,
    tmp_path: Path,
    name: Callable[[Left], str],
    change: Callable[[Path], object],
    complaint: str,
) -> None:
    folder = left.copied(tmp_path / "copy")
    path = name(left)
    change(folder / path)
    status, said = left.verify(folder)
    last = said.splitlines()[-1]
    assert status == Exit.FAILED
    assert last.startswith("not proven: ")
    assert complaint in last
    seq = f"record {int(Path(path).stem)}" if path.startswith("log") else path
    assert seq in last


def test_words_that_are_in_no_record_yet_are_awaited(left: Left, tmp_path: Path) -> None:
    folder = left.copied(tmp_path / "copy")
    for record in left.log[commit(left, 3).seq + 1 :]:
        (folder / f"log/{record.seq:012d}.json").unlink()
    status, said = left.verify(folder)
    assert status == Exit.FAILED
    assert "has 0 of the 3 members' words that it needs" in said


def test_whoever_gives_no_pins_is_told_what_that_means(left: Left) -> None:
    done = CliRunner().invoke(app, ["verify", str(left.layout.folder)])
    assert done.exit_code == Exit.OVER
    for words in ("--genesis", "--ca", "--pins"):
        assert f"({words})" in done.output


def test_an_option_that_names_no_file_is_the_user_s(left: Left, tmp_path: Path) -> None:
    for option in ("--genesis", "--ca", "--pins", "--operators", "--model"):
        line = ["verify", str(left.layout.folder), option, str(tmp_path / "gone")]
        done = CliRunner().invoke(app, line)
        assert type(done.exception).__name__ == "ConfigError", (option, done.output)
