"""A version as a folder: who may read it, and who is to blame where it cannot be written."""

import os
from dataclasses import replace
from functools import partial
from itertools import count
from pathlib import Path

import pytest

from commands.export import main
from common import canonical
from common.documents import Algorithm, Genesis, Stop
from common.errors import ConfigError, DamagedDataError
from common.ids import Digest
from examples.own_learner import TwoByteModel
from services.disk.data_store import DataStore
from services.evaluator.state import EvaluatorState
from services.versions.export import export_model
from services.versions.genesis import make_genesis
from worker.rounds.position import genesis_position

MODEL = {"model_type": "llama", "hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1}
MODEL |= {"num_attention_heads": 2, "num_key_value_heads": 2, "vocab_size": 256}


def pinned(store: DataStore, learner: str = "examples.own_learner:build") -> Genesis:
    return make_genesis(
        run="r",
        seed=1,
        learner=learner,
        settings={"width": 2},
        algorithm=Algorithm(),
        stop=Stop(versions=1),
        store=store,
    )


@pytest.mark.parametrize(("umask", "mode"), [(0o022, 0o644), (0o027, 0o640), (0o077, 0o600)])
def test_weights_of_any_learner_may_be_read_by_whoever_may_read_their_folder(
    tmp_path: Path, umask: int, mode: int
) -> None:
    store = DataStore(tmp_path / "data")
    genesis = pinned(store)
    before = os.umask(umask)
    try:
        export_model(genesis, genesis.version0, store, tmp_path / "model")
    finally:
        os.umask(before)
    assert (tmp_path / "model" / "model.safetensors").stat().st_mode & 0o777 == mode


@pytest.mark.parametrize(
    ("fault", "sentence"),
    [
        (KeyError("lm_head"), "learner: 'examples.own_learner:build' cannot be exported: KeyError"),
        (OSError(28, "No space left on device"), "--out: .* cannot be written: No space left"),
    ],
)
def test_a_fault_of_the_learner_is_not_blamed_on_the_folder_nor_the_other_way_round(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fault: Exception, sentence: str
) -> None:
    store = DataStore(tmp_path / "data")
    genesis = pinned(store)

    def fails(*_: object) -> None:
        raise fault

    monkeypatch.setattr(TwoByteModel, "export", fails)
    with pytest.raises(ConfigError, match=sentence):
        export_model(genesis, genesis.version0, store, tmp_path / "model")


def test_a_run_that_is_pinned_is_exported_whatever_would_be_refused_by_now(tmp_path: Path) -> None:
    from worker.training import huggingface

    store = DataStore(tmp_path / "data")
    settings = {"model": {**MODEL, "max_position_embeddings": 8}, "sequence": 16, "batch": 1}
    made = partial(
        make_genesis,
        run="r",
        seed=1,
        learner="huggingface",
        settings=settings,
        algorithm=Algorithm(),
        stop=Stop(versions=1),
        store=store,
    )
    with pytest.raises(ConfigError, match="positions for 8"):
        made()
    with pytest.MonkeyPatch.context() as before_it_was_refused:
        before_it_was_refused.setattr(huggingface, "refuse_longer", lambda *_: None)
        genesis = made()
    export_model(genesis, genesis.version0, store, tmp_path / "model")
    assert (tmp_path / "model" / "config.json").exists()


def test_an_export_goes_on_with_the_version_that_took_the_place_of_its_own(tmp_path: Path) -> None:
    store = DataStore(tmp_path / "data")
    genesis = pinned(store)
    gone = Digest("0" * 64)
    with pytest.raises(DamagedDataError, match="is missing"):
        export_model(genesis, gone, store, tmp_path / "model")
    with pytest.raises(DamagedDataError, match="is missing"):  # nobody moves on: it is damaged
        export_model(genesis, gone, store, tmp_path / "model", newer=lambda: gone)
    export_model(genesis, gone, store, tmp_path / "model", newer=lambda: genesis.version0)
    assert (tmp_path / "model" / "model.safetensors").exists()


def test_one_whose_versions_are_all_replaced_says_that_an_evaluator_runs(tmp_path: Path) -> None:
    store = DataStore(tmp_path / "data")
    numbers = count(1)
    with pytest.raises(DamagedDataError, match=r"an evaluator runs on .* try again, or stop it"):
        export_model(
            pinned(store),
            Digest("0" * 64),
            store,
            tmp_path / "model",
            newer=lambda: Digest(f"{next(numbers):064x}"),
        )
    assert not (tmp_path / "model").exists()


def test_the_command_says_the_version_that_it_wrote_at_last(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    state = EvaluatorState(tmp_path / "state")
    genesis = pinned(state.store)
    (tmp_path / "genesis.json").write_bytes(canonical.encode(genesis))
    (tmp_path / "x.pem").touch()
    (config := tmp_path / "evaluator.yaml").write_text(
        "{name: e, genesis: genesis.json, state_dir: state, data: {}, "
        "coordinator: {control: 'a:1', bulk: 'a:2'}, "
        "tls: {ca: x.pem, certificate: x.pem, key: x.pem}}"
    )
    newest = genesis_position(genesis)
    positions = iter((replace(newest, version=6, digest=Digest("0" * 64)), newest))
    monkeypatch.setattr(EvaluatorState, "load", lambda _: next(positions))
    assert main(config, tmp_path / "model") == 0
    assert capsys.readouterr().out == f"wrote version 0 to {tmp_path / 'model'}\n"
