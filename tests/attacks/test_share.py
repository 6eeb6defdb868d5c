"""How much of a sum is one worker's: what a coordinator can make of pace, pauses, exclusion and
learning rates, with whole workers and real training.

The cosine of a published sum with the victim's update is what the coordinator gains; at most it is
what `max_share` permits (docs/threat-model.md, section 4). `pytest -s` prints each figure.
"""

import math
import sys
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from commands.plan.likeness import cosine as permitted
from common.documents import Algorithm, Schedule
from common.rounds import Rule
from tests.attacks.harness import A, B, C, D, E, F, G, Registry, V
from tests.attacks.real_agents import Federation, cosine, offer_of
from tests.attacks.small_network import SmallNetwork
from worker.rounds import pace
from worker.rounds.pace import OwnPace
from worker.rounds.trust import Trust
from worker.training import schedule, train
from worker.training.train import Standing, Trainer

ALGORITHM = Algorithm(schedule=Schedule(peak=0.02, warmup_steps=1))
"""local_steps 20, min_local_steps 5, max_share 0.6: the defaults."""

OTHERS = (A, B, C, D, E, F, G)
SLACK = 0.01

Steps = Mapping[str, int]


async def federation(
    registry: Registry,
    folder: Path,
    num: int,
    algorithm: Algorithm = ALGORITHM,
    **seat: object,
) -> Federation:
    """Return so many workers, the victim among them, after one round of equal work."""
    made = Federation(registry, algorithm, (*OTHERS[: num - 1], V), folder, **seat)
    await made.begin()
    for node in made.nodes.values():
        node.trainer.train(algorithm.local_steps)
    await made.play(*made.nodes)
    return made


async def revealed(made: Federation, others: int, victim: int) -> tuple[float, Steps]:
    """Let all train for so many steps, sum; return the victim's cosine and the steps in the sum."""
    for name, node in made.nodes.items():
        steps = victim if name == V else others
        await node.paced(steps)
        node.trainer.train(steps)
    secret = made.update(V)
    commit, mean = await made.play(*made.nodes)
    return cosine(mean, secret), {w: n.steps for w, n in commit.numbers.items()}


def shown(what: str, num: int, found: float) -> float:
    sys.stdout.write(f"K = {num}, {what}: cosine {found:.3f}, permitted {limit(num):.3f}\n")
    return found


def limit(num: int) -> float:
    return permitted(ALGORITHM.max_share, num)


# Pace


@pytest.fixture
def any_pace(monkeypatch: pytest.MonkeyPatch) -> None:
    """With only this check off, a worker goes as it is told."""

    def told(self: OwnPace, local_steps: int, *, paused: bool) -> str:
        self._told, self._paused = local_steps, paused
        return ""

    monkeypatch.setattr(OwnPace, "told", told)


async def test_without_its_bounds_a_pace_leaves_the_others_one_step_in_the_sum(
    registry: Registry, tmp_path: Path, any_pace: None
) -> None:
    made = await federation(registry, tmp_path, 3)

    _, steps = await revealed(made, others=1, victim=20)

    assert steps == {A: 1, B: 1, V: 20}


async def test_told_to_take_one_step_a_worker_offers_only_what_the_genesis_asks_for(
    registry: Registry, tmp_path: Path
) -> None:
    made = await federation(registry, tmp_path, 3)
    node = made.nodes[A]
    await node.paced(1, paused=True)
    node.trainer.train(20)
    assert node.trainer.pending.steps == 0
    await node.paced(1)
    node.trainer.train(4)
    assert await offer_of(node) is None
    node.trainer.train(1)
    offer = await offer_of(node)
    assert offer is not None
    assert offer.steps == 5


async def test_told_never_to_offer_a_worker_does_after_the_genesis_steps(
    registry: Registry, tmp_path: Path
) -> None:
    made = await federation(registry, tmp_path, 3)
    node = made.nodes[A]
    await node.paced(10**6)
    node.trainer.train(20)
    assert await offer_of(node) is not None


# The cap: what unequal work is left is bounded by max_share

LENIENT = replace(ALGORITHM, max_share=0.999)


async def test_without_a_cap_unequal_work_makes_the_sum_the_victims_update(
    registry: Registry, tmp_path: Path
) -> None:
    made = await federation(
        registry, tmp_path, 3, LENIENT, trust=Trust(max_share=1.0), unsafe={Rule.SHARE}
    )
    found, _ = await revealed(made, others=5, victim=160)
    assert shown("160 steps to 5, no cap", 3, found) > 0.97


@pytest.mark.parametrize("victim", [15, 20, 30, 160])
@pytest.mark.parametrize("num", [3, 4, 8])
async def test_with_it_the_strongest_pacing_and_pauses_give_no_more_than_it_permits(
    registry: Registry, tmp_path: Path, num: int, victim: int
) -> None:
    made = await federation(registry, tmp_path, num)

    found, steps = await revealed(made, others=5, victim=victim)

    assert steps == {w: victim if w == V else 5 for w in made.nodes}
    assert shown(f"{victim} steps to 5", num, found) <= limit(num) + SLACK


@pytest.mark.parametrize("num", [3, 4, 8])
async def test_among_equals_a_sum_tells_of_one_what_equal_parts_do(
    registry: Registry, tmp_path: Path, num: int
) -> None:
    made = await federation(registry, tmp_path, num)

    found, _ = await revealed(made, others=20, victim=20)

    assert shown("equal", num, found) <= permitted(1 / num, num) + SLACK


# Exclusion: rounds of the others, until their updates cancel; then one with the victim

