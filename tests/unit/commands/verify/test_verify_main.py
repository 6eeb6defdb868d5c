"""What is said of a run's folder, and with which status, whatever is done to its files."""

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import save_file

from commands.verify.main import main
from common import canonical
from common.documents import Commit, Control, Version
from common.errors import ConfigError
from common.ids import Digest
from services.disk.data_store import DataStore
from services.process.exit_status import Exit
from tests.rig.rounds.small_chain import Coordinator
from tests.rig.rounds.small_run import SMALL

Say = Callable[..., dict[str, Any]]


@pytest.fixture
def chain() -> Coordinator:
    made = Coordinator()
    for _ in range(4):
        made.append(control=Control("resume", "ann", ""))
        made.step()
    return made


@pytest.fixture
def folder(chain: Coordinator, tmp_path: Path) -> Path:
    return written(chain, tmp_path / "data_dir")


def written(chain: Coordinator, folder: Path) -> Path:
    """Write a coordinator's folder that lacks nothing."""
    (folder / "log").mkdir(parents=True)
    for record in chain.records:
        (folder / "log" / f"{record.seq:012d}.json").write_bytes(canonical.encode(record))
    store = DataStore(folder / "data")
    for content in chain.run.blobs.files.values():
        store.write(content)
    (folder / "genesis.json").write_bytes(canonical.encode(chain.run.genesis))
    return folder


def retain(chain: Coordinator, folder: Path, older: int) -> None:
    """Delete what a coordinator deletes whose older snapshot is a version."""
    store, keep = DataStore(folder / "data"), set[Digest]()
    head = chain.records[-1].version
    for record in chain.records:
        if record.version in (older, head - 1, head):
            content = chain.run.blobs.files[record.digest]
            keep |= {record.digest, *canonical.decode(content, Version).blobs()}
        if record.commit is not None and record.version > older:
            keep.add(record.commit.aggregate)
    store.retain(keep)


@pytest.fixture
def say(capsys: pytest.CaptureFixture[str]) -> Say:
    def said(folder: Path) -> dict[str, Any]:
        status = main(folder, as_json=True)
        found: dict[str, Any] = json.loads(capsys.readouterr().out)
        assert status == (Exit.OVER if found["proven"] else Exit.FAILED)
        assert found["proven"] == (found["first_fault"] == "")
        return found

    return said


def commit_of(chain: Coordinator, version: int) -> Commit:
    (commit,) = (r.commit for r in chain.records if r.commit and r.version == version)
    return commit


def digest_of(chain: Coordinator, version: int) -> Digest:
    return next(r.digest for r in chain.records if r.version == version)


def flip(path: Path, at: int = -3) -> None:
    content = bytearray(path.read_bytes())
    content[at] ^= 1
    path.write_bytes(content)


def test_a_whole_run_is_proven_and_its_files_are_left_as_they_were(
    chain: Coordinator, folder: Path, say: Say, capsys: pytest.CaptureFixture[str]
) -> None:
    before = {path: path.stat().st_mtime_ns for path in folder.rglob("*")}
    said = say(folder)
    assert said["proven"]
    assert (said["version"], said["num_records"]) == (4, 8)
    assert "in tier tls nobody signs a sum" in said["trusted"][-1]
    assert {path: path.stat().st_mtime_ns for path in folder.rglob("*")} == before
    assert main(folder, as_json=False) is Exit.OVER
    last = capsys.readouterr().out.splitlines()[-1]
    digest = digest_of(chain, 4)
    assert last == f"proven: version 4, {digest}, is what these sums make, bit for bit"


def test_a_demo_s_folder_is_taken_and_its_genesis_found_beside(
    chain: Coordinator, tmp_path: Path, say: Say
) -> None:
    place = written(chain, tmp_path / "demo" / "coordinator")
    (tmp_path / "demo" / "genesis").mkdir()
    (place / "genesis.json").rename(tmp_path / "demo" / "genesis" / "genesis.json")
    assert say(tmp_path / "demo")["proven"]
    assert say(place)["proven"]


def test_a_roll_back_takes_the_version_that_is_kept(
    chain: Coordinator, tmp_path: Path, say: Say
) -> None:
    content = chain.run.blobs.files[digest_of(chain, 1)]
    chain.roll_back(1, canonical.decode(content, Version))
    chain.step()
    folder = written(chain, tmp_path / "data_dir")
    assert say(folder)["proven"]
    retain(chain, folder, older=5)
    said = say(folder)
    assert said["proven"]
    assert said["checks"][1]["sentence"].startswith("1 sums make of version 5 version 6")


@pytest.mark.parametrize("older", [1, 2, 3])
def test_where_sums_were_let_go_it_begins_at_the_older_snapshot_and_says_so(
    chain: Coordinator, folder: Path, say: Say, older: int
) -> None:
    retain(chain, folder, older)
    said = say(folder)
    assert said["proven"]
    made = f"{4 - older} sums make of version {older} version 4, bit for bit"
    assert said["checks"][1]["sentence"] == made
    assert said["trusted"][0].startswith(f"sums up to version {older} are not kept")


