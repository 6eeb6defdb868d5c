import fcntl
import json
import os
import signal
import threading

import pytest

from commands.demo import demo
from commands.demo.demo_settings import demo_spec
from commands.demo.layout import HEADER
from common.errors import ConfigError

RESULT = {
    "versions": 31,
    "loss_nats": 2.1034,
    "perplexity": 8.194,
    "accuracy": 0.4171,
    "seconds": 100.2,
    "bytes_up": 25_000_000,
    "bytes_down": 35_000_000,
    "bytes_float32_fedavg": 100_000_000,
    "workers": {
        "aws": {
            "contributions": 12,
            "tokens": 1,
            "steps": 700,
            "staleness_mean": 0.6,
            "idle_share": 0.012,
        }
    },
}


@pytest.fixture
def folder(tmp_path):
    """A demo that has ended."""
    path = tmp_path / "demo"
    for name in ("certs", "text", "genesis", "workers", "coordinator", "evaluator", "logs"):
        (path / name).mkdir(parents=True)
    for name in ("run", "coordinator", "aws"):
        (path / f"{name}.yaml").write_text(HEADER)
    (path / "coordinator" / "result.json").write_text(json.dumps(RESULT))
    (path / "coordinator" / "metrics.jsonl").write_text("{}\n")
    (path / "genesis" / "genesis.json").write_text("{}")
    return path


def test_a_folder_of_something_else_is_refused_and_left_alone(tmp_path):
    (tmp_path / "demo").mkdir()
    (tmp_path / "demo" / "run.yaml").write_text("name: important\n")
    with pytest.raises(ConfigError, match="was not made by a demo"):
        demo.main(runs=tmp_path, name="demo", seconds=10)
    assert (tmp_path / "demo" / "run.yaml").read_text() == "name: important\n"


@pytest.mark.parametrize("name", ["../demo", "", "Demo", "a/b"])
def test_a_name_that_would_leave_the_folder_is_refused(tmp_path, name):
    with pytest.raises(ConfigError, match="name"):
        demo.main(runs=tmp_path / "runs", name=name, seconds=10)
    assert not (tmp_path / "runs").exists()


def test_an_earlier_demo_is_replaced(folder):
    demo._clear(folder)
    assert not folder.exists()


def test_two_demos_of_one_name_never_run_together(folder):
    with (folder.parent / ".demo.lock").open("w") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        with pytest.raises(ConfigError, match=r"runs in .* already"):
            demo.main(runs=folder.parent, name="demo", seconds=10)
    assert (folder / "run.yaml").exists()


def test_what_the_run_made_stays_and_what_only_the_processes_needed_goes(folder):
    demo._collect(folder, keep=False)
    left = {p.name for p in folder.iterdir()}
    assert left == {"logs", "run.yaml", "result.json", "metrics.jsonl", "genesis.json"}


def test_keep_leaves_everything(folder):
    before = {p.name for p in folder.iterdir()}
    demo._collect(folder, keep=True)
    assert {p.name for p in folder.iterdir()} == before | {
        "result.json",
        "metrics.jsonl",
        "genesis.json",
    }


def test_the_summary_says_the_numbers_and_where_the_files_are(folder):
    demo._collect(folder, keep=False)
    text = "\n".join(demo._summary(folder))
    assert "31 versions in 100 s" in text
    assert "validation loss 2.103 nats, perplexity 8.19, accuracy 41.7%" in text
    assert "moved 60.0 MB  float32 FedAvg 100.0 MB  saved 40%" in text
    assert "12 contributions, 700 steps, staleness 0.6, idle 1.2%" in text
    for name in ("model", "result.json", "metrics.jsonl", "report.html"):
        assert str(folder / name) in text


def test_a_run_that_was_never_measured_is_summed_up_without_a_loss(folder):
    result = {**RESULT, "loss_nats": None, "perplexity": None, "accuracy": None}
    (folder / "result.json").write_text(json.dumps(result))
    assert not [line for line in demo._summary(folder) if "loss" in line]


def test_signals_only_set_the_event_and_are_given_back():
    before = signal.getsignal(signal.SIGTERM)
    event = threading.Event()
    with demo._signals_set(event):
        os.kill(os.getpid(), signal.SIGTERM)
        assert event.wait(10)
    assert signal.getsignal(signal.SIGTERM) is before


def test_the_demo_is_four_clouds_with_different_text_and_one_slow(tmp_path):
    spec = demo_spec(tmp_path / "demo", 90)
    assert [w.name for w in spec.workers] == ["aws", "gcp", "azure", "onprem"]
    assert [w.slowdown for w in spec.workers] == [1, 1, 1, 3]
    texts = [set(w.texts) for w in spec.workers]
    assert all(texts)
    assert len(set.union(*texts, set(spec.validation))) == sum(map(len, texts)) + len(
        spec.validation
    )
    assert spec.run["stop"] == {"hours": 90 / 3600}


@pytest.mark.parametrize("is_kept", [True, False])
def test_a_demo_outlives_its_terminal_where_it_was_started_to(is_kept):
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN if is_kept else signal.SIG_DFL)
    told = threading.Event()
    try:
        with demo._signals_set(told):
            signal.raise_signal(signal.SIGHUP)
        assert told.is_set() is not is_kept
    finally:
        signal.signal(signal.SIGHUP, before)