LONG = pytest.mark.long("(4, 3, 3) gains as much")
EIGHT = pytest.mark.long("within `limit` without the rule, too: the next test tells them apart")
STRONGEST = [pytest.param(4, 10, 1, marks=LONG), (4, 3, 3)]
"""Workers, rounds without the victim, and how often that and a round with it."""


async def brought_back(made: Federation, num_rounds: int) -> float:
    """Hold the victim back for so many rounds of the others, then sum all; return the cosine."""
    victim, others = made.nodes[V], [n for w, n in made.nodes.items() if w != V]
    await victim.paced(20, paused=True)
    for _ in range(num_rounds):
        for node in others:
            await node.paced(5)
            node.trainer.train(5)
        await made.play(*(n.name for n in others))
    found, _ = await revealed(made, others=5, victim=20)
    return found


@pytest.mark.parametrize(("num", "num_rounds", "times"), STRONGEST)
async def test_a_victim_that_does_not_see_that_it_is_left_out_gives_its_update_away(
    registry: Registry,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    num: int,
    num_rounds: int,
    times: int,
) -> None:
    monkeypatch.setattr(pace, "LEFT_OUT", 1000)
    made = await federation(registry, tmp_path, num)

    found = [await brought_back(made, num_rounds) for _ in range(times)]

    assert shown(f"unseen, {num_rounds} rounds left out", num, max(found)) > limit(num) + SLACK


@pytest.mark.parametrize(
    ("num", "num_rounds", "times"),
    [
        *STRONGEST,
        pytest.param(4, 30, 1, marks=LONG),
        (4, 1, 6),
        pytest.param(8, 10, 1, marks=EIGHT),
    ],
)
async def test_a_victim_that_sees_it_returns_as_one_among_equals(
    registry: Registry, tmp_path: Path, num: int, num_rounds: int, times: int
) -> None:
    made = await federation(registry, tmp_path, num)

    found = [await brought_back(made, num_rounds) for _ in range(times)]

    assert shown(f"{num_rounds} rounds left out", num, max(found)) <= limit(num) + SLACK


async def test_of_eight_only_a_victim_that_sees_it_gives_no_more_than_one_of_eight_equal_parts(
    registry: Registry, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The cap permits more than exclusion gains here: rule or none, it would pass `limit`."""
    seen = await brought_back(await federation(registry, tmp_path / "seen", 8), 3)
    monkeypatch.setattr(pace, "LEFT_OUT", 1000)
    unseen = await brought_back(await federation(registry, tmp_path / "unseen", 8), 3)

    assert shown("3 rounds left out", 8, seen) <= permitted(1 / 8, 8) + SLACK
    assert shown("unseen, 3 rounds left out", 8, unseen) > permitted(1 / 8, 8) + SLACK


@pytest.mark.parametrize("num_rounds", [2, 5])
async def test_work_that_was_gathered_before_it_was_left_out_is_in_no_sum(
    registry: Registry, tmp_path: Path, num_rounds: int
) -> None:
    made = await federation(registry, tmp_path, 4)
    victim, others = made.nodes[V], [n for w, n in made.nodes.items() if w != V]
    await victim.paced(20)
    victim.trainer.train(40)
    await victim.paced(20, paused=True)
    for _ in range(num_rounds):
        for node in others:
            await node.paced(5)
            node.trainer.train(5)
        await made.play(*(n.name for n in others))
    await victim.paced(20)
    assert victim.trainer.pending.steps == 40
    for node in others:
        node.trainer.train(5)

    refused = await made.refused(*made.nodes)

    assert refused == {V: int(Rule.OWN_UPDATE)}
    assert victim.trainer.pending.steps == 0


# Learning rates


def unchecked(
    of: Schedule, progress: float, num_steps: float, num_own_steps: int | None = None
) -> float:
    """The schedule as it is written, of whatever clock."""
    warm = min(1.0, (num_steps + 1) / max(1, of.warmup_steps))
    if num_own_steps is not None:
        warm = min(warm, (num_own_steps + 1) / max(1, of.warmup_steps))
    return of.peak * (of.floor + (1 - of.floor) * 0.5 * (1 + math.cos(math.pi * progress))) * warm


CLOCKS = {
    "steps below zero": Standing(1, 0.0, -1e9),
    "progress that is none": Standing(1, math.nan, 0.0),
}


def stepped(clock: Standing) -> tuple[float, float]:
    """Take a step at a coordinator's clock; return its rate, and how far the parameters moved."""
    trainer = Trainer(SmallNetwork("aws"), ALGORITHM)
    trainer._standing = clock
    before = np.concatenate([v.copy() for _, _, v in trainer.vector.segments()])
    trainer.step()
    after = np.concatenate([v.copy() for _, _, v in trainer.vector.segments()])
    return trainer.pending().lr_sum, float(np.linalg.norm(after - before))


@pytest.mark.parametrize("clock", CLOCKS.values(), ids=CLOCKS)
def test_without_its_bounds_a_rate_of_the_coordinators_choosing_ruins_the_parameters(
    monkeypatch: pytest.MonkeyPatch, clock: Standing
) -> None:
    honest = stepped(Standing(1, 0.0, 0.0))[1]
    monkeypatch.setattr(train, "learning_rate", unchecked)

    rate, moved = stepped(clock)

    assert not 0 < rate <= ALGORITHM.schedule.peak
    assert not moved < 1e5 * honest


@pytest.mark.parametrize("clock", CLOCKS.values(), ids=CLOCKS)
def test_with_them_a_step_is_at_most_as_long_as_at_the_peak(clock: Standing) -> None:
    assert vars(train)["learning_rate"] is schedule.learning_rate
    honest = stepped(Standing(1, 0.0, 0.0))[1]

    rate, moved = stepped(clock)

    assert 0 < rate <= ALGORITHM.schedule.peak
    assert 0 < moved <= 1.01 * honest
