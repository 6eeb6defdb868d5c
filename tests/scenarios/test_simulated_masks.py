"""Bugs on purpose in what workers of the masked tier let out: the simulation must find them."""

import asyncio
import math
from collections.abc import Iterator
from dataclasses import replace
from threading import Event
from typing import Any
from unittest import mock

import pytest

from common.documents import Plan
from common.ids import WorkerId
from coordinator.ports import Message, Survivors
from coordinator.unmask import Unmasking as Asking
from services.worker.driver import Driver
from services.worker.state import StateFolder
from simulator.faults import EndWorker, Fault, Isolate, KillCoordinator, KillWorker, Loss, faults_of
from simulator.runs import algorithm_of, num_workers
from tests.rig.rounds.seeded_bug import Bug, nothing, patched
from worker.rounds.attempt import MaskedAttempt, OfferSecrets
from worker.rounds.masked_tier import MaskedTier
from worker.rounds.participation import Participation, RoundEvent
from worker.rounds.ports import Abandon, Encode, Ended, Send, Steps, Survived
from worker.rounds.round import Stage, WorkerRound
from worker.rounds.tier import Attempt

NUM_TRIED = 16

right_resume = Driver.resume
right_begin = MaskedTier.begin
right_load_stage = StateFolder.load_stage
right_survived = MaskedAttempt.survived
right_missed = Asking.missed
right_survived_by = Participation._survived
right_handle = Participation.handle
right_drawn = OfferSecrets.drawn

ATTEMPTS: dict[tuple[WorkerId, str], MaskedAttempt] = {}
SECRETS: dict[str, OfferSecrets] = {}


def keeps_its_attempt(self: MaskedTier, plan: Plan) -> MaskedAttempt:
    attempt = right_begin(self, plan)
    ATTEMPTS[attempt._member.name, plan.round] = attempt
    return attempt


async def uploads_anew(self: Driver) -> None:
    await right_resume(self)
    stage = self.conduct.part.round.stage
    if stage is not None and stage.exposed:
        attempt = ATTEMPTS[self.work.name, stage.plan.round]
        attempt._protected = False
        numbers = {w: a.numbers for w, a in stage.answers.items()}
        self._begin_upload(Encode(stage.plan, numbers, attempt, 0, math.inf))
        assert self._upload is not None
        self._upload.may_push.set()


async def uploads_again(self: Driver) -> None:
    await right_resume(self)
    stage = self.conduct.part.round.stage
    if stage is not None and stage.exposed and (payload := self.work.state.stage.payload).exists():
        content = payload.read_bytes()
        work = self._push(stage.plan.round, 1, lambda _: content[:3072], give_up=Event())
        self._resent = asyncio.create_task(work)  # type: ignore[attr-defined]


def believes_any_record(self: WorkerRound, *_: object) -> bool:
    return True


def names_two_lists(self: Asking, worker: WorkerId) -> tuple[Message, ...]:
    """The coordinator's part, which workers that are not broken refuse."""
    told = right_missed(self, worker)
    others = [w for w in self._survivors if w != worker]
    fewer = tuple(w for w in self._survivors if w != others[-1])
    return (*told, Survivors(self._plan.round, fewer)) if told else ()


def signs_any_list(self: MaskedAttempt, survivors: tuple[WorkerId, ...]) -> bytes | None:
    self._survivors = ()
    return right_survived(self, survivors)


def reveals_before_it_is_asked(
    self: Participation, event: Survived, attempt: Attempt
) -> Steps[None]:
    if isinstance(attempt, MaskedAttempt) and not attempt._survivors:
        attempt._survivors = tuple(sorted(attempt._answers))
        yield from self._reveal(event.round, {}, attempt)
        attempt._survivors = ()
    yield from right_survived_by(self, event, attempt)


def forgets_what_it_revealed(self: StateFolder) -> Stage | None:
    stage = right_load_stage(self)
    return None if stage is None else replace(stage, revealed=False)


def does_not_say_so(self: WorkerRound) -> None:
    pass


def abandons_all_the_same(self: Participation, event: RoundEvent) -> Steps[None]:
    stage = self.round.stage
    if isinstance(event, Ended) and stage is not None:
        yield Send(Abandon(event.round, self._tier.abandon(stage.plan)))
    else:
        yield from right_handle(self, event)


def draws_one_pair_for_all(self: MaskedTier, offer: Any) -> Any:
    name = self._member.name
    secrets = SECRETS.setdefault(name, OfferSecrets.drawn(self._member.random))
    self._secrets = secrets
    return secrets.sign(offer, self._certificate(), self._member.sign)


def is_masked(seed: int) -> bool:
    return algorithm_of(seed).masked


def can_lose_one(seed: int) -> bool:
    return is_masked(seed) and num_workers(seed) > algorithm_of(seed).min_cohort


