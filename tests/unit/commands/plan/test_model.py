"""What a run's own model is, outlined from its file: also where that names a folder of weights."""

import re
from pathlib import Path

import pytest
import yaml

from commands.plan.model import planned_genesis
from common.errors import ConfigError
from services.config.config_file import placed
from worker.training.huggingface import build
from worker.training.learner import LearnerContext
from worker.training.model import schema_of

MODEL = {
    "model_type": "llama",
    "hidden_size": 16,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "intermediate_size": 32,
}


def run_of(folder: Path, **settings: object) -> Path:
    path = folder / "run.yaml"
    path.write_text(yaml.safe_dump({"name": "a", "settings": settings, "stop": {"versions": 1}}))
    return path


@pytest.mark.parametrize("weights", ["whole", "none", "torn", "a pointer"])
def test_a_model_folder_is_planned_from_its_configuration(tmp_path: Path, weights: str) -> None:
    learner = build(LearnerContext({"model": MODEL}, None, 0, "genesis"))
    learner.export(tmp_path / "model")
    (file,) = (tmp_path / "model").glob("*.safetensors")
    content = file.read_bytes()
    if weights == "none":
        file.unlink()
    elif weights == "torn":
        file.write_bytes(content[: len(content) // 2])
    elif weights == "a pointer":
        file.write_bytes(b"version https://git-lfs.github.com/spec/v1\n")
    planned = planned_genesis(run_of(tmp_path, model=str(tmp_path / "model")), None)
    assert planned.schema == schema_of(learner)


@pytest.mark.parametrize("config", [None, "{", "[]", '{"model_type": "lama"}', '{"a": 1}'])
def test_a_folder_without_a_configuration_is_named_with_the_line(
    tmp_path: Path, config: str | None
) -> None:
    folder = tmp_path / "model"
    folder.mkdir()
    if config is not None:
        (folder / "config.json").write_text(config)
    path = run_of(tmp_path, model=str(folder))
    said = (
        rf"{re.escape(str(path))}:3: settings\.model: '{re.escape(str(folder))}' cannot be loaded"
    )
    with pytest.raises(ConfigError, match=said), placed(path):
        planned_genesis(path, None)
