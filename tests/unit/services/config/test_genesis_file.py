"""A genesis of another protocol, or for what is not there yet, is refused with what to do."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from commands.verify.kept_run import find_run
from common import canonical
from common.documents import PROTOCOL, Genesis
from common.errors import ConfigError
from services.config.genesis_file import load_genesis
from services.config.soundness import refuse_unsound
from tests.rig.rounds.small_run import Run

GENESIS = Run().genesis
NOW = json.loads(canonical.encode(GENESIS))
OF_PROTOCOL_5 = {
    **{k: v for k, v in NOW.items() if k not in ("protocol", "validation")},
    "algorithm": {
        **{
            k: v
            for k, v in NOW["algorithm"].items()
            if k not in ("weighting", "update", "gradient_unit", "rounds_ahead", "deadline_s")
            and k not in ("prox", "robust", "assumed_faulty", "gate")
        },
        "outer": {"kind": "nesterov", "learning_rate": 0.6, "momentum": 0.8},
    },
}


def written(folder: Path, raw: Any) -> Path:
    path = folder / "genesis.json"
    path.write_text(json.dumps(raw, sort_keys=True, separators=(",", ":")) + "\n")
    return path


def test_what_was_written_is_read(tmp_path: Path) -> None:
    assert load_genesis(written(tmp_path, NOW)) == GENESIS
    assert GENESIS.protocol == PROTOCOL


@pytest.mark.parametrize(
    ("raw", "said"),
    [
        (OF_PROTOCOL_5, "protocol 5 or older"),
        (NOW | {"protocol": PROTOCOL + 1}, f"protocol {PROTOCOL + 1},"),
        (NOW | {"protocol": "x" * 1000}, "protocol " + "x" * 20 + ","),
    ],
)
def test_one_of_another_protocol_is_refused_with_what_to_do(
    tmp_path: Path, raw: Any, said: str
) -> None:
    path = written(tmp_path, raw)
    with pytest.raises(ConfigError) as refusal:
        load_genesis(path)
    sentence = str(refusal.value)
    assert f"{path}: this run was begun under {said}" in sentence
    assert "Finish it with the crosscloud that began it, or begin a new run" in sentence


def test_verify_says_the_same_of_an_old_folder(tmp_path: Path) -> None:
    written(tmp_path, OF_PROTOCOL_5)
    for name in ("log", "data"):
        (tmp_path / name).mkdir()
    with pytest.raises(ConfigError, match="begun under protocol 5 or older"):
        find_run(tmp_path, None)


@pytest.mark.parametrize("raw", [[], 3, {}, {"protocol": 5}, {"algorithm": {}}])
def test_what_is_no_genesis_at_all_is_said_to_be_none(tmp_path: Path, raw: Any) -> None:
    with pytest.raises(ConfigError, match="it must be the file that `crosscloud genesis` wrote"):
        load_genesis(written(tmp_path, raw))


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"prox": 0.5}, "algorithm.prox: 0.5 is not available in this version, 0.0 alone is"),
        (
            {"robust": "trimmed_mean", "assumed_faulty": 1},
            "algorithm.robust: 'trimmed_mean' is not available in this version",
        ),
        (
            {"gate": NOW["algorithm"]["gate"] | {"norm": 2.0}},
            "algorithm.gate.norm: 2.0 is not available in this version",
        ),
        ({"update": "gradient"}, "algorithm.update: 'gradient' is not available in this version"),
        ({"normalisation": "x"}, "algorithm.normalisation: 'x' is not known; one of "),
        ({"min_local_steps": -3}, "algorithm.min_local_steps: -3 must be at least 1"),
        ({"min_cohort": 9}, "algorithm.min_cohort: 9 is above max_cohort 8"),
    ],
)
def test_whoever_loads_it_refuses_an_algorithm_by_the_sentence_of_run_yaml(
    tmp_path: Path, change: dict[str, Any], sentence: str
) -> None:
    raw = NOW | {"algorithm": NOW["algorithm"] | change}
    with pytest.raises(ConfigError) as refusal:
        load_genesis(written(tmp_path, raw))
    content = (tmp_path / "genesis.json").read_bytes().strip()
    of_run = canonical.decode(content, Genesis)
    with pytest.raises(ConfigError) as elsewhere:
        refuse_unsound(of_run.algorithm, of_run.stop)
    assert sentence in str(refusal.value)
    assert str(refusal.value) == f"{tmp_path / 'genesis.json'}: {elsewhere.value}"


def test_a_zero_has_one_form(tmp_path: Path) -> None:
    signless = replace(GENESIS, algorithm=replace(GENESIS.algorithm, prox=-0.0))
    assert canonical.digest(signless) == canonical.digest(GENESIS)
    algorithm = NOW["algorithm"] | {"prox": -0.0}
    with pytest.raises(ConfigError, match="not in canonical form"):
        load_genesis(written(tmp_path, NOW | {"algorithm": algorithm}))


def test_a_shard_that_nothing_measures_on_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="validation is 'abab', and no weighting"):
        load_genesis(written(tmp_path, NOW | {"validation": "abab"}))