def ends_after_uploading(seed: int) -> tuple[Fault, ...]:
    """A worker starts again while the others reveal."""
    return (KillWorker(seed % 3, 1, Loss.PROCESS, "say shares"),)


def fails_in_the_middle(seed: int) -> tuple[Fault, ...]:
    """The coordinator ends with shares of some, so that not all can say that they abandon."""
    return (KillCoordinator(1, Loss.PROCESS, "order Compute"),)


def fails_with_one_that_is_heard(seed: int) -> tuple[Fault, ...]:
    away = (Isolate(1.3 + seed % 8 / 10, i, 7.0) for i in range(1, num_workers(seed)))
    return (KillCoordinator(1, Loss.PROCESS, "order Seal"), *away)


def fails_once_all_is_revealed(seed: int) -> tuple[Fault, ...]:
    """The coordinator ends with the shares of a sum, and then those who revealed them."""
    ends = tuple(EndWorker(1.6 + seed % 10 / 10, i, Loss.PROCESS) for i in range(3))
    return (KillCoordinator(1, Loss.PROCESS, "order Compute"), *ends)


def loses_an_upload(seed: int) -> tuple[Fault, ...]:
    return (KillWorker(seed % 3, 1, Loss.PROCESS, "push"),)


BUGS = {
    "an older attempt's shards are sent again with fresh noise": Bug(
        (patched(MaskedTier, "begin", keeps_its_attempt), patched(Driver, "resume", uploads_anew)),
        ends_after_uploading,
        r"\(v\) w\d sends two payloads under one pad",
        is_masked,
    ),
    "an older attempt's shards are sent again": Bug(
        (patched(Driver, "resume", uploads_again),),
        ends_after_uploading,
        r"\(v\) w\d goes on with round \w+ after a restart",
        is_masked,
    ),
    "exposed work is offered again": Bug(
        (patched(WorkerRound, "_proved", believes_any_record),),
        fails_in_the_middle,
        r"\(v\) w\d uploads \d+ steps to round \w+ that are in round \w+, and nothing proves",
        is_masked,
    ),
    "fewer members than needed free the work of all": Bug(
        (lambda: mock.patch("worker.rounds.round.abandons_needed", return_value=1),),
        fails_with_one_that_is_heard,
        r"\(v\) w\d uploads \d+ steps to round \w+ that are in round \w+, and nothing proves",
        can_lose_one,
    ),
    "two lists of survivors are signed": Bug(
        (patched(MaskedAttempt, "survived", signs_any_list),),
        nothing,
        r"\(v\) w\d answers two lists of survivors",
        can_lose_one,
        harmless=(patched(Asking, "missed", names_two_lists),),
    ),
    "a lost member's own share is revealed, and then its mask key's": Bug(
        (patched(Participation, "_survived", reveals_before_it_is_asked),),
        loses_an_upload,
        r"\(v\) w\d reveals both kinds of share of w\d",
        can_lose_one,
    ),
    "that a share was revealed is not noted": Bug(
        (patched(WorkerRound, "reveal", does_not_say_so),),
        nothing,
        r"\(v\) w\d reveals shares of round \w+ and may forget that it did",
        is_masked,
    ),
    "that a share was revealed is forgotten in a restart": Bug(
        (patched(StateFolder, "load_stage", forgets_what_it_revealed),),
        fails_once_all_is_revealed,
        r"\(v\) w\d abandons round \w+ and reveals shares of it",
        is_masked,
    ),
    "a round is abandoned after its shares were revealed": Bug(
        (patched(Participation, "handle", abandons_all_the_same),),
        fails_once_all_is_revealed,
        r"\(v\) w\d abandons round \w+ and reveals shares of it",
        is_masked,
    ),
    "keys of an offer are used for the next": Bug(
        (patched(MaskedTier, "sign_offer", draws_one_pair_for_all),),
        nothing,
        r"\(v\) w\d offers a key that was offered before",
        is_masked,
    ),
}


@pytest.fixture(autouse=True)
def forgetful() -> Iterator[None]:
    yield
    ATTEMPTS.clear()
    SECRETS.clear()


@pytest.mark.parametrize("name", BUGS)
def test_a_seeded_bug_of_masks_is_found(name: str) -> None:
    assert BUGS[name].is_found(NUM_TRIED)


def test_masked_histories_play_every_width_size_and_number_of_colluders() -> None:
    masked = [seed for seed in range(400) if is_masked(seed)]
    assert len(masked) > 100
    algorithms = [algorithm_of(seed) for seed in masked]
    assert {a.codec.bits for a in algorithms} == {4, 8, 12, 16}
    assert {num_workers(seed) for seed in masked} == {3, 4, 5}
    assert {a.colluding for a in algorithms} == {0, 1}
    lost = [s for s in masked if any(getattr(f, "before", "") == "push" for f in faults_of(s))]
    assert len(lost) > 20
