"""The real process over a real socket: with the numpy learner, and with a small torch model."""

import asyncio
import os
import signal
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from common import canonical
from common.documents import Algorithm, Genesis, Schedule, Stop, Version
from services.disk.data_store import DataStore
from services.process.exit_status import Exit
from services.versions.export import export_model
from services.versions.genesis import make_genesis
from services.wire.child import Child, ChildEndedError, spawn
from services.worker.messages import (
    TO_LINK,
    Begin,
    Budget,
    Build,
    Clock,
    Close,
    Closed,
    Failed,
    Merge,
    Merged,
    Progress,
    Quit,
    Ready,
    Release,
    Return,
    Saved,
    SaveTo,
)

MODULE = "services.worker.trainer_process"
ALGORITHM = Algorithm(local_steps=2, schedule=Schedule(peak=0.01, warmup_steps=2))
TORCH_MODEL = {
    "model_type": "gpt2",
    "n_embd": 16,
    "n_layer": 1,
    "n_head": 2,
    "n_positions": 32,
}
LEARNERS: dict[str, tuple[str, dict[str, Any]]] = {
    "numpy": ("examples.own_learner:build", {"width": 8}),
    "torch": (
        "huggingface",
        {"model": TORCH_MODEL, "batch": 2, "sequence": 16},
    ),
}
MAX_STEPS = 8 * 2
"""Steps that a trainer takes before it waits: 8 * H."""

KINDS = pytest.mark.parametrize(
    "kind",
    [
        "numpy",
        pytest.param(
            "torch",
            marks=pytest.mark.long("a killed torch trainer goes on, as below; numpy goes this way"),
        ),
    ],
)
"""Of both learners; the rest that torch needs is in tests/unit/worker/training."""


class Run:
    """A run's version 0 in a folder, and a worker's text."""

    def __init__(self, folder: Path, kind: str) -> None:
        self.folder = folder
        self.store = DataStore(folder / "data")
        learner, settings = LEARNERS[kind]
        self.genesis = make_genesis(
            run="test",
            seed=1,
            learner=learner,
            settings=settings,
            algorithm=ALGORITHM,
            stop=Stop(versions=1),
            store=self.store,
        )
        (folder / "text.txt").write_text("the cat sat on the mat; " * 200)

    @property
    def version0(self) -> Version:
        return canonical.decode(self.store.read(self.genesis.version0), Version)

    def segments(self) -> tuple[str, ...]:
        return tuple(str(self.store.path(d)) for d in self.version0.theta)

    def build(self, **changes) -> Build:
        data = {"train": [str(self.folder / "text.txt")]}
        return Build(**{"genesis": self.genesis, "name": "aws", "data": data, **changes})

    def shifted_segments(self, delta: float) -> tuple[str, ...]:
        """Return segments of version 0 plus `delta` everywhere."""
        moved = [
            np.frombuffer(self.store.read(d), "<f4") + np.float32(delta)
            for d in self.version0.theta
        ]
        return tuple(str(self.store.path(self.store.write(m.tobytes()))) for m in moved)


@pytest.fixture
def run(kind, tmp_path):
    return Run(tmp_path, kind)


@pytest.fixture
def numpy_run(tmp_path):
    return Run(tmp_path, "numpy")


async def started(run: Run, resume: str = "", clock: Clock | None = None, **changes) -> Child:
    child = await spawn(MODULE, receives=TO_LINK)
    await child.send(run.build(**changes))
    ready = await child.receive()
    assert isinstance(ready, Ready)
    assert ready.schema_hash == run.genesis.schema.hash
    assert "1 file, 1 document, 4,801 tokens" in ready.remarks[0]
    await child.send(Begin(clock or Clock(0, 0.0, 0.0), run.segments(), resume))
    return child


async def until(child: Child, kind: type, accept=lambda message: True):
    """Return the next message of `kind` that `accept` accepts; no other answer may come before."""
    while True:
        message = await child.receive()
        if isinstance(message, kind) and accept(message):
            return message
        assert isinstance(message, Progress), message


async def waiting(child: Child) -> Progress:
    """Return the report of a trainer that has done all that it may."""
    return await until(child, Progress, lambda p: p.steps >= MAX_STEPS)


def theta(folder: Path) -> np.ndarray:
    return np.fromfile(folder / "theta.f32", "<f4")


@KINDS
async def test_it_trains_until_it_is_eight_rounds_ahead_and_then_waits(run):
    child = await started(run)

    progress = await waiting(child)

    assert (progress.steps, progress.pending.steps) == (MAX_STEPS, MAX_STEPS)
    assert progress.tokens == progress.pending.tokens > 0
    assert progress.speed > 0
    assert progress.resident_bytes > 2**20
    await child.send(Quit())
    assert await child.wait() == 0
    await child.end()


