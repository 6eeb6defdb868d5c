"""`crosscloud genesis`: what is in the folder is looked at first; it writes all or nothing."""

import os
import stat
from pathlib import Path
from typing import Any

import pytest

from commands.genesis import main
from common.chain import genesis_version
from common.errors import ConfigError, ToldToEndError
from services.config.genesis_file import load_genesis

RUN = "name: {name}\nstop: {{versions: 1}}\nlearner: {learner}\nsettings: {{width: 8}}\n"
OWN = "examples.own_learner:build"


def made(folder: Path, name: str = "r", learner: str = OWN) -> Path:
    """Make a genesis in `folder`/out, and return its path."""
    (folder / "run.yaml").write_text(RUN.format(name=name, learner=learner))
    main(folder / "run.yaml", folder / "out")
    return folder / "out" / "genesis.json"


def files(folder: Path) -> dict[Path, bytes]:
    return {p: p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def test_the_same_once_more_changes_nothing(tmp_path: Path) -> None:
    made(tmp_path)
    before = files(tmp_path / "out")
    made(tmp_path)
    assert files(tmp_path / "out") == before


def test_another_run_s_genesis_is_seen_before_a_model_is_built(tmp_path: Path) -> None:
    made(tmp_path)
    before = files(tmp_path / "out")
    with pytest.raises(
        ConfigError, match=r"genesis\.json is of another run: choose an empty folder"
    ):
        made(tmp_path, name="other", learner="no_such_module:build")
    assert files(tmp_path / "out") == before


@pytest.mark.parametrize("kept", [0, 1, 100])
def test_a_part_of_a_genesis_is_called_one_before_a_model_is_built(
    tmp_path: Path, kept: int
) -> None:
    path = made(tmp_path)
    path.write_bytes(path.read_bytes()[:kept])
    with pytest.raises(ConfigError, match=rf"\({kept} bytes\) is no genesis, or a part .* move it"):
        made(tmp_path, learner="no_such_module:build")
    path.unlink()
    load_genesis(made(tmp_path))


@pytest.mark.parametrize("there", ["folder", "pipe"])
def test_what_cannot_be_read_in_a_genesis_s_place_has_one_fix(tmp_path: Path, there: str) -> None:
    path = tmp_path / "out" / "genesis.json"
    path.parent.mkdir()
    path.mkdir() if there == "folder" else os.mkfifo(path)
    with pytest.raises(ConfigError) as refused:
        made(tmp_path)
    fix = {"folder": "move it away, or choose another folder", "pipe": "give a file"}[there]
    sentence, _, last = str(refused.value).partition("; ")
    assert last == fix
    assert str(path) in sentence
    assert "kill" not in sentence


def test_a_genesis_of_another_first_version_is_not_replaced(tmp_path: Path) -> None:
    path = made(tmp_path)
    version0 = load_genesis(path).version0
    path.write_bytes(path.read_bytes().replace(version0.encode(), b"0" * 64))
    before = path.read_bytes()
    with pytest.raises(ConfigError, match="of another first version"):
        made(tmp_path)
    assert path.read_bytes() == before


@pytest.mark.parametrize("there", ["file", "link"])
def test_data_that_is_no_folder_is_a_setting_s_fault(tmp_path: Path, there: str) -> None:
    (tmp_path / "out").mkdir()
    data = tmp_path / "out" / "data"
    data.write_text("") if there == "file" else data.symlink_to(tmp_path / "nowhere")
    with pytest.raises(ConfigError, match=r"^--out: .*data cannot be written in"):
        made(tmp_path)


def test_nobody_sees_half_of_a_genesis_and_others_may_read_it_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(os, "fsync", lambda _: None)
        replaced = os.replace
        patched.setattr(
            os, "replace", lambda a, b: full() if "genesis.json" in str(b) else replaced(a, b)
        )
        with pytest.raises(Exception, match="No space left"):
            made(tmp_path)
    assert not (tmp_path / "out").exists()
    umask = os.umask(0o022)
    try:
        assert stat.S_IMODE(made(tmp_path).stat().st_mode) == 0o644
    finally:
        os.umask(umask)


def test_a_genesis_that_is_refused_leaves_nothing_behind(tmp_path: Path) -> None:
    (tmp_path / "run.yaml").write_text(RUN.format(name="r", learner=OWN).replace("8", "wide"))
    with pytest.raises(ConfigError):
        main(tmp_path / "run.yaml", tmp_path / "deep" / "out")
    assert [path.name for path in tmp_path.iterdir()] == ["run.yaml"]


def test_a_genesis_that_is_interrupted_leaves_nothing_behind(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(*args: Any) -> None:
        genesis_version(*args)
        assert list((tmp_path / "out" / "data").iterdir())
        raise ToldToEndError

    monkeypatch.setattr("services.versions.genesis.genesis_version", interrupted)
    with pytest.raises(ToldToEndError):
        made(tmp_path)
    assert not (tmp_path / "out").exists()


def test_a_folder_that_was_there_keeps_what_was_in_it(tmp_path: Path) -> None:
    made(tmp_path)
    (tmp_path / "out" / "genesis.json").unlink()
    (tmp_path / "out" / "notes.txt").write_text("of the operator")
    before = files(tmp_path / "out")
    (tmp_path / "run.yaml").write_text(RUN.format(name="r", learner="no_such_module:build"))
    with pytest.raises(ConfigError):
        main(tmp_path / "run.yaml", tmp_path / "out")
    assert files(tmp_path / "out") == before
