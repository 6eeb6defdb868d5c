import subprocess
import sys

import numpy as np
import pytest
from safetensors.numpy import load_file

from common.errors import ConfigError
from tests.unit.worker.training.fakes import FixedLearner
from worker.training.learner import LearnerContext, load_learner, make_learner


def test_a_learner_is_found_by_module_and_function():
    from examples.own_learner import build

    assert load_learner("examples.own_learner:build") is build


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("no_colon", "nor of the form"),
        ("examples.own_learner:", "nor of the form"),
        ("no_such_package.train:build", "no_such_package"),
        ("worker.huggingface:build", "write `learner: huggingface`"),
        ("worker.training.huggingface:build", "write `learner: huggingface`"),
        ("examples.own_learner:absent", "no function 'absent'"),
        ("examples.own_learner:np", "no function 'np'"),
    ],
)
def test_a_learner_that_is_not_there_is_refused_by_name(path, message):
    with pytest.raises(ConfigError, match=message):
        load_learner(path)


@pytest.mark.parametrize(
    "path", ["worker.foo:build", "common:build", "worker.training.train:build"]
)
def test_a_learner_whose_name_is_ours_is_told_to_take_another(path):
    top = path.split(":")[0].split(".")[0]
    with pytest.raises(ConfigError, match=f"'{top}' is a package of crosscloud's own.* my_{top}"):
        load_learner(path)


def test_what_a_learner_of_ours_needs_is_named_as_ever(monkeypatch):
    def without_torch(name):
        raise ModuleNotFoundError(name="torch")

    monkeypatch.setattr("importlib.import_module", without_torch)
    with pytest.raises(ConfigError, match="needs the module 'torch'"):
        load_learner("huggingface")


@pytest.mark.parametrize(
    ("function", "message"),
    [
        ("fail", "ZeroDivisionError: it has no cats"),
        ("leave", "SystemExit: 0"),
        ("nothing", "TypeError: it gave NoneType, no crosscloud.Learner"),
    ],
)
def test_whatever_a_learners_own_code_does_is_a_sentence_that_names_it(function, message):
    context = LearnerContext({}, {}, 0, "aws")
    path = f"tests.rig.workers.blocked_learner:{function}"
    with pytest.raises(ConfigError, match=f"learner: '{path}' cannot be built: {message} "):
        make_learner(path, context)


def test_a_learner_that_refuses_its_settings_says_so_itself():
    context = LearnerContext({}, {"trian": ["x"]}, 0, "aws")
    with pytest.raises(ConfigError, match=r"^data: unknown setting 'trian'"):
        make_learner("examples.own_learner:build", context)


def test_a_module_that_fails_when_it_is_imported_is_refused_by_name(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(tmp_path)
    for name, code, said in (
        ("syntax", "def build(context:\n", "SyntaxError"),
        ("leaves", "import sys; sys.exit(0)", "SystemExit: 0"),
        ("interrupts", "raise KeyboardInterrupt", "KeyboardInterrupt"),
        ("other", "class X(BaseException): pass\nraise X('boom')", "X: boom"),
    ):
        (tmp_path / f"{name}_learner.py").write_text(code)
        with pytest.raises(ConfigError, match=f"'{name}_learner' cannot be imported: {said}"):
            load_learner(f"{name}_learner:build")


def test_own_learner_needs_neither_torch_nor_transformers():
    code = (
        "import sys; from worker.training.learner import load_learner, LearnerContext as C;"
        "load_learner('examples.own_learner:build')(C({}, None, 0, 'a'));"
        "import worker.training.model, worker.training.train, services.worker.trainer_process;"
        "sys.exit('torch' in sys.modules or 'transformers' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_export_writes_parameters_and_buffers_by_name(tmp_path):
    learner = FixedLearner(
        {"w": np.arange(6, dtype=np.float32).reshape(2, 3)}, {"mean": np.ones(2, np.float32)}
    )

    learner.export(tmp_path)

    found = load_file(tmp_path / "model.safetensors")
    assert sorted(found) == ["mean", "w"]
    assert found["w"].tolist() == [[0, 1, 2], [3, 4, 5]]