@KINDS
async def test_a_round_from_close_to_merge_keeps_the_work_done_since(run, tmp_path):
    child = await started(run)
    await waiting(child)
    await child.send(Close("r", str(tmp_path / "stage")))
    closed = await until(child, Closed)
    assert (closed.round, closed.numbers.steps, closed.finite) == ("r", MAX_STEPS, True)
    assert closed.numbers.age_256 == 0
    assert 1.0 < closed.loss_2_20 / 2**20 < 6.0

    stage = str(tmp_path / "stage" / "theta.f32")
    head = run.shifted_segments(0.5)
    await child.send(Merge(Clock(1, 0.5, 16.0), head, (stage,), "r", "contributed"))
    assert await until(child, Merged) == Merged(1)
    await waiting(child)
    await child.send(SaveTo(str(tmp_path / "save")))
    assert await until(child, Saved) == Saved(str(tmp_path / "save"), 1)
    await child.end()

    padding = run.genesis.schema.length - run.genesis.schema.parameter_values
    moved = theta(tmp_path / "save") - np.concatenate([np.fromfile(p, "<f4") for p in head])
    local = moved[:-padding]
    assert 0 < np.abs(local).max() < 0.5  # on the new base, but for the steps since
    assert not theta(tmp_path / "save")[-padding:].any()


async def test_what_a_round_took_is_known_not_to_be_pending_before_the_round_can_be_answered(
    numpy_run, tmp_path
):
    child = await started(numpy_run)
    await waiting(child)
    await child.send(Budget(local_steps=2, paused=True))
    await child.send(Close("r", str(tmp_path / "stage")))
    told = []
    while not isinstance(message := await child.receive(), Closed):
        assert isinstance(message, Progress)
        told.append(message.pending.steps)
    assert told[-1] == 0, "the link would offer what is in the round"
    await child.end()


async def test_released_work_is_pending_again(numpy_run, tmp_path):
    child = await started(numpy_run)
    await waiting(child)
    await child.send(Close("r", str(tmp_path / "stage")))
    await until(child, Closed)
    await child.send(Release("r", "free"))
    await child.send(SaveTo(str(tmp_path / "save")))
    await until(child, Saved)

    await child.send(Close("s", str(tmp_path / "stage")))
    closed = await until(child, Closed)

    assert closed.numbers.steps == MAX_STEPS
    await child.end()


@KINDS
async def test_a_trainer_that_is_rolled_back_stands_on_the_version_without_work(run, tmp_path):
    child = await started(run)
    await waiting(child)
    await child.send(Budget(local_steps=2, paused=True))
    await child.send(Close("r", str(tmp_path / "stage")))
    await until(child, Closed)

    head = run.shifted_segments(0.5)
    await child.send(Return(Clock(7, 0.5, 16.0), head))
    told = await until(child, Progress, lambda p: p.pending.steps == 0)
    assert told.steps == MAX_STEPS
    assert await until(child, Merged) == Merged(7)
    await child.send(SaveTo(str(tmp_path / "save")))
    await until(child, Saved)
    padding = run.genesis.schema.length - run.genesis.schema.parameter_values
    expected = np.concatenate([np.fromfile(p, "<f4") for p in head])
    np.testing.assert_array_equal(theta(tmp_path / "save")[:-padding], expected[:-padding])
    await child.end()


async def test_a_paused_trainer_answers_and_does_not_train(numpy_run, tmp_path):
    child = await started(numpy_run)
    await child.send(Budget(local_steps=10**6, paused=True))
    await child.send(SaveTo(str(tmp_path / "one")))
    await until(child, Saved)
    await child.send(SaveTo(str(tmp_path / "two")))
    await until(child, Saved)
    assert np.array_equal(theta(tmp_path / "one"), theta(tmp_path / "two"))

    await child.send(Budget(local_steps=2, paused=False))
    await waiting(child)
    await child.end()


