"""Models and tokenizers that a run names: what is taken of them, and what is left behind."""

import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
import torch
from safetensors.torch import load_file, save_file
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import AutoModelForCausalLM, PreTrainedTokenizerFast
from transformers.utils import logging

from common.errors import ConfigError
from tests.unit.worker.training.test_huggingface import MODEL, SETTINGS, learner_with
from worker.training.huggingface import outline
from worker.training.model import schema_of
from worker.training.tokenizer import load_tokenizer


def exported(folder):
    learner_with().export(folder)
    return folder


def in_config(folder, **values):
    path = folder / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **values}))
    return str(folder)


def test_a_model_with_code_of_its_own_is_refused_and_nobody_is_asked(tmp_path, capsys):
    auto_map = {"AutoConfig": "own.Config", "AutoModelForCausalLM": "own.Model"}
    name = in_config(exported(tmp_path), model_type="own", auto_map=auto_map)
    (tmp_path / "own.py").write_text("raise SystemExit('it ran')")
    for build_it in (learner_with, lambda model: outline({**SETTINGS, "model": model})):
        with pytest.raises(ConfigError, match=r"settings\.model: .* code of its own"):
            build_it(model=name)
    assert "[y/N]" not in capsys.readouterr().out


@pytest.mark.parametrize("method", ["fp8", "bitsandbytes", "gptq", "mxfp4", "no such"])
def test_quantised_weights_are_refused_with_what_to_name_instead(tmp_path, method):
    name = in_config(exported(tmp_path), quantization_config={"quant_method": method})
    for build_it in (learner_with, lambda model: outline({**SETTINGS, "model": model})):
        with pytest.raises(
            ConfigError, match=rf"quantised for inference \({method}\), which cannot"
        ):
            build_it(model=name)


@pytest.mark.parametrize("dtype", [torch.int8, torch.float8_e4m3fn, torch.int32])
@pytest.mark.parametrize("prefix", ["", "model."])
def test_weights_that_are_no_floats_are_refused_whatever_the_configuration_says(
    tmp_path, dtype, prefix
):
    weights = exported(tmp_path) / "model.safetensors"
    tensors = {n.removeprefix(prefix): t for n, t in load_file(weights).items()}
    name = next(n for n in tensors if "q_proj" in n)
    save_file({**tensors, name: tensors[name].to(dtype)}, weights, {"format": "pt"})
    with pytest.raises(ConfigError, match=rf"settings\.model: .* holds {name} as .*quantised"):
        learner_with(model=str(tmp_path))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_weights_of_fewer_or_more_bits_are_taken(tmp_path, dtype):
    weights = exported(tmp_path) / "model.safetensors"
    tensors = {n: t.to(dtype) for n, t in load_file(weights).items()}
    save_file(tensors, weights, {"format": "pt"})
    assert learner_with(model=str(tmp_path)).parameters()


def test_a_configuration_without_weights_says_what_random_ones_take_and_may_be_planned_with(
    tmp_path,
):
    (exported(tmp_path) / "model.safetensors").unlink()
    with pytest.raises(ConfigError, match=r"the folder has no weights.*under settings\.model$"):
        learner_with(model=str(tmp_path))
    assert outline({**SETTINGS, "model": str(tmp_path)}).parameters


@pytest.mark.parametrize("alone", [True, False])
def test_an_adapter_is_no_model_and_is_not_passed_over(tmp_path, alone):
    exported(tmp_path)
    (tmp_path / "adapter_config.json").write_text('{"peft_type": "LORA"}')
    if alone:
        (tmp_path / "config.json").unlink()
        (tmp_path / "model.safetensors").unlink()
    for build_it in (learner_with, lambda model: outline({**SETTINGS, "model": model})):
        with pytest.raises(ConfigError, match=r"settings\.model: .* holds an adapter .*: merge"):
            build_it(model=str(tmp_path))


