import numpy as np
import pytest
import torch
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import AutoModelForCausalLM, AutoTokenizer, PreTrainedTokenizerFast

from common.errors import ConfigError
from worker.huggingface import build, outline
from worker.learner import LearnerContext
from worker.model import schema_of

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