@pytest.mark.parametrize("kind", LEARNERS)
async def test_a_killed_trainer_goes_on_from_its_save_bit_for_bit(run, tmp_path):
    one = await started(run, order=1)
    await waiting(one)
    await one.send(SaveTo(str(tmp_path / "save")))
    await until(one, Saved)
    await one.send(Budget(local_steps=4, paused=False))
    await until(one, Progress, lambda p: p.steps == 2 * MAX_STEPS)
    await one.send(SaveTo(str(tmp_path / "one")))
    await until(one, Saved)
    os.kill(one.pid, signal.SIGKILL)
    with pytest.raises(ChildEndedError, match="SIGKILL"):
        await until(one, Failed)
    await one.end()

    two = await started(run, resume=str(tmp_path / "save"), order=2)
    await two.send(Budget(local_steps=4, paused=False))
    again = await until(two, Progress, lambda p: p.pending.steps == 2 * MAX_STEPS)
    await two.send(SaveTo(str(tmp_path / "two")))
    await until(two, Saved)
    await two.end()

    assert again.steps == MAX_STEPS
    assert np.array_equal(theta(tmp_path / "one"), theta(tmp_path / "two"))


@KINDS
async def test_a_trainer_without_its_state_makes_another_update_from_the_same_version(
    run, tmp_path
):
    """Of two sums, one with the update and one with it and one more, the difference tells it."""
    updates = []
    for begun, order in enumerate((1, 1, 2)):
        child = await started(run, order=order)
        await waiting(child)
        await child.send(SaveTo(str(tmp_path / str(begun))))
        await until(child, Saved)
        await child.end()
        base = np.concatenate([np.fromfile(p, "<f4") for p in run.segments()])
        updates.append(theta(tmp_path / str(begun)) - base)

    same, again, anew = updates
    assert np.array_equal(same, again)
    assert not np.array_equal(same, anew)


async def test_it_ends_when_the_link_is_gone(numpy_run):
    child = await started(numpy_run)

    assert await child.end(grace_s=60.0) == 0


async def test_ctrl_c_is_the_links_affair(numpy_run):
    child = await started(numpy_run)
    os.kill(child.pid, signal.SIGINT)

    assert (await waiting(child)).steps == MAX_STEPS
    assert os.getsid(child.pid) == child.pid
    await child.end()


async def test_the_pace_has_a_limit_that_messages_do_not_wait_for(numpy_run, tmp_path):
    child = await started(numpy_run, max_steps_per_s=0.001)
    await child.send(SaveTo(str(tmp_path / "save")))

    async with asyncio.timeout(60):
        await until(child, Saved)
    await child.send(Close("r", str(tmp_path / "stage")))
    assert (await until(child, Closed)).numbers.steps <= 1
    await child.end()


async def test_a_learner_that_cannot_be_built_is_explained(numpy_run):
    child = await spawn(MODULE, receives=TO_LINK)
    await child.send(numpy_run.build(data={"train": ["/absent/file.txt"]}))

    failed = await until(child, Failed)

    assert "/absent/file.txt" in failed.sentence
    assert failed.by_settings
    assert await child.wait() == Exit.SETTINGS
    await child.end()


async def test_a_message_that_is_not_due_ends_it_with_a_sentence(numpy_run):
    child = await started(numpy_run)
    await child.send(numpy_run.build())

    assert "Build came while training" in (await until(child, Failed)).sentence
    await child.end()


async def test_a_damaged_save_is_explained(numpy_run, tmp_path):
    child = await started(numpy_run, resume=str(tmp_path / "absent"))

    assert "move the whole state_dir that it lies in away" in (await until(child, Failed)).sentence
    await child.end()


@pytest.mark.parametrize("kind", LEARNERS)
def test_version_0_exports_to_a_folder_that_its_users_load(run, tmp_path):
    export_model(run.genesis, run.genesis.version0, run.store, tmp_path / "model")

    theta0 = np.concatenate([np.fromfile(p, "<f4") for p in run.segments()])
    if run.genesis.learner == LEARNERS["torch"][0]:
        from transformers import AutoModelForCausalLM

        model = AutoModelForCausalLM.from_pretrained(tmp_path / "model")
        found = [p.detach().numpy().ravel() for p in model.parameters()]
    else:
        from safetensors.numpy import load_file

        tensors = load_file(tmp_path / "model" / "model.safetensors")
        found = [tensors[t.name].ravel() for t in run.genesis.schema.parameters]
    values = np.concatenate(found)
    assert np.array_equal(values, theta0[: len(values)])


def test_the_same_seed_makes_the_same_genesis(tmp_path):
    def genesis(name) -> Genesis:
        (tmp_path / name).mkdir()
        return Run(tmp_path / name, "numpy").genesis

    assert genesis("a") == genesis("b")


async def test_its_own_files_are_relative_to_the_settings_file(numpy_run):
    folders = {"data": str(numpy_run.folder)}
    child = await started(numpy_run, data={"train": ["text.txt"]}, folders=folders)
    await waiting(child)
    await child.end()
