"""What is wrong outside ends a command with one line that names it, and status 2: no traceback."""

import socket
import subprocess
import sys
from typing import Any

import pytest
import yaml

from commands.app import run as main
from commands.demo.layout import COORDINATOR, FederationSpec, Layout, WorkerSpec

INIT = ("certs", "init", "--run", "demo", "--worker", "aws", "--worker", "gcp", "--worker", "azure")
MODEL = {
    "model_type": "llama",
    "hidden_size": 16,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "intermediate_size": 32,
}
GPT2 = {"model_type": "gpt2", "n_embd": 16, "n_layer": 1, "n_head": 2}


@pytest.fixture
def refused(monkeypatch, capsys, tmp_path):
    """Return a function that runs a command and returns its one line."""
    monkeypatch.chdir(tmp_path)

    def run(*arguments: object) -> str:
        monkeypatch.setattr(sys, "argv", ["crosscloud", *map(str, arguments)])
        with pytest.raises(SystemExit) as ended:
            main()
        said = capsys.readouterr()
        lines = [n for n in said.err.splitlines() if n.startswith("crosscloud: ")]
        assert ended.value.code == 2, said
        assert len(lines) == 1, said
        assert "Traceback" not in said.err
        return lines[0]

    return run


@pytest.mark.parametrize("below", ["file", "/proc/nowhere", "loop"])
@pytest.mark.parametrize(
    ("command", "option"),
    [
        (lambda f: (*INIT, "--host", "localhost", f), "FOLDER"),
        (lambda f: ("certs", "request", "--run", "r", "--name", "a", "--role", "worker", f), "FOL"),
        (lambda f: ("demo", "--runs", f), "--runs"),
        (lambda f: ("genesis", "-c", "run.yaml", "--out", f), "--out"),
    ],
)
def test_a_folder_that_cannot_be_written_in(refused, tmp_path, command, option, below):
    (tmp_path / "file").write_text("")
    (tmp_path / "loop").symlink_to("loop")
    (tmp_path / "run.yaml").write_text("name: r\nstop: {versions: 1}\nsettings: {}\n")
    assert option in refused(*command(tmp_path / below))


def test_a_host_with_an_umlaut_and_a_role_that_is_none(refused, tmp_path):
    assert "xn--" in refused(*INIT, "--host", "bücher.example.org", tmp_path / "certs")
    assert "give one of" in refused(
        "certs", "request", "--run", "r", "--name", "a", "--role", "boss", tmp_path / "certs"
    )


