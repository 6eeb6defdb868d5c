"""Whoever gives the wrong one of our files is told which it is, and which to give."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from pydantic import BaseModel

from commands.plan.options import read_options
from common.errors import ConfigError
from services.config.file_kind import TELLING, process_in
from services.config.settings import (
    CoordinatorSettings,
    EvaluatorSettings,
    OperatorSettings,
    RunSettings,
    WorkerSettings,
    load_coordinator,
    load_evaluator,
    load_operator,
    load_run,
    load_worker,
)
from tests.unit.services.config.test_settings import COORDINATOR, OPERATOR, RUN, WORKER

KINDS: dict[str, type[BaseModel]] = {
    "coordinator": CoordinatorSettings,
    "worker": WorkerSettings,
    "evaluator": EvaluatorSettings,
    "operator": OperatorSettings,
    "run": RunSettings,
}
TRUSTING = {**WORKER, "trust": {"tier": "masked"}}
MEMBERS = {"members": [{"name": "aws", "role": "worker", "organisation": "acme"}]}
GENESIS = {"run": "demo", "schema": {}, "version0": "0" * 64, "algorithm": {}, "stop": {}}


@pytest.mark.parametrize(
    ("content", "load", "sentence"),
    [
        (TRUSTING, load_evaluator, "this is a worker's file (it has trust); give an evaluator's"),
        (WORKER, load_operator, "a worker's or an evaluator's file (it has name, genesis, state_"),
        (TRUSTING, load_operator, "this is a worker's file (it has name, genesis, state_dir, ...)"),
        (COORDINATOR, load_run, "this is a coordinator's file (it has genesis, data_dir, members"),
        (COORDINATOR, read_options, "a coordinator's file (it has genesis, data_dir, members, .."),
        (RUN, load_worker, "this is a run's file (it has stop); give a worker's file, worker.yaml"),
        (OPERATOR, load_coordinator, "this is an operator's file (it has run, coordinator); give"),
        (MEMBERS, load_worker, "this is a list of members (it has members); give a worker's file"),
        (GENESIS, load_run, "this is a genesis.json (it has run, schema, version0); give a run's"),
    ],
)
def test_another_file_is_named(
    tmp_path: Path, content: dict[str, Any], load: Callable[[Path], Any], sentence: str
) -> None:
    (path := tmp_path / "given.yaml").write_text(yaml.safe_dump(content, sort_keys=False))
    with pytest.raises(ConfigError) as refused:
        load(path)
    assert str(refused.value).startswith(f"{path}: this is ")
    assert sentence in str(refused.value)


@pytest.mark.parametrize(
    ("content", "load"),
    [
        ({**RUN, "stpo": 1}, load_run),
        ({**COORDINATOR, "hots": 1}, load_coordinator),
        ({**OPERATOR, "tmieout_s": 1}, load_operator),
        ({**TRUSTING, "pcae": 1}, load_worker),
        ({**WORKER, "nmae": 1}, load_worker),
        ({**WORKER, "nmae": 1}, load_evaluator),
    ],
)
def test_a_misspelt_key_of_the_right_file_is_named_as_ever(
    tmp_path: Path, content: dict[str, Any], load: Callable[[Path], Any]
) -> None:
    for name in ("ca.pem", "me.pem", "me.key", "genesis.json", "members.yaml"):
        (tmp_path / name).touch()
    (path := tmp_path / "given.yaml").write_text(yaml.safe_dump(content))
    with pytest.raises(ConfigError, match=r"given.yaml:\d+: \w+: unknown key; did you mean"):
        load(path)


def test_keys_that_tell_are_keys_of_that_file_and_of_none_below() -> None:
    later = dict(TELLING)
    for process in TELLING:
        telling = later.pop(process)
        if process not in KINDS:
            continue
        assert telling <= KINDS[process].model_fields.keys()
        for other in later.keys() & KINDS.keys():
            assert not telling & KINDS[other].model_fields.keys()


def test_each_smallest_file_is_told() -> None:
    files = {"coordinator": COORDINATOR, "operator": OPERATOR, "run": RUN, "worker": TRUSTING}
    for process, content in {**files, "state": WORKER, "genesis": GENESIS}.items():
        assert process_in(content) == process
