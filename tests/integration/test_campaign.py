import io
from dataclasses import replace
from pathlib import Path

import pytest
from rich.console import Console

from common import canonical
from common.documents import Schedule, Stop
from simulator.campaign import RunFailedError, key_of, play
from simulator.experiment import Cloud, Learned, LearningRun
from simulator.learning import learn
from tests.rig.workers.small_learner import RUN, SYNC


@pytest.fixture
def text() -> io.StringIO:
    return io.StringIO()


@pytest.fixture
def console(text: io.StringIO) -> Console:
    return Console(file=text)


def test_runs_are_played_in_other_processes_with_the_same_figures(
    tmp_path: Path, text: io.StringIO, console: Console
) -> None:
    runs = {"a": RUN, "b": replace(RUN, seed=4)}
    found = play(runs, tmp_path / "results", jobs=2, console=console)
    assert found == {name: learn(run, tmp_path / name) for name, run in runs.items()}
    assert "2/2 runs" in text.getvalue()


def test_an_interrupted_campaign_goes_on_with_what_is_missing(
    tmp_path: Path, text: io.StringIO, console: Console
) -> None:
    made = learn(RUN, tmp_path / "a")
    file = tmp_path / f"{key_of(RUN)}.json"
    file.write_bytes(canonical.encode(replace(made, loss=7.0)))  # so it is seen to be used
    before = file.stat().st_mtime_ns
    found = play({"a": RUN, "b": replace(RUN, seed=4)}, tmp_path, jobs=1, console=console)
    assert found["a"].loss == 7.0
    assert file.stat().st_mtime_ns == before
    assert "1 of 2 runs are there already" in text.getvalue()
    again = play({"b": replace(RUN, seed=4)}, tmp_path, jobs=1, console=console)
    assert again["b"] == found["b"]
    file.unlink()
    assert play({"a": RUN}, tmp_path, jobs=1, console=console)["a"] == made


def test_a_run_that_fails_is_named_and_finished_ones_are_kept(
    tmp_path: Path, console: Console
) -> None:
    hot = replace(SYNC, schedule=Schedule(peak=1e6, warmup_steps=0))
    runs = {"good": RUN, "hot": replace(RUN, algorithm=hot)}
    with pytest.raises(RunFailedError, match=r"hot failed: (?s:.*)joke"):
        play(runs, tmp_path, jobs=1, console=console)
    kept = canonical.decode((tmp_path / f"{key_of(RUN)}.json").read_bytes(), Learned)
    assert kept == learn(RUN, tmp_path / "again")
    assert not list(tmp_path.glob("*.tmp"))


def _on(path: Path) -> LearningRun:
    return replace(RUN, clouds=(Cloud("w0", {"train": [str(path)]}),))


def test_a_key_follows_from_content_wherever_it_lies(tmp_path: Path) -> None:
    for name, content in (("a", "x"), ("b", "x"), ("c", "y")):
        (tmp_path / name).mkdir()
        (tmp_path / name / "text.txt").write_text(content)
    a, b, c = (key_of(_on(tmp_path / name)) for name in "abc")
    assert a == b != c
    (tmp_path / "b" / "text.txt").rename(tmp_path / "b" / "other.txt")
    assert key_of(_on(tmp_path / "b")) != a
    assert key_of(_on(tmp_path / "c" / "text.txt")) != c


@pytest.mark.parametrize(
    "changed",
    [
        {"seed": 5},
        {"stop": Stop(versions=7)},
        {"glance_every": 3},
        {"clouds": RUN.clouds[:3]},
        {"algorithm": replace(SYNC, local_steps=5)},
    ],
)
def test_whatever_decides_the_figures_changes_the_key(changed: dict) -> None:
    assert key_of(replace(RUN, **changed)) != key_of(RUN)
    assert key_of(replace(RUN)) == key_of(RUN)
