"""Rules 5 and 14 against a coordinator that writes each worker a log of its own.

A model of its own for each member is the attack of Pasquini et al. 2022.

Whatever it shows, withholds or says again: nobody trains on, saves, offers on or vouches for a
version that too few members of its round vouched for, and nobody goes back without an operator's
order. Each attack works where only the check that it is about is off; with it on the worker
refuses, and goes on once it is shown the true log.

It is long because whatever a log may say stands in one place, each lie beside its variations.
"""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import pytest

from common import canonical, log_head
from common.documents import Control, Genesis, Plan, Record, Rollback
from common.errors import DivergedError
from common.ids import Digest
from common.log_head import LogHead
from common.rounds import Rule
from common.terms import round_bits
from common.words import agreement
from tests.attacks.harness import A, B, C, E, Registry, V
from tests.attacks.world import Node, World
from tests.rig.rounds.masked_members import MASKED
from worker.rounds import belief

ANYTHING = frozenset({Rule.RECORD})
NAMES = (A, B, C, V)
OTHERS = (A, B, C)
NOWHERE = Digest("f" * 64)

Nodes = dict[Any, Node]


@pytest.fixture
def world(registry: Registry, tmp_path: Path) -> World:
    return World(registry, tmp_path, NAMES)


async def started(world: World, **victim: Any) -> tuple[Nodes, Node]:
    """Return nodes that made version 1 together, and the victim, which is made as said."""
    nodes = {w: world.node(w, **(victim if w == V else {})) for w in world.names}
    for node in nodes.values():
        await node.join(world.records)
    await world.stepped(nodes)
    assert {n.stands_on for n in nodes.values()} == {world.records[-1].digest}
    return nodes, nodes[V]


async def goes_on(world: World, nodes: Nodes, victim: Node) -> None:
    """Show the true log: the victim makes the next version with the others."""
    nodes[V] = victim
    await victim.join(world.records)
    await world.relayed(nodes)
    await world.stepped(nodes)
    assert victim.stands_on == world.records[-1].digest


async def restarted(world: World, nodes: Nodes) -> None:
    """A worker that stopped with an alarm is started again, and goes on."""
    again = world.node(V)
    await again.worker.resume()
    await goes_on(world, nodes, again)


async def refused(victim: Node, record: Record, why: str) -> None:
    """Show a record that the worker has to refuse, saying this."""
    before = len(victim.log)
    with pytest.raises(DivergedError, match=why):
        await victim.hear(record)
    del victim.log[before:]


async def crafted(world: World, nodes: Nodes, log: list[Record]) -> Record:
    """Return a commit that nobody had a part in, as the next record of `log`."""
    for node in nodes.values():
        node.worker.conduct.connected = True
    offers = [(await node.offers())[-1] for node in nodes.values()]
    move = np.full(world.run.schema.length, 0.5, np.float32)
    for start, stop in world.run.schema.padding():
        move[start:stop] = 0
    commit, state = world.crafted(world.run.version, world.number, offers, move)
    return world.after(log, world.number + 1, canonical.digest(state), commit=commit)


async def renamed(world: World, nodes: Nodes, victim: Node) -> Record:
    """Show a crafted commit whose plan says tls, of a sum that is too long to be fetched."""
    lie = await crafted(world, nodes, victim.log)
    assert lie.commit is not None
    plan = replace(lie.commit.plan, tier="tls")
    lie = replace(lie, commit=replace(lie.commit, plan=plan, aggregate_bytes=10**12))
    await victim.hear(lie)
    return lie


