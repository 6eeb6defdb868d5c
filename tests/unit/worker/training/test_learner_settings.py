import math
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from common.errors import ConfigError
from worker.training.learner import LearnerContext
from worker.training.learner_settings import check_data, checked, settings_of


@pytest.mark.parametrize(
    "settings",
    [
        *({"clip": c} for c in (0, -1, math.inf, math.nan, True, "1", None, [1.0])),
        *({"batch": b} for b in (0, -1, 1.5, True, "3", None, math.inf)),
        *({"sequence": n} for n in (0, 0.5, "128")),
        *({"betas": b} for b in ([0.9], [0.9, 1], [-0.1, 0.9], 0.9, "ab", [0.9, "x"], None)),
        *({"weight_decay": w} for w in (-0.1, math.nan, "no")),
        *({"compute": c} for c in ("bf16", 32, None, "")),
        *({"tokenizer": t} for t in (5, "", None, {"a": 1})),
        *({name: 1} for name in ("batchs", "Clip", "learning_rate", "")),
    ],
)
def test_what_would_do_something_else_is_refused_by_name(settings):
    (name,) = settings
    with pytest.raises(ConfigError, match=f"settings.{name}: "):
        checked({"model": {"model_type": "llama"}, **settings})


@pytest.mark.parametrize(
    ("name", "fix"),
    [
        ("lr", "the learning rate is `algorithm: {schedule: {peak: ...}}`"),
        ("learning_rate", "the learning rate is `algorithm: {schedule: {peak: ...}}`"),
        ("model.hidden_size", "write `model: {hidden_size: ...}`"),
    ],
)
def test_where_it_belongs_is_said_of_what_is_often_written_here(name, fix):
    with pytest.raises(ConfigError, match=f"settings.{name}: unknown key; {fix}$"):
        checked({name: 1})


def test_numbers_are_taken_as_people_write_them():
    found = checked({"batch": 8.0, "sequence": 1e3, "weight_decay": 0, "clip": 1, "betas": [0, 0]})
    assert (found["batch"], found["sequence"]) == (8, 1000)
    assert (type(found["batch"]), type(found["clip"])) == (int, float)
    assert (found["weight_decay"], found["betas"]) == (0.0, [0.0, 0.0])


@pytest.mark.parametrize("name", ["byte", "Bytes", "byts", "bytess", "BYTE"])
def test_a_misspelt_bytes_is_no_id(name):
    with pytest.raises(ConfigError, match=rf"settings.tokenizer: '{name}': .*mean 'bytes'\?"):
        checked({"tokenizer": name})
    assert checked({"tokenizer": f"./{name}"})
    assert checked({"tokenizer": f"org/{name}"})


def test_the_default_tokenizer_is_the_models_own():
    assert checked({"model": {"model_type": "llama"}})["tokenizer"] == "bytes"
    assert checked({"model": "/a/folder"})["tokenizer"] == "/a/folder"
    assert checked({"model": "/a/folder", "tokenizer": "bytes"})["tokenizer"] == "bytes"


@pytest.mark.parametrize(
    ("data", "sentence"),
    [
        ({"trian": []}, "data.trian: unknown key; did you mean 'train'?"),
        ({"validation_tokens": "many"}, "data.validation_tokens: 'many': expected a whole"),
        ({"validation_tokens": -1}, "data.validation_tokens: -1"),
        ({"validation_tokens": True}, "data.validation_tokens: True"),
        ({"validation_tokens": 0.5}, "data.validation_tokens: 0.5"),
        ({"text_field": 3}, "data.text_field: 3: expected a field's name"),
        ({"text_field": None}, "data.text_field: None"),
    ],
)
def test_wrong_data_settings_are_refused_by_name(data, sentence):
    with pytest.raises(ConfigError) as caught:
        check_data(data)
    assert sentence in str(caught.value)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner),
    max_leaves=5,
)
NAMES = st.sampled_from(
    ["tokenizer", "batch", "sequence", "betas", "weight_decay", "clip", "compute", "x"]
)


@given(st.dictionaries(NAMES, JSON))
def test_whatever_stands_there_is_refused_with_a_sentence_or_in_range(settings):
    try:
        found = checked({"model": {"model_type": "llama"}, **settings})
    except ConfigError:
        return
    assert found["batch"] >= 1
    assert found["sequence"] >= 1
    assert found["clip"] > 0
    assert found["weight_decay"] >= 0
    assert all(0 <= b < 1 for b in found["betas"])
    assert math.isfinite(found["clip"] + found["weight_decay"])


def test_folders_of_model_and_tokenizer_are_beside_the_file_that_names_them(tmp_path, monkeypatch):
    (tmp_path / "site" / "model").mkdir(parents=True)
    (tmp_path / "here" / "only").mkdir(parents=True)
    monkeypatch.chdir(tmp_path / "here")

    def found(**settings):
        folders = {"settings": str(tmp_path / "site")}
        return settings_of(LearnerContext(settings, None, 0, "genesis", folders=folders))

    beside = str(tmp_path / "site" / "model")
    monkeypatch.setenv("HOME", str(tmp_path / "site"))
    for name in ("./model", "../site/../site/model", "~/model", beside):
        assert found(model=name)["model"] == found(model=name)["tokenizer"]
        assert Path(found(model=name)["model"]).samefile(beside)
        assert Path(found(model=name)["model"]).is_absolute()
    ids = {"model": "org/model", "tokenizer": "bytes"}
    assert found(**ids).items() >= ids.items()
    for name in ("only", "./absent", "../model"):
        with pytest.raises(ConfigError) as refused:
            found(model={"model_type": "llama"}, tokenizer=name)
        sentence = f"settings.tokenizer: {name!r} cannot be loaded: there is no folder {tmp_path}"
        assert str(refused.value).startswith(sentence)
        assert "relative to the file that it stands in" in str(refused.value)
        assert ("not to the working folder" in str(refused.value)) == (name == "only")


@pytest.mark.parametrize("name", ["model", "org/model"])
def test_a_folder_whose_name_would_be_an_id_is_refused_so_that_no_process_asks_for_the_id(
    tmp_path, name
):
    (tmp_path / name).mkdir(parents=True)
    settings = {"model": {"model_type": "llama"}}
    for named, source in (({"model": name}, "model"), ({"tokenizer": name}, "tokenizer")):
        folders = {"settings": str(tmp_path)}
        context = LearnerContext({**settings, **named}, None, 0, "genesis", folders=folders)
        with pytest.raises(ConfigError, match=f"^settings.{source}: .*: write './{name}' if it"):
            settings_of(context)
