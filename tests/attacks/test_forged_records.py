"""Rule 14 against a coordinator that invents numbers, counters and progress in its records.

Nothing of a record is the coordinator's to choose but its own seconds: a worker recomputes the
rest, and a newcomer has it from the members' words.
"""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from common.documents import Control, Record
from common.errors import DivergedError
from tests.attacks.harness import Registry, V
from tests.attacks.test_forged_logs import NAMES, NOWHERE, OTHERS, restarted, started
from tests.attacks.world import World


@pytest.fixture
def world(registry: Registry, tmp_path: Path) -> World:
    return World(registry, tmp_path, NAMES)


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        (lambda r: replace(r, progress=r.progress / 2), "its progress is"),
        (lambda r: replace(r, counters=replace(r.counters, tokens=0)), "counters do not follow"),
        (
            lambda r: replace(r, counters=replace(r.counters, member_steps_256=-10000)),
            "counters do not follow from the commits: member_steps_256",
        ),
        (lambda r: replace(r, counters=replace(r.counters, elapsed_s=-1)), "time goes back"),
        (lambda r: replace(r, version=r.version + 1), "its version is 3, after 1 a commit"),
        (lambda r: replace(r, control=Control("pause", "eve", "")), "it is of 2 kinds"),
        (lambda r: with_plan(r, version=0), "its round starts from version 0"),
        (lambda r: with_plan(r, digest=NOWHERE), "its round starts from version 1 ffff"),
        (lambda r: with_plan(r, num_live=0), "of its round, num_live is 0, below"),
        (lambda r: with_plan(r, bits=3), "its round has 3 bits"),
        (lambda r: with_plan(r, fragment=7), "of fragment 7 of 1"),
    ],
)
async def test_numbers_counters_and_progress_are_nobody_s_to_choose(
    world: World, change: Callable[[Record], Record], complaint: str
) -> None:
    nodes, victim = await started(world)
    stood = victim.replica.position
    others = {w: nodes[w] for w in OTHERS}
    true = world.commit(*await world.round(others.values()))
    with pytest.raises(DivergedError, match=complaint):
        await victim.hear(change(true))
    assert victim.replica.position == stood
    assert victim.trained_on == [0, 1]
    for node in others.values():
        await node.hear(true)
    await restarted(world, nodes)


@pytest.mark.parametrize(
    "change",
    [
        lambda r: replace(r, counters=replace(r.counters, member_steps_256=10**9)),
        lambda r: replace(r, progress=1.0),
        lambda r: replace(r, rolled_back=0),
        lambda r: replace(r, version=r.version + 1),
        lambda r: replace(r, digest=NOWHERE),
    ],
)
async def test_a_newcomer_has_numbers_and_counters_from_the_members_words(
    world: World, change: Callable[[Record], Record]
) -> None:
    nodes = {w: world.node(w) for w in OTHERS}
    for node in nodes.values():
        await node.join(world.records)
    true = world.commit(*await world.round(nodes.values()))
    newcomer = world.node(V)
    await newcomer.join([change(true)])
    await newcomer.told(*(world.word(w, true) for w in OTHERS))
    assert not newcomer.worker.conduct.begun
    await newcomer.join([true])
    await newcomer.told(*(world.word(w, true) for w in OTHERS))
    assert newcomer.replica.position.log.counters == true.counters


@pytest.mark.parametrize(
    "change",
    [
        lambda r: replace(r, progress=1.0),
        lambda r: replace(r, counters=replace(r.counters, member_steps_256=10**9)),
        lambda r: replace(r, rolled_back=0),
    ],
)
async def test_at_version_0_a_run_has_done_nothing(
    world: World, change: Callable[[Record], Record]
) -> None:
    newcomer = world.node(V)
    await newcomer.join([change(world.records[0])])
    assert not newcomer.worker.conduct.begun
    await newcomer.join(world.records)
    assert newcomer.worker.conduct.begun


async def test_an_order_that_was_used_is_used_for_a_newcomer_too(world: World) -> None:
    nodes = {w: world.node(w) for w in OTHERS}
    for node in nodes.values():
        await node.join(world.records)
    await world.stepped(nodes)
    order = world.order(0)
    back = world.return_to(0, order)
    for node in nodes.values():
        await node.hear(back)
    later = await world.stepped(nodes)
    newcomer = world.node(V)
    await newcomer.join([later])
    await newcomer.told(*(world.word(w, later) for w in OTHERS))
    assert newcomer.stands_on == later.digest
    with pytest.raises(DivergedError, match="each order is good for once"):
        await newcomer.hear(world.return_to(0, order))


def with_plan(record: Record, **changes: Any) -> Record:
    assert record.commit is not None
    plan = replace(record.commit.plan, **changes)
    return replace(record, commit=replace(record.commit, plan=plan))