@pytest.mark.parametrize("alone", [True, False])
def test_so_is_the_adapter_of_an_id_in_the_cache(tmp_path, alone, monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    kept = tmp_path / "models--org--m"
    (kept / "refs").mkdir(parents=True)
    (kept / "refs" / "main").write_text("c0ffee")
    snapshot = kept / "snapshots" / "c0ffee"
    snapshot.mkdir(parents=True)
    if not alone:
        exported(snapshot)
        learner_with(model="org/m", tokenizer="bytes")
    (snapshot / "adapter_config.json").write_text('{"peft_type": "LORA"}')
    for build_it in (learner_with, lambda **given: outline({**SETTINGS, **given})):
        with pytest.raises(ConfigError, match=r"settings\.model: 'org/m' holds an adapter .*: me"):
            build_it(model="org/m", tokenizer="bytes")


def test_a_model_that_says_how_it_generates_in_a_way_that_contradicts_itself_is_exported(tmp_path):
    exported(tmp_path / "one")
    said = {"do_sample": False, "temperature": 0.6, "top_p": 0.9}
    (tmp_path / "one" / "generation_config.json").write_text(json.dumps(said))
    learner_with(model=str(tmp_path / "one")).export(tmp_path / "two")
    assert AutoModelForCausalLM.from_pretrained(tmp_path / "two").config.hidden_size == 16


def test_a_tokenizer_of_the_same_size_that_says_other_things_is_another_model(tmp_path):
    schemas = []
    for order in (("a", "b"), ("b", "a")):
        vocabulary = {w: i for i, w in enumerate(("<unk>", "</s>", *order))}
        made = Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>"))
        made.pre_tokenizer = pre_tokenizers.Whitespace()
        kept = PreTrainedTokenizerFast(tokenizer_object=made, unk_token="<unk>", eos_token="</s>")
        kept.save_pretrained(tmp_path)
        settings = {"model": {**MODEL, "vocab_size": 4}, "tokenizer": str(tmp_path)}
        schemas.append(schema_of(learner_with(**settings)))
        assert [*schemas[-1].constants] == ["settings.tokenizer"], "runs have pinned it so"
    assert schemas[0].hash != schemas[1].hash
    assert schemas[0].parameters == schemas[1].parameters
    assert not schema_of(learner_with()).constants  # of bytes there is but one


def test_the_library_draws_no_bars_of_its_own(tmp_path, capfd):
    exported(tmp_path)
    learner_with(model=str(tmp_path))
    said = capfd.readouterr()
    assert not said.err
    assert not said.out
    assert logging.is_progress_bar_enabled()  # as before, for whoever else uses it here


@pytest.fixture
def hub_out_of_order(monkeypatch):
    """Stand in the hub's place, answer everything with 503, and yield what was asked."""
    asked = []

    class Answer(BaseHTTPRequestHandler):
        def do_HEAD(self):
            asked.append(self.path)
            self.send_response(503)
            self.end_headers()

        do_GET = do_HEAD  # noqa: N815 - the library's name

        def log_message(self, *_):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Answer)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    address = f"http://127.0.0.1:{server.server_port}"
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)
    monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", address)
    template = "huggingface_hub.constants.HUGGINGFACE_CO_URL_TEMPLATE"
    monkeypatch.setattr(template, address + "/{repo_id}/resolve/{revision}/{filename}")
    yield asked
    server.shutdown()
    server.server_close()


def test_a_hub_that_is_away_is_asked_once_and_not_again_and_again(hub_out_of_order, caplog):
    with pytest.raises(ConfigError, match=r"settings.tokenizer: .* hub is out of order \(503\)"):
        load_tokenizer("org/thing")
    assert len(hub_out_of_order) == 1
    assert not [r for r in caplog.records if "Retry" in r.getMessage()]


def test_what_is_kept_of_it_is_loaded_while_it_is_away(hub_out_of_order, tmp_path, monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    kept = tmp_path / "models--org--m"
    (kept / "refs").mkdir(parents=True)
    (kept / "refs" / "main").write_text("c0ffee")
    (snapshot := kept / "snapshots" / "c0ffee").mkdir(parents=True)
    exported(snapshot)
    learner_with(model="org/m", tokenizer="org/m")
    asked = [*hub_out_of_order]
    assert len(asked) == len(set(asked)) + 1  # once for the model, once for the tokenizer
