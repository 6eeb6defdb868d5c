import json

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from tokenizers import Tokenizer, models, pre_tokenizers
from torch.utils._python_dispatch import TorchDispatchMode
from transformers import AutoModelForCausalLM, AutoTokenizer, PreTrainedTokenizerFast

from common.errors import ConfigError
from worker.training import huggingface
from worker.training.huggingface import build, outline
from worker.training.learner import PINNING, LearnerContext
from worker.training.model import schema_of

MODEL = {
    "model_type": "llama",
    "hidden_size": 16,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "intermediate_size": 32,
    "max_position_embeddings": 32,
    "tie_word_embeddings": True,
}
SETTINGS = {"model": MODEL, "batch": 4, "sequence": 16}


@pytest.fixture
def data(tmp_path):
    (tmp_path / "text.txt").write_text("def f(x):\n    return x + 1\n" * 100)
    return {
        "train": [str(tmp_path / "text.txt")],
        "validation": [str(tmp_path / "text.txt")],
        "validation_tokens": 512,
    }


def learner_with(data=None, *, seed=0, name="aws", device="cpu", **settings):
    return build(LearnerContext({**SETTINGS, **settings}, data, seed, name, device))


def parameters(learner):
    return {n: p.detach().clone() for n, p in learner.parameters().items()}


def equal(a, b):
    return all(torch.equal(a[n], b[n]) for n in a)


def test_initial_parameters_follow_the_seed_and_nothing_else():
    torch.manual_seed(99)
    first = parameters(learner_with(seed=3, name="aws"))
    torch.manual_seed(5)
    second = parameters(learner_with(seed=3, name="gcp"))

    assert equal(first, second)
    assert not equal(first, parameters(learner_with(seed=4)))


def test_tied_weights_stand_once_and_all_is_float32():
    names = [t.name for t in schema_of(learner_with()).parameters]

    assert "model.embed_tokens.weight" in names
    assert "lm_head.weight" not in names


def test_training_lowers_the_validation_loss(data):
    learner = learner_with(data)
    before = learner.evaluate()
    steps = [learner.train(1e-2) for _ in range(40)]
    after = learner.evaluate()

    assert before.loss == pytest.approx(np.log(256), abs=0.2)
    assert after.loss < before.loss - 1.5
    assert after.accuracy > before.accuracy
    assert (before.tokens, steps[0].tokens, steps[0].samples) == (512, 64, 4)


def test_evaluation_changes_nothing(data):
    one, two = learner_with(data), learner_with(data)
    one.train(1e-2)
    two.train(1e-2)

    assert one.evaluate() == one.evaluate()
    assert one.train(1e-2) == two.train(1e-2)


def test_a_restored_learner_goes_on_bit_for_bit(data):
    one, two = learner_with(data), learner_with(data)
    for _ in range(3):
        one.train(1e-2)
    two.load_state({n: np.array(a) for n, a in one.state().items()})
    with torch.no_grad():
        for name, parameter in two.parameters().items():
            parameter.copy_(one.parameters()[name])

    assert [one.train(1e-2).loss for _ in range(3)] == [two.train(1e-2).loss for _ in range(3)]
    assert equal(parameters(one), parameters(two))


def test_the_state_is_plain_arrays_and_no_copy_of_the_moments(data):
    learner = learner_with(data)
    learner.train(1e-2)
    state = learner.state()
    moments = {n: np.array(a) for n, a in state.items() if n.startswith("adamw.exp_avg")}
    learner.train(1e-2)

    assert moments
    assert not any(a.dtype.hasobject for a in state.values())
    assert not any(np.array_equal(before, state[n]) for n, before in moments.items())


def test_bfloat16_is_for_computing_only(data):
    learner = learner_with(data, compute="bfloat16")
    exact = learner_with(data)

    assert learner.train(1e-2).loss == pytest.approx(exact.train(1e-2).loss, abs=0.05)
    assert {p.dtype for p in learner.parameters().values()} == {torch.float32}


def test_matrices_are_decayed_and_vectors_are_not(data):
    # with a gradient clipped to nothing, decay is all that a step does
    learner = learner_with(data, weight_decay=0.5, clip=1e-12)
    before = parameters(learner)
    learner.train(0.1)

    for name, after in parameters(learner).items():
        kept = 0.95 if after.dim() >= 2 else 1.0
        assert torch.allclose(after, before[name] * kept, atol=1e-4), name


def test_the_exported_folder_loads_with_the_auto_classes(data, tmp_path):
    learner = learner_with(data)
    learner.train(1e-2)
    learner.export(tmp_path / "model")

    model = AutoModelForCausalLM.from_pretrained(tmp_path / "model")
    tokenizer = AutoTokenizer.from_pretrained(tmp_path / "model")

    found = dict(model.named_parameters())
    assert equal(parameters(learner), {n: p.detach() for n, p in found.items()})
    assert tokenizer.decode(tokenizer("x = 'ä'")["input_ids"]) == "x = 'ä'"