@pytest.mark.parametrize("older", [0, 1, 2])
@pytest.mark.parametrize("version", [3, 4])
def test_a_sum_that_should_be_kept_and_is_not_is_named(
    chain: Coordinator, folder: Path, say: Say, older: int, version: int
) -> None:
    retain(chain, folder, older)
    name = commit_of(chain, version).aggregate
    (folder / "data" / name).unlink()
    said = say(folder)
    assert said["first_fault"].endswith(f"{folder}/data/{name} is missing")


def test_all_sums_that_are_missing_are_named(chain: Coordinator, folder: Path, say: Say) -> None:
    names = [commit_of(chain, v).aggregate for v in (2, 3, 4)]
    for name in names:
        (folder / "data" / name).unlink()
    (sums,) = (c for c in say(folder)["checks"] if c["check"] == "sums")
    assert all(name in sums["sentence"] for name in names)


def test_files_of_a_kept_version_that_are_missing_are_named(
    chain: Coordinator, folder: Path, say: Say
) -> None:
    head = canonical.decode(chain.run.blobs.files[digest_of(chain, 4)], Version)
    (folder / "data" / head.theta[0]).unlink()
    assert say(folder)["first_fault"] == f"{folder}/data/{head.theta[0]} is missing"


@pytest.mark.parametrize("what", ["record", "sum", "document", "theta"])
def test_a_bit_that_changed_is_found(chain: Coordinator, folder: Path, say: Say, what: str) -> None:
    digest = digest_of(chain, 4)
    theta = canonical.decode(chain.run.blobs.files[digest], Version).theta[0]
    names = {
        "record": "log/000000000003.json",
        "sum": f"data/{commit_of(chain, 3).aggregate}",
        "document": f"data/{digest}",
        "theta": f"data/{theta}",
    }
    flip(folder / names[what])
    assert f"{folder}/{names[what]} is damaged" in say(folder)["first_fault"]


@pytest.mark.parametrize("what", ["log/000000000003.json", "sum"])
def test_a_pipe_in_a_file_s_place_is_not_waited_for(
    chain: Coordinator, folder: Path, say: Say, what: str
) -> None:
    path = folder / what.replace("sum", f"data/{commit_of(chain, 3).aggregate}")
    path.unlink()
    os.mkfifo(path)
    assert str(path) in say(folder)["first_fault"]


def test_a_file_that_is_too_large_is_not_read(chain: Coordinator, folder: Path, say: Say) -> None:
    path = folder / "data" / chain.run.genesis.version0
    os.truncate(path, 2**25)
    said = say(folder)
    assert f"{path} is damaged" in said["first_fault"] + said["checks"][2]["sentence"]


def test_version_0_may_lie_beside_the_genesis(chain: Coordinator, folder: Path, say: Say) -> None:
    first = chain.run.genesis.version0
    files = (first, *canonical.decode(chain.run.blobs.files[first], Version).blobs())
    elsewhere = DataStore(folder.parent / "genesis" / "data")
    for name in files:
        elsewhere.write(chain.run.blobs.files[name])
    (folder / "data" / first).unlink()
    assert say(folder)["proven"]
    retain(chain, folder, older=2)
    assert say(folder)["proven"]


def model_of(chain: Coordinator, folder: Path) -> dict[str, np.ndarray]:
    theta = chain.run.theta()
    folder.mkdir(exist_ok=True)
    return {
        spec.name: theta[at : at + spec.size].reshape(spec.shape) for spec, at in SMALL.offsets()
    }


def test_a_model_is_compared_tensor_by_tensor(chain: Coordinator, folder: Path, say: Say) -> None:
    path = folder / "model" / "model.safetensors"
    tensors = model_of(chain, path.parent)
    save_file(tensors, path)
    said = say(folder)
    assert said["proven"]
    assert said["checks"][-1]["sentence"].endswith("is version 4, bit for bit")
    changed = tensors["v"].copy()
    changed[7] = np.nextafter(changed[7], np.float32(9))
    for lie, why in (
        ({**tensors, "v": changed}, "v differs from value 7 on"),
        (
            {**tensors, "v": tensors["v"].astype(np.float16)},
            "v is ('F16', (2500,)), in the run it is ('F32', (2500,))",
        ),
        ({**tensors, "v": tensors["v"][:-1]}, "v is ('F32', (2499,))"),
        ({**tensors, "x": changed}, "x is no tensor of this run"),
        ({"w": tensors["w"]}, "v and 1 other tensors of this run are not in it"),
    ):
        save_file(lie, path)
        assert why in say(folder)["first_fault"]
    path.write_bytes(b"none")
    assert "model.safetensors cannot be read" in say(folder)["first_fault"]


@pytest.mark.parametrize(
    ("spoil", "why"),
    [
        (lambda f: (f / "log").rename(f / "gone"), "holds no log and data"),
        (lambda f: (f / "genesis.json").unlink(), "no genesis.json there"),
        (lambda f: (f / "genesis.json").write_text("{}"), "missing field"),
        (lambda f: (f / "model").mkdir(), "holds no .safetensors"),
    ],
)
def test_what_is_no_run_s_folder_is_refused(
    folder: Path, say: Say, spoil: Callable[[Path], object], why: str
) -> None:
    spoil(folder)
    with pytest.raises(ConfigError, match=why):
        say(folder)


def test_an_empty_log_stands_on_version_0(tmp_path: Path, say: Say) -> None:
    said = say(written(Coordinator(), tmp_path / "data_dir"))
    assert (said["proven"], said["version"], said["num_records"]) == (True, 0, 0)
