"""Rule 14: nobody chooses the base of a sum; a roll-back needs an operator's order, each good once.

Without it a coordinator leads a worker back to one version again and again, and picks whom it sums
with each time: of what it then trains it sees as many different sums as it likes.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from common.documents import Control, Record, RollbackOrder, Version
from common.errors import DivergedError
from common.ids import WorkerId
from common.secagg.transcript import signed_content
from services.worker.messages import Return
from tests.attacks.harness import OPERATOR, RUN, A, B, C, Certified, Registry, Table, V
from tests.attacks.test_agent import Masked
from tests.small_chain import Coordinator
from tests.small_run import Run


@dataclass
class Story:
    """A worker that has stood on versions 0 and 1, and what its coordinator holds."""

    link: Masked
    chain: Coordinator
    registry: Registry
    states: list[Version]

    def order(
        self, version: int = 0, *, by: Certified | None = None, **changes: object
    ) -> RollbackOrder:
        """Return what an operator would sign now, but for `changes`; signed."""
        who = by or self.registry.of(WorkerId(OPERATOR))
        order = RollbackOrder(RUN, version, len(self.chain.records), who.certificate)
        order = replace(order, **changes)  # type: ignore[arg-type]
        return replace(order, signature=who.sign("rollback", signed_content(order)).hex())

    def back_to(self, version: int, order: RollbackOrder | None) -> Record:
        return self.chain.roll_back(version, self.states[version], order)

    def returns(self) -> list[int]:
        """Return on which versions the trainer began again."""
        return [m.clock.version for m in self.link.trainer.told if isinstance(m, Return)]


@pytest.fixture
async def story(registry: Registry, tmp_path: Path) -> Story:
    chain = Coordinator(Run(workers=(A, B, C, V)))
    chain.append(control=Control("resume", "ann", ""))
    link = Masked(chain, registry, tmp_path)
    await link.join()
    states = [chain.run.version]
    first = chain.step()
    states.append(chain.run.version)
    await link.record(first)
    await link.attested(Table(registry, chain.run).cloud(B), first)
    assert link.replica.position.version == 1
    return Story(link, chain, registry, states)


async def test_without_the_rule_a_worker_trains_from_the_same_version_as_often_as_it_is_led_back(
    story: Story,
) -> None:
    story.link.agent._tier.rollback_complaint = lambda *_: ""  # type: ignore[method-assign]
    for _ in range(3):
        await story.link.record(story.back_to(0, None))
    assert story.returns() == [2, 3, 4]


async def test_an_operator_s_order_is_followed_once(story: Story) -> None:
    order = story.order()
    await story.link.record(story.back_to(0, order))
    assert story.returns() == [2]

    await story.link.record(story.back_to(1, story.order(1)))
    assert story.returns() == [2, 3]

    with pytest.raises(DivergedError, match="each order is good for once"):
        await story.link.record(story.back_to(0, order))
    assert story.returns() == [2, 3]


async def test_a_used_order_is_refused_after_a_restart_too(story: Story, tmp_path: Path) -> None:
    order = story.order()
    await story.link.record(story.back_to(0, order))

    again = Masked(story.chain, story.registry, tmp_path)
    await again.agent.resume()

    with pytest.raises(DivergedError, match="each order is good for once"):
        await again.record(story.back_to(0, order))


Forge = Callable[[Story], RollbackOrder | None]
FORGED: dict[str, tuple[Forge, str]] = {
    "none": (lambda s: None, "no operator has signed it"),
    "signed by a worker": (lambda s: s.order(by=s.registry.of(B)), "is no operator of run small"),
    "of another authority": (
        lambda s: s.order(certificate=Registry.of(s.registry, V).certificate[:-8] + "AAAAAAA="),
        "not signed by the federation's CA",
    ),
    "unsigned": (lambda s: replace(s.order(), signature=None), "signature of its order is wrong"),
    "for another version": (lambda s: s.order(1), "its order is for version 1"),
    "for another run": (lambda s: s.order(run="large"), "of run large"),
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
        await story.link.record(story.back_to(0, forge(story)))
    assert story.returns() == []


async def test_an_order_brings_back_the_version_that_it_names_and_no_other(story: Story) -> None:
    crafted = replace(story.states[1], commits=7)  # under the number that was ordered
    await story.link.record(story.chain.roll_back(0, crafted, story.order()))
    assert story.returns() == []  # it waits for the others' word, as for any version