def test_a_model_folder_gives_the_initial_weights(tmp_path):
    made = learner_with(seed=1)
    made.export(tmp_path)

    assert equal(parameters(made), parameters(learner_with(seed=2, model=str(tmp_path))))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"model": None}, "model_type"),
        ({"model": {"model_type": "no_such_type"}}, "no_such_type"),
        ({"model": "/absent/folder"}, "give a local folder"),
        ({"batches": 3}, "settings.batches: unknown key; did you mean 'batch'"),
        ({"batch": "3"}, "settings.batch: '3': expected a whole number"),
        ({"compute": "float16"}, "settings.compute: 'float16': expected float32 or bfloat16"),
        ({"tokenizer": "/absent/folder"}, "tokenizer"),
    ],
)
def test_wrong_settings_are_refused_by_name(settings, message):
    with pytest.raises(ConfigError, match=message):
        learner_with(**settings)


def test_a_device_that_is_not_there_is_refused_with_a_fix():
    with pytest.raises(ConfigError, match="try 'cpu'"):
        learner_with(device="no_such_device")


def test_a_model_folder_is_outlined_as_it_is_built(tmp_path):
    learner_with(seed=1).export(tmp_path)
    outlined = outline({**SETTINGS, "model": str(tmp_path)})
    assert outlined == schema_of(learner_with(model=str(tmp_path)))
    with pytest.raises(ConfigError, match=r"settings\.model: '/absent/folder' cannot be loaded"):
        outline({"model": "/absent/folder"})
    (tmp_path / "config.json").write_text("{")
    with pytest.raises(ConfigError, match="cannot be loaded"):
        outline({"model": str(tmp_path)})


def test_a_model_folder_has_its_own_tokenizer(data, tmp_path):
    learner_with(seed=1).export(tmp_path / "bytes")
    own = {"model": str(tmp_path / "bytes")}
    assert learner_with(data, **own).train(0.1) == learner_with(
        data, tokenizer="bytes", **own
    ).train(0.1)

    other = Tokenizer(models.WordLevel({"def": 0, "x": 1, "?": 2}, unk_token="?"))
    other.pre_tokenizer = pre_tokenizers.Whitespace()
    made = PreTrainedTokenizerFast(tokenizer_object=other, unk_token="?")
    made.save_pretrained(tmp_path / "bytes")
    assert (
        learner_with(data, **own).evaluate().loss
        != learner_with(data, tokenizer="bytes", **own).evaluate().loss
    )

    for file in (tmp_path / "bytes").glob("tokenizer*"):
        file.unlink()
    with pytest.raises(ConfigError, match=r"tokenizer: .*bytes' cannot be loaded"):
        learner_with(data, **own)


def test_the_outline_is_the_layout_of_the_model_that_is_built():
    outlined, built = outline(SETTINGS), schema_of(learner_with())
    assert outlined.parameters == built.parameters
    assert outlined.buffers == built.buffers


# Memory of an evaluation -------------------------------------------------------------------------


class Largest(TorchDispatchMode):
    """The most values of one tensor that any operation makes."""

    def __init__(self):
        super().__init__()
        self.values = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        made = func(*args, **(kwargs or {}))
        for tensor in made if isinstance(made, tuple | list) else (made,):
            if isinstance(tensor, torch.Tensor):
                self.values = max(self.values, tensor.numel())
        return made


@pytest.mark.parametrize(("batch", "sequence"), [(1, 16), (2, 32), (40, 4)])
def test_an_evaluation_holds_no_more_at_once_than_a_step(data, batch, sequence):
    learner = learner_with(data, batch=batch, sequence=sequence, model={**MODEL, "vocab_size": 900})
    with Largest() as training:
        learner.train(0.0)
    with Largest() as evaluating:
        learner.evaluate()
    assert evaluating.values <= training.values


def test_loss_and_accuracy_do_not_follow_the_slices(data, monkeypatch):
    learner = learner_with(data)
    whole = learner.evaluate()
    monkeypatch.setattr(huggingface, "_SLICE_BYTES", 4 * 256 * 3)
    sliced = learner.evaluate()
    assert sliced.loss == pytest.approx(whole.loss, rel=1e-6)
    assert (sliced.accuracy, sliced.tokens) == (whole.accuracy, whole.tokens)


# One step before a run is pinned -----------------------------------------------------------------

GPT2 = {"model_type": "gpt2", "n_embd": 16, "n_layer": 1, "n_head": 2, "n_positions": 16}


