"""The command from end to end: what it reads and prints."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from commands.app import app
from commands.plan.main import main
from commands.plan.model import planned_genesis
from common.errors import ConfigError
from tests.rig.silent_outlet import SilentOutlet

RUN = """
name: planned
preset: async_diloco
learner: examples.own_learner:build
settings: {width: 8, batch: 16, sequence: 32}
stop: {versions: 100}
"""
LLAMA = """
name: planned
settings:
  model: {model_type: llama, hidden_size: 32, intermediate_size: 64, num_hidden_layers: 2,
          num_attention_heads: 2, num_key_value_heads: 2, max_position_embeddings: 64}
stop: {hours: 1}
"""
FULL = ("--link", "aws=100/100", "--link", "azure=100/100", "--link", "gcp=100/100")


def run_file(tmp_path: Path, content: str = RUN) -> Path:
    path = tmp_path / "run.yaml"
    path.write_text(content)
    return path


def test_the_table_fits_eighty_columns_and_says_what_was_not_told(tmp_path: Path) -> None:
    config = str(run_file(tmp_path))
    done = CliRunner().invoke(app, ["plan", config])
    assert done.exit_code == 0, done.output
    assert "planned: 6,144 parameters, dense 8 bit, tier masked, 3 workers" in done.output
    assert "give each worker's link" in done.output
    assert "Nobody said who takes part: one worker each in aws, azure, gcp" in done.output
    assert "--coordinator CLOUD" in done.output
    assert "update: 0.73 for equal parts" in done.output
    assert "most 0.92 by max_share" in " ".join(done.output.split())
    every = [
        config,
        *FULL,
        "--tokens-per-s",
        "1000",
        "--coordinator",
        "aws",
        "--parameters",
        "7e11",
    ]
    full = CliRunner().invoke(app, ["plan", *every])
    assert full.exit_code == 0, full.output
    assert "give each worker's link" not in full.output
    for line in (done.output + full.output).splitlines():
        assert len(line) <= 80


def test_json_holds_the_same_numbers(tmp_path: Path) -> None:
    config = str(run_file(tmp_path))
    arguments = ["plan", config, *FULL, "--tokens-per-s", "1000", "--json"]
    done = CliRunner().invoke(app, arguments)
    assert done.exit_code == 0, done.output
    found = json.loads(done.output)
    assert found["parameters"] == 6144
    assert found["times"]["versions_per_day"] > 0
    assert found["per_day"]["aws"]["sent"]["update"] > found["version"]["sent"]["update"]
    assert set(found["needs"]["disk"]) >= {"coordinator", "worker", "evaluator"}


def test_a_number_of_parameters_needs_neither_torch_nor_the_model(tmp_path: Path) -> None:
    program = (
        "import sys\n"
        "from commands.plan.main import main\n"
        "from pathlib import Path\n"
        "main(Path(sys.argv[1]), options=None, parameters=1e9, workers=(), links=(), speeds=(),"
        " prices=(), coordinator=None, as_json=True)\n"
        "assert 'torch' not in sys.modules and 'transformers' not in sys.modules"
    )
    config = str(run_file(tmp_path, LLAMA))
    done = subprocess.run([sys.executable, "-c", program, config], capture_output=True, check=False)
    assert done.returncode == 0, done.stderr.decode()
    assert json.loads(done.stdout)["parameters"] == 10**9


def test_a_genesis_is_taken_as_it_is(tmp_path: Path) -> None:
    config = run_file(tmp_path)
    arguments = ["genesis", "--config", str(config), "--out", str(tmp_path / "genesis")]
    assert CliRunner().invoke(app, arguments).exit_code == 0
    path = tmp_path / "genesis" / "genesis.json"
    assert planned_genesis(path, None).schema.parameter_values == 6144
    with pytest.raises(ConfigError, match=r"--parameters: .* says what the model is"):
        planned_genesis(path, 1e9)


def test_tokens_of_a_step_that_the_runs_settings_say_otherwise_are_refused(tmp_path: Path) -> None:
    (told := tmp_path / "plan.yaml").write_text("tokens_per_step: 12288\n")
    for settings in ("", "\n  batch: 4\n  sequence: 32"):
        config = run_file(tmp_path, LLAMA.replace("\nstop", f"{settings}\nstop"))
        arguments = ["plan", str(config), "--with", str(told), "--parameters", "1e6"]
        with pytest.raises(ConfigError) as refused:
            CliRunner().invoke(app, arguments, catch_exceptions=False)
        numbers = "batch 4 * sequence 32 = 128" if settings else "batch 12 * sequence 128 = 1536"
        assert "tokens_per_step: 12288, but the run's settings say" in str(refused.value)
        assert numbers in str(refused.value)
        assert "delete it, or change settings.batch" in str(refused.value)


def test_a_learner_of_ones_own_may_take_other_tokens_and_the_plan_says_so(tmp_path: Path) -> None:
    (told := tmp_path / "plan.yaml").write_text("tokens_per_step: 4096\n")
    done = CliRunner().invoke(app, ["plan", str(run_file(tmp_path)), "--with", str(told)])
    assert done.exit_code == 0, done.output
    text = " ".join(done.output.split())
    assert "4096 tokens, as tokens_per_step says; the run's settings say batch 16 *" in text
    told.write_text("tokens_per_step: 512\n")
    same = CliRunner().invoke(app, ["plan", str(run_file(tmp_path)), "--with", str(told)])
    assert "tokens_per_step" not in same.output


def test_who_waits_for_a_plan_sees_that_the_model_is_outlined(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    told = SilentOutlet()
    nothing: dict[str, Any] = dict.fromkeys(("workers", "links", "speeds", "prices"), ())
    nothing |= {"options": None, "parameters": None, "coordinator": None, "as_json": True}
    assert main(run_file(tmp_path), **nothing, out=told) == 0
    assert told.num_ended == 1