async def test_a_plan_that_says_tls_got_around_the_words_while_it_was_asked_for_the_tier(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    def by_the_plan(genesis: Genesis, plan: Plan) -> int:
        return agreement(genesis, plan) if plan.masked else 0

    monkeypatch.setattr(belief, "agreement", by_the_plan)
    monkeypatch.setattr(log_head, "plan_complaint", lambda *_: "")
    nodes, victim = await started(world)

    lie = await renamed(world, nodes, victim)

    assert victim.stands_on == lie.digest


async def test_a_plan_of_another_tier_than_the_run_s_is_of_no_honest_log(world: World) -> None:
    nodes, victim = await started(world)

    with pytest.raises(DivergedError, match="of its round, tier is 'tls', the run's is 'masked'"):
        await renamed(world, nodes, victim)

    assert victim.trained_on == [0, 1]
    await restarted(world, nodes)


async def test_of_a_plan_of_another_tier_all_words_are_needed_as_of_any(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(log_head, "plan_complaint", lambda *_: "")
    nodes, victim = await started(world)

    lie = await renamed(world, nodes, victim)

    assert victim.stands_on != lie.digest
    assert victim.trained_on == [0, 1]


@pytest.mark.parametrize("unsafe", [ANYTHING, frozenset()], ids=["off", "on"])
async def test_a_crafted_version_is_trained_on_only_where_no_words_are_counted(
    world: World, unsafe: frozenset[Rule]
) -> None:
    nodes, victim = await started(world, unsafe=unsafe)
    record = await crafted(world, nodes, victim.log)
    num_offers = len(await victim.offers())

    await victim.hear(record)
    # the words that there are
    await victim.told(*(world.word(w, world.records[-1]) for w in OTHERS))

    if unsafe:
        assert victim.stands_on == record.digest
        return
    assert victim.stands_on == world.records[-1].digest
    assert victim.trained_on == [0, 1]
    assert len(await victim.offers()) == num_offers  # it offers nothing while it waits
    assert {w.digest for w in victim.words()} == {world.records[-1].digest}
    await goes_on(world, nodes, victim)


async def test_a_newcomer_begins_on_no_version_that_too_few_vouch_for(world: World) -> None:
    nodes = {w: world.node(w) for w in OTHERS}
    for node in nodes.values():
        await node.join(world.records)
    true = world.commit(*await world.round(nodes.values()))
    victim = world.node(V)

    await victim.join([await crafted(world, nodes, world.records)])
    await victim.told(*(world.word(w, true) for w in OTHERS))
    assert not victim.worker.conduct.begun

    await victim.join([true])
    await victim.told(world.word(A, true), world.word(A, true))  # one, said twice
    await victim.told(world.word(V, true))  # no member's
    assert not victim.worker.conduct.begun
    await victim.told(world.word(B, true))
    assert victim.stands_on == true.digest
    assert victim.trained_on == [1]


async def test_a_newcomer_needs_nobody_alive_the_log_holds_the_words(world: World) -> None:
    nodes = {w: world.node(w) for w in OTHERS}
    for node in nodes.values():
        await node.join(world.records)
    true = await world.stepped(nodes)
    signatures = {w: world.word(w, true).signature or "" for w in (A, C)}
    later = replace(world.append(control=Control("pause", "ann", "")), words=signatures)

    victim = world.node(V)
    await victim.join([true, later])
    assert victim.stands_on == true.digest

    cut = replace(later, words={A: signatures[A], V: signatures[C]})
    newcomer = Node(world, V, world.folder / "newcomer")
    await newcomer.join([true, cut])
    assert not newcomer.worker.conduct.begun


async def test_withheld_files_leave_a_worker_where_it_stands(world: World) -> None:
    nodes, victim = await started(world)
    stood = victim.stands_on
    others = {w: nodes[w] for w in OTHERS}
    lie = await crafted(world, nodes, victim.log)
    await victim.hear(lie)
    # What the others truly made, and records of Eve's own for it on top of her own version.
    true = world.commit(*await world.round(others.values()))
    assert true.commit is not None
    victim.withheld |= {true.digest, true.commit.aggregate}
    commit = replace(true.commit, plan=replace(true.commit.plan, version=2, digest=lie.digest))
    for body, version, digest, why in (
        (commit, 3, true.digest, ""),  # no word can count for it: the base was another
        (true.commit, 3, true.digest, "its version is 3, after 3 a commit must give 4"),
        (replace(commit, aggregate=NOWHERE), 0, world.run.genesis.version0, "its version is 0"),
    ):
        record = world.after(victim.log, version, digest, commit=body)
        await (refused(victim, record, why) if why else victim.hear(record))
        await victim.told(*(world.word(w, true) for w in OTHERS))
        assert victim.stands_on == stood
        assert victim.trained_on == [0, 1]
        assert len(victim.words()) == 1

    again = world.node(V)
    await again.worker.resume()
    assert again.stands_on == stood
    for node in others.values():
        await node.hear(true)
    await world.relayed(others)
    nodes[V] = again
    await again.join(world.records)
    await world.relayed(nodes)
    assert again.stands_on == true.digest


async def test_a_true_version_whose_files_are_withheld_is_waited_for_on_the_one_before(
    world: World,
) -> None:
    nodes, victim = await started(world)
    stood = victim.stands_on
    others = {w: nodes[w] for w in OTHERS}
    true = world.commit(*await world.round(others.values()))
    assert true.commit is not None
    victim.withheld |= {true.digest, true.commit.aggregate}
    await victim.hear(true)
    await victim.told(*(world.word(w, true) for w in OTHERS))
    assert (victim.stands_on, victim.replica.behind) == (stood, True)
    num_offers = len(await victim.offers())

    # A record that names where it stands is none of this log: the number has moved on.
    still = world.after(world.records[:-1], 1, stood, control=Control("pause", "eve", ""))
    still = replace(still, seq=true.seq + 1, previous=canonical.digest(true))
    with pytest.raises(DivergedError, match="its version is 1, after 2"):
        await victim.hear(still)
    assert len(await victim.offers()) == num_offers
    assert {w.digest for w in victim.words()} == {stood}


async def test_words_of_one_session_count_in_the_next(world: World) -> None:
    nodes, victim = await started(world)
    stood = victim.stands_on
    true = world.commit(*await world.round(nodes.values()))
    await victim.hear(true)
    await victim.told(world.word(A, true))
    assert victim.stands_on == stood  # its own and one more: three are needed
    await victim.join(world.records)
    assert victim.stands_on == stood
    await victim.told(world.word(A, true))  # said twice by one: still two
    assert victim.stands_on == stood
    await victim.join(world.records)
    await victim.told(world.word(B, true))
    assert victim.stands_on == true.digest


async def test_a_word_for_what_another_session_showed_is_none_for_what_this_one_shows(
    world: World,
) -> None:
    nodes, victim = await started(world)
    stood, log = victim.stands_on, list(victim.log)
    lie = await crafted(world, nodes, victim.log)
    await victim.hear(lie)
    await victim.told(*(world.word(w, lie) for w in (A, B)))  # two that lie, of four
    assert victim.stands_on == stood
    other = replace(lie, digest=NOWHERE)
    await victim.join([*log, other])
    await victim.told(world.word(C, other))
    assert victim.stands_on == stood
    assert victim.trained_on == [0, 1]


async def test_a_restarted_worker_tells_a_new_coordinator_on_whose_words_it_stands(
    world: World,
) -> None:
    _, victim = await started(world)
    head = world.records[-1]
    again = world.node(V)
    await again.worker.resume()
    await again.join(world.records)
    told = {word.worker: word for word in again.words()}
    assert V in told
    assert len(told) == 3  # as many as it needed to stand there
    assert all(word == world.word(name, head) for name, word in told.items())
    assert again.stands_on == victim.stands_on == head.digest


# An earlier version is no base again without an operator's order.


def to_genesis_by_a_commit(world: World, log: list[Record]) -> Record:
    made = log[-1].commit
    assert made is not None
    bits = round_bits(world.run.algorithm.codec, 1)
    plan = replace(made.plan, version=1, digest=world.records[-1].digest, bits=bits)
    body = replace(made, plan=plan, aggregate=NOWHERE)
    record = world.after(log, 2, world.run.genesis.version0, commit=body)
    return replace(record, version=0)


def to_an_unknown_number(world: World, log: list[Record]) -> Record:
    back = Rollback(12345, 0, "eve", None)
    return world.after(log, 2, world.run.genesis.version0, rollback=back)


def without_an_order(world: World, log: list[Record]) -> Record:
    back = Rollback(0, 0, "eve", None)
    return world.after(log, 2, world.run.genesis.version0, rollback=back)


def of_no_kind(world: World, log: list[Record]) -> Record:
    return world.after(log, 0, world.run.genesis.version0, control=Control("resume", "eve", ""))


@pytest.mark.parametrize(
    ("forge", "why"),
    [
        (to_genesis_by_a_commit, "its version is 0, after 1 a commit must give 2"),
        (to_an_unknown_number, "it returns to version 12345, the head is 1"),
        (without_an_order, "refused by rule 14: no operator has signed it"),
        (of_no_kind, "its version is 0, after 1 a control must give 1"),
    ],
)
@pytest.mark.parametrize("unsafe", [ANYTHING, frozenset()], ids=["off", "on"])
async def test_no_worker_is_led_back_to_genesis(
    world: World,
    forge: Callable[[World, list[Record]], Record],
    why: str,
    unsafe: frozenset[Rule],
) -> None:
    nodes, victim = await started(world, unsafe=unsafe)
    stood, record = victim.stands_on, forge(world, victim.log)
    if unsafe:
        with mock.patch.object(LogHead, "_complaint", return_value=""):
            await victim.hear(record)
        assert victim.stands_on == (stood if forge is of_no_kind else world.run.genesis.version0)
        return
    await refused(victim, record, why)
    assert victim.stands_on == stood
    assert victim.trained_on == [0, 1]
    await restarted(world, nodes)


async def test_an_old_word_said_again_takes_nobody_back(world: World) -> None:
    nodes, victim = await started(world)
    first = world.records[-1]
    old = [world.word(w, first) for w in OTHERS]
    second = await world.stepped(nodes)
    assert victim.stands_on == second.digest

    assert second.commit is not None
    body = replace(second.commit, plan=replace(second.commit.plan, version=2, digest=second.digest))
    for version, why in ((1, "its version is 1, after 2 a commit must give 3"), (3, "")):
        record = world.after(world.records, 3, first.digest, commit=body)
        record = replace(record, version=version)
        await victim.join(world.records)
        await (refused(victim, record, why) if why else victim.hear(record))
        await victim.told(*old, *(replace(word, version=version) for word in old))
        assert victim.stands_on == second.digest
    assert victim.trained_on == [0, 1, 2]
    await goes_on(world, nodes, victim)


@pytest.mark.parametrize("changes", [{"local_steps": 77}, {"max_staleness": 7.0}])
async def test_words_and_orders_of_another_run_of_this_name_are_none(
    world: World, registry: Registry, tmp_path: Path, changes: dict[str, Any]
) -> None:
    elsewhere = World(registry, tmp_path / "other", NAMES, replace(MASKED, **changes))
    assert elsewhere.id != world.id
    assert elsewhere.run.genesis.run == world.run.genesis.run
    nodes, victim = await started(world)
    others = {w: nodes[w] for w in OTHERS}
    true = world.commit(*await world.round(others.values()))
    await victim.hear(true)
    await victim.told(*(elsewhere.word(w, true) for w in OTHERS))
    assert victim.stands_on != true.digest
    await victim.told(*(world.word(w, true) for w in OTHERS))
    assert victim.stands_on == true.digest

    order = world.order(1, genesis=elsewhere.id)
    with pytest.raises(DivergedError, match="its order is for another run"):
        await victim.hear(world.return_to(1, order))


# One round makes one version, also with c colluders who give everything away.


@pytest.mark.parametrize("unsafe", [ANYTHING, frozenset()], ids=["off", "on"])
async def test_a_colluder_s_kappa_forges_a_sum_and_still_makes_no_second_version(
    registry: Registry, tmp_path: Path, unsafe: frozenset[Rule]
) -> None:
    world = World(registry, tmp_path, (A, B, C, E, V), replace(MASKED, colluding=1, min_cohort=4))
    nodes, victim = await started(world, unsafe=unsafe)
    stood = victim.stands_on
    played = await world.exposed(nodes.values())
    commit, content = await played.summed()
    forged, file = played.forged(commit, content, played.kappa(E))
    log = list(world.records)
    before, number = world.run.version, world.number
    true = world.commit(commit, content)
    world.run.version, world.number, world.records = before, number, log
    lie = world.commit(forged, file)
    assert lie.digest != true.digest

    for name in (A, B, C):  # whom the lie is shown: its tags are right
        await nodes[name].hear(lie)
    await victim.hear(true)
    said = [w for n in nodes.values() for w in n.words()]
    assert {w.worker for w in said if w.digest == lie.digest} == {A, B, C}
    said += [world.word(E, lie), world.word(E, true)]  # E says whatever is wanted
    for name in (A, B, C, V):
        await nodes[name].told(*said)

    assert {nodes[w].stands_on for w in (A, B, C)} == {lie.digest}
    if unsafe:  # the same round, another model for the victim alone
        assert victim.stands_on == true.digest
        return
    assert victim.stands_on == stood
    assert [w.digest for w in victim.words() if w.worker == V][-1] == true.digest


async def test_a_member_gives_one_word_per_round_also_through_a_restart(world: World) -> None:
    nodes, victim = await started(world)
    played = await world.exposed(nodes.values())
    commit, content = await played.summed()
    forged, file = played.forged(commit, content, played.kappa(A))
    log, before, number = list(world.records), world.run.version, world.number
    first = log[-1].digest
    true = world.commit(commit, content)
    await victim.hear(true)
    world.run.version, world.number, world.records = before, number, log
    lie = world.commit(forged, file)

    again = world.node(V)
    await again.worker.resume()
    with pytest.raises(DivergedError, match="this worker vouched for version 2"):
        await again.join(world.records)
    assert {w.digest for w in again.words()} <= {true.digest, first}
    assert lie.digest not in {w.digest for w in again.words()}