def test_a_rehearsal_steps_without_data_and_changes_nothing(data):
    learner = learner_with(model={**GPT2, "embd_pdrop": 0.0})
    before = parameters(learner)
    step = learner.rehearse()
    assert (step.tokens, step.samples) == (16, 1)
    assert step.loss == pytest.approx(np.log(256), abs=0.5)
    assert equal(before, parameters(learner))
    assert all(p.grad is None for p in learner.parameters().values())


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"model": {**GPT2, "n_positions": 8}}, "positions for 8 (n_positions)"),
        ({"model": {**MODEL, "rms_norm_eps": -10.0}}, "the loss of one window is nan"),
        ({"model": {**GPT2, "n_positions": 16}, "sequence": 17}, "settings.sequence: 17"),
    ],
)
def test_a_model_that_cannot_take_a_step_is_refused_before_it_is_pinned(settings, said):
    with pytest.raises(ConfigError, match=r"^settings") as caught:
        learner_with(name=PINNING, **settings).rehearse()
    assert said in str(caught.value)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"model": {**MODEL, "vocab_size": 255}}, r"settings\.model\.vocab_size: 255.* 256 tokens"),
        ({"batch": 0}, r"settings\.batch: 0: expected"),
        ({"batch": True}, r"settings\.batch: True: expected"),
        ({"sequence": -1}, r"settings\.sequence"),
        ({"betas": [0.9]}, r"settings\.betas: \[0\.9\]: expected two numbers"),
        ({"betas": [0.9, 1.0]}, r"settings\.betas"),
        ({"betas": [0.9, "0.95"]}, r"settings\.betas"),
        ({"betas": [0.9, 0.95, 0.99]}, r"settings\.betas"),
        ({"weight_decay": -0.1}, r"settings\.weight_decay"),
        ({"model": {**MODEL, "hidden_act": "no_such"}}, r"settings\.model: no model .*no_such"),
        ({"model": {"model_type": "t5"}}, r"settings\.model\.model_type: "),
        ({"model": {**MODEL, "num_attention_heads": 0}}, r"settings\.model\.num_attention_heads"),
        ({"model": {**MODEL, "hidden_size": "wide"}}, r"settings\.model\.hidden_size"),
        ({"model": {**GPT2, "n_head": 3}}, r"settings\.model: no model can be built"),
        ({"model": {**MODEL, "initializer_range": 1e30}}, r"settings\.model: "),
    ],
)
def test_settings_that_build_no_model_are_one_sentence_with_their_path(settings, message):
    with pytest.raises(ConfigError, match=f"^{message}"):
        learner_with(**settings)


# Weights as they are out there -------------------------------------------------------------------


def cut_short(folder):
    file = folder / "model.safetensors"
    file.write_bytes(file.read_bytes()[:-100])


def pointer(folder):
    (folder / "model.safetensors").write_text(
        "version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 7\n"
    )


def configured(**changes):
    def change(folder):
        file = folder / "config.json"
        file.write_text(json.dumps({**json.loads(file.read_text()), **changes}))

    return change


@pytest.mark.parametrize(
    ("harm", "said"),
    [
        (cut_short, "cannot be loaded"),
        (pointer, "git lfs pull"),
        (lambda folder: (folder / "model.safetensors").write_bytes(b""), "cannot be loaded"),
        (lambda folder: (folder / "model.safetensors").unlink(), "the folder has no weights"),
        (lambda folder: (folder / "config.json").write_text("{"), "cannot be loaded"),
        (lambda folder: (folder / "config.json").write_text("[]"), "cannot be loaded"),
        (lambda folder: (folder / "config.json").unlink(), "cannot be loaded"),
        (configured(hidden_size=32), "have another size of"),
        (configured(num_hidden_layers=3), "lack 'model.layers.2"),
        (configured(num_hidden_layers=1), "have besides 'model.layers.1"),
        (configured(vocab_size=300), "have another size of"),
        (configured(tie_word_embeddings=False), "lack 'lm_head.weight'"),
        (configured(model_type="t5"), "cannot be loaded"),
    ],
)
def test_weights_that_cannot_be_those_of_the_model_are_refused(tmp_path, harm, said):
    learner_with(model={**MODEL, "num_hidden_layers": 2}).export(tmp_path)
    harm(tmp_path)
    with pytest.raises(ConfigError, match=r"^settings\.model: ") as caught:
        learner_with(model=str(tmp_path))
    assert said in str(caught.value)


def test_weights_of_another_head_pass(tmp_path):
    learner = learner_with()
    learner.export(tmp_path)
    tensors = load_file(tmp_path / "model.safetensors")
    tensors["vision.patches.weight"] = torch.zeros(2, 2)
    save_file(tensors, tmp_path / "model.safetensors", metadata={"format": "pt"})
    assert equal(parameters(learner), parameters(learner_with(model=str(tmp_path))))


# Dropout -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "other",
    [{"name": "gcp-eu-west-1"}, {"order": 1}, {"seed": 1}, {"name": "Aws-eu-west-1"}],
)
def test_two_workers_draw_other_dropout_however_alike_their_names_are(other):
    first = {"seed": 0, "order": 2**62, "name": "aws-eu-west-1"}

    def noise(seed, order, name):
        build(LearnerContext(SETTINGS, None, seed, name, order=order))
        return torch.rand(4)

    assert torch.equal(noise(**first), noise(**first))
    assert not torch.equal(noise(**first), noise(**{**first, **other}))


def test_what_was_read_is_remarked(data):
    assert "1 document" in learner_with(data).remarks()[0]
    assert learner_with().remarks() == []
