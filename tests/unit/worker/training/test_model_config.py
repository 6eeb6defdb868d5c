import pytest
from transformers import PretrainedConfig

from common.errors import ConfigError
from worker.training.causality import refuse_unless_causal
from worker.training.huggingface import build, outline
from worker.training.learner import LearnerContext
from worker.training.model_config import config_of

LLAMA = {
    "model_type": "llama",
    "hidden_size": 16,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "num_key_value_heads": 2,
    "intermediate_size": 32,
    "max_position_embeddings": 32,
}
BERT = {k: v for k, v in LLAMA.items() if k != "num_key_value_heads"}


def built(model, data=None):
    return build(LearnerContext({"model": model, "batch": 1, "sequence": 8}, data, 0, "genesis"))


GPT2 = {"model_type": "gpt2", "n_embd": 16, "n_layer": 1, "n_head": 2, "n_positions": 32}
MPT = {"model_type": "mpt", "d_model": 16, "n_heads": 2, "n_layers": 1, "max_seq_len": 32}


@pytest.mark.parametrize(
    ("model", "key"),
    [(LLAMA, "max_position_embeddings"), (GPT2, "n_positions"), (MPT, "max_seq_len")],
)
def test_sequences_that_are_longer_than_the_model_are_refused_before_they_are_pinned(model, key):
    assert outline({"model": model, "sequence": 32})
    sentence = rf"settings.sequence: 33 tokens, .* positions for 32 \({key}\): set it to 32 or less"
    with pytest.raises(ConfigError, match=sentence):
        outline({"model": model, "sequence": 33})
    settings = {"model": model, "sequence": 33, "batch": 1}
    with pytest.raises(ConfigError, match=sentence):
        build(LearnerContext(settings, None, 0, "genesis"))


def test_sequences_may_be_longer_than_a_sliding_window_and_where_nothing_counts_positions():
    mistral = {**LLAMA, "model_type": "mistral", "sliding_window": 8}
    assert outline({"model": mistral, "sequence": 32})
    bloom = {"model_type": "bloom", "hidden_size": 16, "n_layer": 1, "n_head": 2}
    assert outline({"model": bloom, "sequence": 4096})


@pytest.mark.parametrize(
    ("key", "value", "sentence"),
    [
        ("num_hiden_layers", 2, "such key, and its default .*: did you mean 'num_hidden_layers'"),
        ("hidden_sise", 16, "did you mean 'hidden_size'"),
        ("n_layer", 2, "a llama has no such key"),
        ("Hidden_size", 16, "did you mean 'hidden_size'"),
        ("vocab_size ", 256, "did you mean 'vocab_size'"),
        ("rms_norm_eps", "1e-6", "'1e-6': expected a number"),
        ("rms_norm_eps", True, "True: expected a number"),
        ("tie_word_embeddings", "no", "'no': expected true or false"),
        ("mlp_bias", 1, "1: expected true or false"),
        ("hidden_size", 0, "0: expected a whole number, at least 1"),
        ("num_hidden_layers", -1, "at least 1"),
        ("hidden_size", 16.5, "16.5: expected a whole number"),
        ("vocab_size", float("nan"), "expected a number"),
        ("attention_dropout", 5, "0 or above and below 1"),
        ("hidden_act", 3, "expected a word, such as 'silu'"),
    ],
)
def test_a_key_or_value_that_would_do_something_else_is_refused(key, value, sentence):
    with pytest.raises(ConfigError, match=f"^settings.model.{key}: .*{sentence}"):
        outline({"model": {**LLAMA, key: value}})


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("num_attention_heads", 3),
        ("hidden_act", "gleu"),
        ("num_key_value_heads", "x"),
        ("pad_token_id", 10**9),
        ("initializer_range", -1),
        ("rope_scaling", {"rope_type": "x"}),
        ("eos_token_id", [[[]]]),
    ],
)
def test_whatever_transformers_makes_of_a_value_is_a_sentence(key, value):
    with pytest.raises(ConfigError, match=r"^settings\.model"):
        built({**LLAMA, key: value})


@pytest.mark.parametrize(
    ("family", "sentence"),
    [
        ("lama", "did you mean 'llama'"),
        ("t5", "'t5' does not write text"),
        ("vit", "'vit' does not write text"),
        ("", "knows no such model"),
    ],
)
def test_a_family_that_writes_no_text_is_refused(family, sentence):
    with pytest.raises(ConfigError, match=f"settings.model.model_type: .*{sentence}"):
        outline({"model": {"model_type": family}})


def test_other_names_of_a_key_and_what_was_before_are_taken():
    gpt2 = {"model_type": "gpt2", "hidden_size": 16, "num_hidden_layers": 1, "n_head": 2}
    assert config_of(gpt2, {}).n_embd == 16
    config = config_of({**LLAMA, "rope_theta": 5e5, "torch_dtype": "float32"}, {"vocab_size": 7})
    assert isinstance(config, PretrainedConfig)
    assert config.vocab_size == 7
    assert config_of({**LLAMA, "vocab_size": 1e3, "rms_norm_eps": 1}, {}).vocab_size == 1000


@pytest.mark.parametrize("family", ["bert", "roberta", "electra", "roc_bert"])
def test_a_model_that_sees_the_answer_is_refused_before_it_is_pinned(family):
    with pytest.raises(ConfigError, match=f"'{family}' sees the tokens .* set is_decoder: true"):
        built({**BERT, "model_type": family})
    built({**BERT, "model_type": family, "is_decoder": True})


@pytest.mark.parametrize("family", ["xlnet", "xlm"])
def test_so_is_one_that_nothing_can_help(family):
    sizes = {"emb_dim": 16, "n_layers": 1, "n_heads": 2}
    if family == "xlnet":
        sizes = {"d_model": 16, "n_layer": 1, "n_head": 2, "d_inner": 32}
    with pytest.raises(ConfigError, match="so it would learn nothing: choose a causal family"):
        built({"model_type": family, **sizes})


def test_the_question_changes_nothing_and_a_causal_model_passes():
    model = built(LLAMA)._model
    model.train()
    before = {n: p.clone() for n, p in model.named_parameters()}
    refuse_unless_causal(model)
    assert model.training
    assert all(p.equal(before[n]) for n, p in model.named_parameters())


def test_a_model_that_cannot_take_a_step_is_a_sentence():
    with pytest.raises(ConfigError, match=r"settings\.model: it cannot take a step"):
        built({**LLAMA, "num_key_value_heads": 3})
