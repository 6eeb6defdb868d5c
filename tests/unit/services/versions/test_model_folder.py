"""A model's folder from `crosscloud genesis` to a worker and an export: beside the file, always."""

import shutil
from pathlib import Path
from typing import Any

import pytest
import yaml

from commands.genesis import main
from common.errors import ConfigError
from services.config.genesis_file import load_genesis
from services.config.settings import load_evaluator, load_worker
from services.disk.data_store import DataStore
from services.versions.export import export_model
from services.versions.learner import build_learner
from tests.unit.services.config.test_settings import WORKER
from tests.unit.worker.training.test_huggingface import learner_with
from worker.training.learner import LearnerContext


def test_who_makes_a_genesis_is_told_which_folder_every_machine_needs(
    begun: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    main(begun / "run.yaml", begun / "again")
    said = capsys.readouterr().out.splitlines()
    assert said[-1] == "copy ./model beside genesis.json on every machine"
    assert sum("copy" in line for line in said) == 1, "model and tokenizer are one folder"


@pytest.fixture
def begun(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return the folder of a run that began with model and tokenizer in ./model."""
    learner_with().export(tmp_path / "model")
    settings = {"model": "./model", "tokenizer": "./model", "batch": 1, "sequence": 16}
    content = {"name": "demo", "stop": {"versions": 1}, "settings": settings}
    (tmp_path / "run.yaml").write_text(yaml.safe_dump(content))
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    main(tmp_path / "run.yaml", tmp_path / "genesis")
    return tmp_path


def written(begun: Path) -> Path:
    for name in ("ca.pem", "me.pem", "me.key"):
        (begun / name).touch()
    content: dict[str, Any] = {**WORKER, "genesis": "genesis/genesis.json"}
    (begun / "process.yaml").write_text(yaml.safe_dump(content))
    return begun / "process.yaml"


def test_a_run_s_relative_folder_is_beside_genesis_json_for_a_worker_and_an_export(
    begun: Path,
) -> None:
    worker, evaluator = load_worker(written(begun), {}), load_evaluator(written(begun), {})
    made = load_genesis(worker.genesis)
    context = LearnerContext(made.settings, None, made.seed, "aws", folders=worker.folders)
    with pytest.raises(ConfigError) as refused:
        build_learner(made, context)
    said = str(refused.value)
    assert f"there is no folder {begun / 'genesis' / 'model'};" in said
    assert "each process has the folder beside its genesis.json; copy it there" in said
    shutil.copytree(begun / "model", begun / "genesis" / "model")
    shutil.rmtree(begun / "model")
    build_learner(made, context)
    store, out = DataStore(begun / "genesis" / "data"), begun / "exported"
    export_model(made, made.version0, store, out, folders=evaluator.folders)
    assert (out / "config.json").exists()


def test_a_run_does_not_begin_with_a_folder_that_its_processes_would_take_for_an_id(
    begun: Path,
) -> None:
    content = (begun / "run.yaml").read_text().replace("./model", "model")
    (begun / "run.yaml").write_text(content)
    with pytest.raises(ConfigError, match=r"settings\.model: 'model' would be an id .* '\./model'"):
        main(begun / "run.yaml", begun / "other")
    assert not (begun / "other" / "genesis.json").exists()
