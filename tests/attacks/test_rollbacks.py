"""Rule 14: nobody chooses the base of a sum; a roll-back needs an operator's order, each good once.

Without it a coordinator leads a worker back to one version again and again, and picks whom it sums
with each time: of what it then trains it sees as many different sums as it likes.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from common.documents import Record, RollbackOrder
from common.errors import DivergedError
from common.ids import Digest, WorkerId
from common.rounds import Rule
from common.secagg.transcript import signed_content
from services.worker.messages import Return
from tests.attacks.harness import A, B, C, Certified, D, E, Registry, V
from tests.attacks.world import Node, World


@dataclass
class Story:
    """A worker that has stood on versions 0 and 1, and what its coordinator holds."""

    link: Node
    world: World
    nodes: dict[WorkerId, Node]

    def order(
        self, version: int = 0, *, by: Certified | None = None, **changes: object
    ) -> RollbackOrder:
        """Return what an operator would sign now, but for `changes`; signed."""
        if by is None:
            return self.world.order(version, **changes)
        order = replace(self.world.order(version), certificate=by.certificate, **changes)  # type: ignore[arg-type]
        return replace(order, signature=by.sign("rollback", signed_content(order)).hex())

    def back_to(self, version: int, order: RollbackOrder | None) -> Record:
        return self.world.return_to(version, order)

    def returns(self) -> list[int]:
        """Return on which versions the trainer began again."""
        return [m.clock.version for m in self.link.trainer.told if isinstance(m, Return)]


async def told(registry: Registry, folder: Path, **victim: Any) -> Story:
    world = World(registry, folder, (A, B, C, V))
    nodes = {w: world.node(w, **(victim if w == V else {})) for w in world.names}
    for node in nodes.values():
        await node.join(world.records)
    await world.stepped(nodes)
    assert nodes[V].replica.position.version == 1
    return Story(nodes[V], world, nodes)


@pytest.fixture
async def story(registry: Registry, tmp_path: Path) -> Story:
    return await told(registry, tmp_path)


async def test_without_the_rule_a_worker_trains_from_the_same_version_as_often_as_it_is_led_back(
    registry: Registry, tmp_path: Path
) -> None:
    story = await told(registry, tmp_path, unsafe=frozenset({Rule.RECORD}))
    for _ in range(3):
        await story.link.hear(story.back_to(0, None))
    assert story.returns() == [2, 3, 4]


async def test_an_operator_s_order_is_followed_once(story: Story) -> None:
    order = story.order()
    await story.link.hear(story.back_to(0, order))
    assert story.returns() == [2]

    await story.link.hear(story.back_to(1, story.order(1)))
    assert story.returns() == [2, 3]

    with pytest.raises(DivergedError, match="each order is good for once"):
        await story.link.hear(story.back_to(0, order))
    assert story.returns() == [2, 3]


async def test_a_used_order_is_refused_after_a_restart_too(story: Story) -> None:
    order = story.order()
    await story.link.hear(story.back_to(0, order))
    story.back_to(0, order)

    again = story.world.node(V)
    await again.worker.resume()

    with pytest.raises(DivergedError, match="each order is good for once"):
        await again.join(story.world.records)


Forge = Callable[[Story], RollbackOrder | None]
FORGED: dict[str, tuple[Forge, str]] = {
    "none": (lambda s: None, "no operator has signed it"),
    "signed by a worker": (
        lambda s: s.order(by=s.world.registry.of(B)),
        "is no operator of run small",
    ),
    "of another authority": (
        lambda s: s.order(
            certificate=Registry.of(s.world.registry, V).certificate[:-8] + "AAAAAAA="
        ),
        "not signed by the federation's CA",
    ),
    "unsigned": (lambda s: replace(s.order(), signature=None), "signature of its order is wrong"),
    "for another version": (lambda s: s.order(1), "its order is for version 1"),
    "for another run": (lambda s: s.order(genesis=Digest("a" * 64)), "for another run, of genesis"),
    "for another state": (
        lambda s: s.order(digest=Digest("b" * 64)),
        "its order is for version 0 bbbb",
    ),
    "changed on the way": (
        lambda s: replace(s.order(1), version=0),
        "signature of its order is wrong",
    ),
    "of a log to come": (lambda s: s.order(num_records=99), "each order is good for once"),
}


@pytest.mark.parametrize("forged", FORGED)
async def test_what_no_operator_ordered_is_refused_and_stops_the_worker(
    story: Story, forged: str
) -> None:
    forge, complaint = FORGED[forged]
    with pytest.raises(DivergedError, match=complaint):
        await story.link.hear(story.back_to(0, forge(story)))
    assert story.returns() == []


async def test_an_order_brings_back_the_state_that_it_names_and_no_other(story: Story) -> None:
    crafted = replace(story.world.states[1], commits=7)
    story.world.states[0] = crafted  # an operator who was told a digest of the coordinator's own
    await story.link.hear(story.back_to(0, story.order()))
    assert story.returns() == []  # it never stood there, and the record shows no words for it
    assert story.link.trained_on == [0, 1]


async def test_who_never_stood_on_it_believes_a_state_by_the_words_that_made_it(
    story: Story,
) -> None:
    await story.world.stepped(story.nodes)
    back = story.back_to(1, story.order(1))
    newcomer = Node(story.world, D, story.world.folder / D)
    await newcomer.join([back])
    assert newcomer.stands_on == back.digest

    assert back.rollback is not None
    assert back.rollback.origin is not None
    origin = back.rollback.origin
    few = replace(origin, words=dict(list(origin.words.items())[:2]))
    swapped = replace(
        origin, words=dict(zip(origin.words, reversed([*origin.words.values()]), strict=True))
    )
    other = replace(origin, version=7)
    unordered = replace(back, rollback=replace(back.rollback, order=None))
    for record in (
        *(replace(back, rollback=replace(back.rollback, origin=o)) for o in (few, swapped, other)),
        replace(back, rollback=replace(back.rollback, origin=None)),
        unordered,
    ):
        stranger = Node(story.world, E, story.world.folder / E)
        await stranger.join([record])
        assert not stranger.worker.conduct.begun


async def test_an_order_moves_nobody_to_a_version_that_too_few_vouched_for(story: Story) -> None:
    world, victim = story.world, story.link
    stood, trained_on = victim.stands_on, victim.trained_on
    made = world.commit(*await world.round(story.nodes.values()))
    for node in story.nodes.values():
        await node.hear(made)  # each gives its own word, and hears nobody's
    order = story.order(2)  # of an operator who did not see that nobody stands on it
    back = story.back_to(2, order)
    assert back.rollback is not None
    assert back.rollback.origin is not None
    words = dict(list(back.rollback.origin.words.items())[:2])
    origin = replace(back.rollback.origin, words=words)
    few = world.records[-1] = replace(back, rollback=replace(back.rollback, origin=origin))

    num_offers = len(await victim.offers())

    await victim.hear(few)
    assert (victim.stands_on, victim.trained_on) == (stood, trained_on)
    assert len(await victim.offers()) == num_offers

    again = world.node(V)
    await again.worker.resume()
    await again.join(world.records)
    assert (again.stands_on, again.trained_on) == (stood, [1])

    await again.hear(story.back_to(1, story.order(1)))  # the way out: where all did stand
    assert again.stands_on == stood
    assert again.trained_on == [1, 4]
