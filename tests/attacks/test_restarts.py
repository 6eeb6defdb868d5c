"""A worker as it runs: after a restart (rule 10), and which versions it goes to."""

from pathlib import Path

import pytest

from common import canonical
from common.documents import Answer, Control, Plan
from common.ids import WorkerId
from common.rounds import Rule
from protos.v1 import session_pb2
from services.worker.messages import Merge
from tests.attacks.harness import A, B, C, Registry, Table, V
from tests.rig.rounds.masked_members import MASKED
from tests.rig.rounds.small_chain import Coordinator
from tests.rig.rounds.small_run import Run
from tests.unit.services.worker.test_working import RESOLVE_TIMEOUT_S
from tests.unit.services.worker.test_working import Cloud as Link
from worker.rounds.round import WorkState


class Masked(Link):
    """aws's link process in the masked tier."""

    def __init__(self, coordinator: Coordinator, registry: Registry, folder: Path) -> None:
        super().__init__(coordinator, folder, Table(registry, coordinator.run).cloud(A).tier)

    def kinds(self) -> list[str | None]:
        return [m.WhichOneof("message") for m in self.sent]


@pytest.fixture
def coordinator() -> Coordinator:
    made = Coordinator(Run(MASKED, workers=(A, B, C, V)))
    made.append(control=Control("resume", "ann", ""))
    return made


@pytest.fixture
async def link(coordinator: Coordinator, registry: Registry, tmp_path: Path) -> Masked:
    made = Masked(coordinator, registry, tmp_path)
    await made.join()
    return made


# Rule 10: the secrets of a round die with the process


async def exposed(link: Masked, registry: Registry, **told: float) -> tuple[Plan, list[object]]:
    """Go through a round up to the upload; return what the coordinator may say again."""
    table = Table(registry, link.coordinator.run)
    others = [table.cloud(w) for w in (B, C, V)]
    plan = table.eve.plan(await link.offer(), *(c.offer() for c in others), **told)
    await link.planned(plan)
    submitted = link.sent[-1].answer
    u2 = table.eve.answers(plan, *others)
    u2.answers[A] = canonical.decode(submitted.answer, Answer)
    u2.sealed[A] = {WorkerId(w): content for w, content in submitted.sealed.items()}
    members = session_pb2.Members(
        round_id=bytes.fromhex(plan.round),
        answers={w: canonical.encode(a) for w, a in u2.answers.items()},
        sealed={str(w): content for w, content in u2.sealed_for(A).items()},
    )
    await link.named(members)
    await link.uploaded()
    table.eve.collect(plan, u2, *others)
    round_id = bytes.fromhex(plan.round)
    return plan, [
        members,
        session_pb2.Survivors(round_id=round_id, survivors=plan.roster),
        session_pb2.Signatures(round_id=round_id, signatures={}),
    ]


async def told(link: Masked, messages: list[object]) -> list[str | None]:
    link.sent.clear()
    for message in messages:
        match message:
            case session_pb2.Members():
                await link.hear(members=message)
            case session_pb2.Survivors():
                await link.hear(survivors=message)
            case session_pb2.Signatures():
                await link.hear(signatures=message)
    return link.kinds()


async def test_rule_10_a_process_that_still_has_its_secrets_reveals(
    link: Masked, registry: Registry
) -> None:
    _, messages = await exposed(link, registry)
    assert "shares" in await told(link, messages)


async def test_rule_10_after_a_restart_it_answers_nothing_but_abandons(
    link: Masked, coordinator: Coordinator, registry: Registry, tmp_path: Path
) -> None:
    plan, messages = await exposed(link, registry)

    again = Masked(coordinator, registry, tmp_path)
    await again.resume()

    assert await told(again, [canonical.encode(plan), *messages]) == []
    assert again.push.pushed == []
    await again.ended(plan.round)
    assert again.kinds() == ["abandon"]


async def test_rule_13_after_a_restart_a_member_that_may_have_revealed_does_not_abandon(
    link: Masked, coordinator: Coordinator, registry: Registry, tmp_path: Path
) -> None:
    plan, messages = await exposed(link, registry)
    await told(link, messages)

    again = Masked(coordinator, registry, tmp_path)
    await again.resume()
    await again.ended(plan.round)

    assert again.kinds() == []


# Rule 2: an offer is open in one process, and the newest one only


async def test_rule_2_refuses_an_offer_that_was_called_void_or_is_of_another_process(
    link: Masked, coordinator: Coordinator, registry: Registry, tmp_path: Path
) -> None:
    table = Table(registry, coordinator.run)
    former = await link.offer()
    plan = table.eve.plan(former, *(table.cloud(w).offer() for w in (B, C, V)))
    await link.paced(20, void_offer=former.nonce)
    assert await link.offer() != former
    again = Masked(coordinator, registry, tmp_path)
    await again.resume()
    again.conduct.connected = True

    for process in (link, again):
        process.sent.clear()
        await process.planned(plan)
        assert process.kinds() == ["refuse"]
        assert process.sent[0].refuse.rule == Rule.OFFER
        assert process.part.settled


# Rule 7: exposed work waits for its outcome, but not for ever


@pytest.mark.parametrize(
    ("told_s", "enough_s"), [(1.0, 3 * 2.0), (1e9, RESOLVE_TIMEOUT_S)], ids=["plan", "own"]
)
async def test_rule_7_a_round_that_nobody_ends_is_given_up_and_its_work_is_spent(
    link: Masked, registry: Registry, told_s: float, enough_s: float
) -> None:
    await exposed(link, registry, key_timeout_s=1.0, upload_timeout_s=told_s)
    link.now_s = enough_s
    await link.ticked()
    assert link.round.work is WorkState.EXPOSED

    link.conduct.connected = False  # then it could not have heard of the outcome
    link.now_s = enough_s + 1
    await link.ticked()
    assert link.round.work is WorkState.EXPOSED

    link.conduct.connected = True
    await link.ticked()
    assert link.part.settled
    assert link.trainer.last(Merge).fate == "spent"
