import math
import subprocess
import sys
from pathlib import Path

import pytest

from common.documents import Algorithm, Stop
from common.errors import ConfigError
from services.disk.data_store import DataStore
from services.observe.process_memory import available_bytes, peak_bytes, resident_bytes
from services.versions import genesis as genesis_command
from services.versions.genesis import make_genesis
from services.versions.rehearsal import rehearse
from worker.training.learner import Step, Validation

MODEL = {
    "model_type": "llama",
    "hidden_size": 16,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "intermediate_size": 32,
    "max_position_embeddings": 32,
}
GPT2 = {"model_type": "gpt2", "n_embd": 16, "n_layer": 1, "n_head": 2}


def clock(*times_s):
    return iter(times_s).__next__


def test_a_rehearsal_says_speed_memory_and_loss():
    found = rehearse(lambda: Step(2.5, 1000, 4), now_s=clock(0.0, 0.5))
    assert found is not None
    assert found.sentence.startswith("1,000 tokens at 2,000 tokens per second, with ")
    assert found.sentence.endswith("of memory, loss 2.500 nats")
    assert found.memory_bytes >= resident_bytes() / 2 > 0


def test_the_second_step_is_timed_where_a_first_only_makes_room():
    found = rehearse(lambda: Step(2.5, 100, 4), again=True, now_s=clock(0.0, 60.0, 61.0))
    assert found is not None
    assert found.seconds == 1.0


def test_a_validation_counts_as_a_step_and_a_learner_may_not_tell():
    assert rehearse(lambda: Validation(2.5, 0.1, 100)) is not None
    assert rehearse(lambda: None) is None


def fail_with(error):
    def take():
        raise error

    return take


@pytest.mark.parametrize(
    ("take", "said"),
    [
        (fail_with(RuntimeError("shapes differ")), "RuntimeError: shapes differ .*test_rehearsal"),
        (fail_with(MemoryError()), "not enough memory"),
        (fail_with(IndexError("index out of range in self")), "index out of range"),
        (fail_with(ConfigError("data.train: no files")), r"^data\.train: no files$"),
        (lambda: Step(math.nan, 1, 1), "the loss of one step is nan"),
        (lambda: Step(math.inf, 1, 1), "the loss of one step is inf"),
    ],
)
def test_whatever_a_step_raises_is_one_sentence(take, said):
    with pytest.raises(ConfigError, match=said):
        rehearse(take)


def made(folder: Path, **settings):
    return make_genesis(
        run="small",
        seed=3,
        learner="huggingface",
        settings={"model": MODEL, "sequence": 16, **settings},
        algorithm=Algorithm(),
        stop=Stop(versions=1),
        store=DataStore(folder),
    )


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"model": {**MODEL, "vocab_size": 200}}, r"settings\.model\.vocab_size"),
        ({"model": {**GPT2, "n_positions": 8}}, r"settings\.sequence: 16 .*n_positions"),
        ({"model": {**MODEL, "num_key_value_heads": 3}}, r"settings\.model: it cannot take a step"),
        ({"model": {**MODEL, "head_dim": 3}}, r"settings\.model: it cannot take a step"),
        ({"model": {**GPT2, "n_positions": 64}, "sequence": 65}, r"settings\.sequence: 65"),
        ({"batch": 0}, r"settings\.batch"),
        ({"betas": [0.9]}, r"settings\.betas"),
    ],
)
def test_a_run_whose_first_step_would_fail_is_not_pinned(tmp_path, settings, said):
    with pytest.raises(ConfigError, match=said):
        made(tmp_path, **settings)
    assert list(tmp_path.iterdir()) == []


def test_the_first_version_is_the_same_with_and_without_a_rehearsal(tmp_path, monkeypatch, caplog):
    tried = made(tmp_path / "tried")
    monkeypatch.setattr(genesis_command, "available_bytes", lambda: 1000)
    assert made(tmp_path / "not") == tried
    assert "no step was tried: 1.0 kB of memory are left here" in caplog.text
    monkeypatch.setattr(genesis_command, "available_bytes", lambda: None)
    assert made(tmp_path / "unknown") == tried


@pytest.mark.parametrize(
    ("files", "left"),
    [
        ({}, None),
        ({"meminfo": "MemTotal: 9 kB\nMemAvailable:    8 kB\n"}, 8192),
        ({"meminfo": "MemAvailable: 8 kB\n", "memory.max": "max\n", "memory.current": "5\n"}, 8192),
        ({"meminfo": "MemAvailable: 8 kB\n", "memory.max": "99\n", "memory.current": "9\n"}, 90),
        ({"memory.max": "5\n", "memory.current": "9\n"}, 0),
        (
            {
                "memory/memory.limit_in_bytes": "700\n",
                "memory/memory.usage_in_bytes": "100\n",
            },
            600,
        ),
    ],
)
def test_the_memory_that_is_left_is_the_least_of_machine_and_container(tmp_path, files, left):
    for name, content in files.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(content)
    assert available_bytes(tmp_path / "meminfo", tmp_path) == left


def test_a_peak_is_of_this_program_and_not_of_the_one_that_started_it():
    held = bytes(10_000_000)
    assert peak_bytes() >= len(held)
    bare = "from services.observe.process_memory import peak_bytes; print(peak_bytes())"
    then = f"os.execv(sys.executable, [sys.executable, '-c', {bare!r}])"
    grown = f"import os, sys; held = b'x' * 10**8; {then}"
    done = subprocess.run([sys.executable, "-c", grown], capture_output=True, check=True)
    assert 0 < int(done.stdout) < 10**8