def test_who_is_asked_for_and_left_out_of_the_list_is_said(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(
        sys, "argv", ["crosscloud", *INIT, "--host", "localhost", str(tmp_path / "certs")]
    )
    for _ in range(2):
        with pytest.raises(SystemExit):
            main()
    assert "is complete" in capsys.readouterr().out
    members = tmp_path / "certs" / "members.yaml"
    members.write_text("".join(n for n in members.read_text().splitlines(True) if "gcp" not in n))
    with pytest.raises(SystemExit):
        main()
    said = capsys.readouterr().out
    assert "members.yaml: gcp; a name that holds a certificate is not listed again" in said
    assert "is complete" not in said


def test_a_demo_over_something_else(refused, tmp_path):
    (tmp_path / "runs" / "demo").mkdir(parents=True)
    (tmp_path / "runs" / "demo" / "run.yaml").write_bytes(b"\xff\xfe")
    assert "was not made by a demo" in refused("demo")


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"model": {**GPT2, "n_positions": 8}}, "positions for 8 (n_positions)"),
        ({"model": {**MODEL, "max_position_embeddings": 8}, "sequence": 9}, "settings.sequence: 9"),
        ({"model": {**GPT2, "n_head": 3}}, "settings"),
        ({"model": {"model_type": "t5"}}, "settings.model.model_type"),
        ({"model": {**MODEL, "hidden_act": "none such"}}, "settings.model: no model"),
        ({"model": MODEL, "tokenizer": "absent"}, "settings.tokenizer: 'absent'"),
        ({"model": "absent"}, "settings.model: 'absent'"),
        ({"model": MODEL, "sequence": 0}, "settings.sequence"),
    ],
)
def test_a_genesis_of_a_model_that_cannot_be(refused, tmp_path, settings, said, monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    run = {"name": "r", "stop": {"versions": 1}, "settings": settings}
    (tmp_path / "run.yaml").write_text(yaml.safe_dump(run))
    assert said in refused("genesis", "-c", "run.yaml", "--out", "out")
    assert not (tmp_path / "out" / "genesis.json").exists()


@pytest.mark.parametrize(
    ("program", "said"),
    [
        ("import nowhere_to_be_found", "needs the module 'nowhere_to_be_found'"),
        ("def build(:", "cannot be imported"),
        ("from json import nothing_of_that_name", "cannot be imported"),
        ("raise RuntimeError('at import')", "RuntimeError: at import"),
        ("def build(context):\n    return {}['width']", "KeyError: 'width'"),
        ("def build(context): raise MemoryError", "not enough memory"),
    ],
)
def test_a_learner_of_one_s_own_that_fails(refused, tmp_path, program, said, monkeypatch):
    name = f"own_{abs(hash(program))}"
    (tmp_path / f"{name}.py").write_text(program)
    monkeypatch.syspath_prepend(tmp_path)
    run = {"name": "r", "stop": {"versions": 1}, "learner": f"{name}:build"}
    (tmp_path / "run.yaml").write_text(yaml.safe_dump(run))
    line = refused("genesis", "-c", "run.yaml", "--out", "out")
    assert said in line
    assert "learner" in line


def test_sums_of_two_are_pinned_with_a_warning_and_the_fix(tmp_path, monkeypatch, caplog):
    run = {
        "name": "r",
        "learner": "examples.own_learner:build",
        "algorithm": {"min_cohort": 2},
        "stop": {"versions": 1},
    }
    (tmp_path / "run.yaml").write_text(yaml.safe_dump(run))
    arguments = ("genesis", "-c", tmp_path / "run.yaml", "--out", tmp_path / "out")
    monkeypatch.setattr(sys, "argv", ["crosscloud", *map(str, arguments)])
    with pytest.raises(SystemExit, match="0"):
        main()
    (sentence,) = [r.getMessage() for r in caplog.records if "min_cohort" in r.getMessage()]
    assert "algorithm.min_cohort: 2: in a sum of 2 each honest member can compute" in sentence
    assert "set it to 3, or more" in sentence


OTHERS = pytest.mark.long("a taken `control_port` is told in the same line")


@pytest.mark.parametrize(
    "what",
    [
        "control_port",
        *(pytest.param(w, marks=OTHERS) for w in ("bulk_port", "metrics.port", "host")),
        "data_dir",
    ],
)
def test_a_coordinator_whose_place_is_taken(tmp_path, what, monkeypatch):
    text = {"a.txt": "text " * 200}
    run = {
        "learner": "examples.own_learner:build",
        "algorithm": {"tier": "tls", "min_cohort": 1},
        "stop": {"versions": 1},
    }
    spec = FederationSpec(tmp_path / "f", "test", (WorkerSpec("aws", text),), text, run)
    layout = Layout(spec)
    layout.write()
    genesis = ("genesis", "-c", layout.config("run"), "--out", layout.genesis.parent)
    monkeypatch.setattr(sys, "argv", ["crosscloud", *map(str, genesis)])
    with pytest.raises(SystemExit, match="0"):
        main()
    config = layout.config(COORDINATOR)
    settings = yaml.safe_load(config.read_text())
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        places: dict[str, dict[str, Any]] = {
            "metrics.port": {"metrics": {"host": "127.0.0.1", "port": port}},
            "host": {"host": "192.0.2.1"},
            "data_dir": {"data_dir": "/proc/nowhere"},
        }
        wrong = places.get(what, {what: port})
        config.write_text(yaml.safe_dump({**settings, **wrong}))
        done = subprocess.run(
            (sys.executable, "-m", "crosscloud", "coordinator", "-c", str(config)),
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
    *_, line = done.stderr.splitlines()
    assert "Traceback" not in done.stderr
    assert done.returncode == 2
    assert f" {'control_port' if what == 'host' else what}: " in line
