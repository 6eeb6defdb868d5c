"""Masked sums are exact: whoever is lost, whenever, the rest's integers add up or nothing does."""

from collections.abc import Mapping
from dataclasses import replace
from itertools import chain, combinations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from common.documents import (
    Abort,
    Algorithm,
    Codec,
    Commit,
    Counters,
    Record,
    SideValues,
)
from common.ids import Digest, WorkerId
from common.packing import unpack
from common.scales import levels
from common.schema import ModelSchema, TensorSpec
from common.secagg.sums import check_aggregate
from common.thresholds import abandons_needed, threshold
from coordinator.sums.aggregate import aggregate
from tests.rig.rounds.masked_members import MASKED, Cloud
from tests.rig.rounds.masked_round import Loss, Played, plan_of, play
from tests.rig.rounds.small_run import NUMBERS, Run, bytes_of, random_vector
from worker.rounds.round import Fate

SMALL = ModelSchema((TensorSpec("w", (50, 80)),))
WIDTHS = (4, 8, 12, 16)
LOSSES = tuple(loss for loss in Loss if loss is not Loss.NEVER)

HEAD = Digest("1" * 64)
NUMBERS_OF = {
    WorkerId(f"w{i:02}"): replace(
        NUMBERS, tokens=2000 - 300 * i, lr_sum=0.002 * (20 - i), age_256=64 * i, steps=20 - i
    )
    for i in range(5)
}


def run_of(num_members: int, bits: int, algorithm: Algorithm = MASKED) -> Run:
    codec = Codec(bits=bits, first_bits=bits)
    workers = tuple(WorkerId(f"w{i:02}") for i in range(num_members))
    algorithm = replace(algorithm, codec=codec)
    return Run(algorithm, SMALL, workers=workers, speeds=(1,) * num_members)


def thetas_of(run: Run, seed: int = 7) -> dict[WorkerId, np.ndarray]:
    return {
        w: run.theta() - random_vector(run.schema, 100 * seed + i, 0.01)
        for i, w in enumerate(run.workers)
    }


def play_and_check(run: Run, lost: Mapping[WorkerId, Loss]) -> Played:
    """Play a round in which workers are lost, and compare what came of it with what must."""
    played = play(run, thetas_of(run), lost)
    t = played.round.plan.threshold
    answered = tuple(w for w in run.workers if lost.get(w, Loss.NEVER) > Loss.ANSWER)
    uploaded = tuple(w for w in answered if lost.get(w, Loss.NEVER) > Loss.LAST_SHARD)
    signed = tuple(w for w in uploaded if lost.get(w, Loss.NEVER) > Loss.SIGNATURE)
    revealed = tuple(w for w in signed if lost.get(w, Loss.NEVER) > Loss.SHARES)
    if len(revealed) >= t:
        check_sum(played, answered, uploaded)
        check_commit(played)
    else:
        assert played.compute is None
        abort = played.round.outcome
        assert isinstance(abort, Abort)
        assert abort.reason == "below_threshold"
        check_abort(played, abort)
    return played


def check_sum(played: Played, u2: tuple[WorkerId, ...], survivors: tuple[WorkerId, ...]) -> None:
    assert played.compute is not None
    assert played.terms is not None
    assert (played.u2, played.compute.survivors) == (u2, survivors)
    side, content = played.aggregate()
    layout = played.terms.layout

    plain = replace(played.terms, layout=replace(layout, masked=False))
    expected = bytearray()
    uploads = {w: bytes_of(played.plain(w)) for w in survivors}
    assert aggregate(plain, uploads, expected.extend) == side
    assert content[: len(expected)] == expected  # values and energies, as the tls tier sums them
    values = [
        unpack(played.plain(w)[: layout.data_bytes], layout.bits).astype(np.int64)
        for w in survivors
    ]
    np.testing.assert_array_equal(
        unpack(content[: layout.data_bytes], layout.bits).astype(np.int64), sum(values)
    )
    for worker in survivors:
        check_aggregate(layout, side, survivors, played.kappa(worker), bytes_of(content))


def check_commit(played: Played) -> None:
    """Survivors contributed; the others' work is free, for nobody can take their masks off."""
    work = played.compute
    assert work is not None
    commit = Commit(
        plan=work.plan,
        numbers=work.numbers,
        survivors=work.survivors,
        side_values=SideValues(0, 0, 0),
        aggregate=HEAD,
        aggregate_bytes=0,
        signatures=work.signatures,
    )
    for worker, member in played.members.items():
        expected = Fate.CONTRIBUTED if worker in work.survivors else Fate.FREE
        assert member.recorded(record(commit=commit)) is expected, worker


def check_abort(played: Played, abort: Abort) -> None:
    """Exposed work is free where too few shares can ever be revealed, and else it is spent."""
    plan, abandons = played.round.plan, abort.abandons or {}
    needed = abandons_needed(len(plan.offers), 0, plan.threshold)
    freed = len(abandons) >= needed
    assert not freed or len(plan.offers) - len(abandons) < plan.threshold
    for worker, member in played.members.items():
        stage = member.round.stage
        assert stage is not None
        assert not (stage.revealed and worker in abandons)
        expected = Fate.FREE if freed or not stage.exposed else Fate.SPENT
        assert member.recorded(record(abort=abort)) is expected


def record(*, commit: Commit | None = None, abort: Abort | None = None) -> Record:
    return Record(1, HEAD, 0, 0, 1, HEAD, 0.0, Counters(), commit=commit, abort=abort)


@pytest.mark.parametrize("bits", WIDTHS)
def test_a_round_without_losses_is_exact_at_every_ring_width(bits: int) -> None:
    assert play_and_check(run_of(5, bits), {}).compute is not None


OF_FIVE = pytest.mark.long(
    "tests/integration/test_masked_rounds.py loses one and two at any message"
)
MIXED = pytest.mark.long("mixed losses have up to 16 members")


@pytest.mark.parametrize("loss", LOSSES, ids=lambda x: x.name.lower())
@pytest.mark.parametrize(
    "num_members",
    [3, 4, pytest.param(5, marks=OF_FIVE), pytest.param(6, marks=MIXED)],
)
def test_every_set_of_losses_at_every_phase_leaves_an_exact_sum_or_none(
    num_members: int, loss: Loss
) -> None:
    runs = [run_of(num_members, bits) for bits in WIDTHS]
    most = num_members - threshold(num_members, 0) + 1
    sizes = range(1, most + 1)
    sets = chain.from_iterable(combinations(runs[0].workers, size) for size in sizes)
    for i, lost in enumerate(sets):
        play_and_check(runs[i % len(runs)], dict.fromkeys(lost, loss))


@settings(max_examples=6, deadline=None)
@given(st.data())
def test_mixed_losses_in_larger_cohorts_leave_an_exact_sum_or_none(data: st.DataObject) -> None:
    num_members = data.draw(st.integers(7, 16))
    possible = [bits for bits in WIDTHS if levels(bits, num_members) >= 1]
    run = run_of(num_members, data.draw(st.sampled_from(possible)))
    most = num_members - threshold(num_members, 0) + 1
    workers = data.draw(st.lists(st.sampled_from(run.workers), unique=True, max_size=most))
    play_and_check(run, {w: data.draw(st.sampled_from(LOSSES)) for w in workers})


@pytest.mark.long("losses in every phase are played with up to 16 members above")
def test_fifty_members_lose_some_in_every_phase() -> None:
    run = run_of(50, 8)
    played = play_and_check(run, dict(zip(run.workers[::9], (*LOSSES, Loss.UPLOAD), strict=True)))
    assert played.compute is not None
    assert len(played.compute.survivors) == 46


SCHEDULE: tuple[dict[int, Loss], ...] = (
    {},
    {1: Loss.UPLOAD},
    {0: Loss.ANSWER, 4: Loss.LAST_SHARD},
    {2: Loss.SIGNATURE},
    {0: Loss.UPLOAD, 1: Loss.UPLOAD, 2: Loss.UPLOAD},
    {3: Loss.SHARES, 4: Loss.ANSWER},
    {},
)
"""Who is lost, and when, in each round of five workers; the fifth one fails."""


def test_a_schedule_with_masks_and_without_gives_the_same_versions_to_the_bit() -> None:
    masked, plain = run_of(5, 8), run_of(5, 8, replace(MASKED, tier="tls"))
    steps = 0
    for seed, losses in enumerate(SCHEDULE):
        lost = {masked.workers[i]: loss for i, loss in losses.items()}
        numbers = {w: n for w, n in NUMBERS_OF.items() if lost.get(w) is not Loss.ANSWER}
        clouds = {w: Cloud(w, masked.algorithm) for w in masked.workers}
        plan = plan_of(masked, clouds, str(seed))
        thetas = thetas_of(masked, seed)
        played = play(masked, thetas, lost, plan=plan, clouds=clouds, numbers=NUMBERS_OF, seed=seed)
        if played.compute is None:
            assert len(losses) == 3
            continue
        survivors = played.compute.survivors
        side, content = played.aggregate()
        masked.advance(masked.commit_of(plan, numbers, survivors, side, content), content)

        terms = plain.terms(replace(plan, tier="tls"), numbers)
        summed, payloads = bytearray(), {}
        for w in survivors:
            number = 1000 * seed + plain.workers.index(w)
            payloads[w], residual = plain.payload(terms, w, thetas[w], number)
            plain.residuals[w] = residual
            kept = played.members[w].residual
            assert kept is not None
            masked.residuals[w] = kept
        side = aggregate(terms, {w: bytes_of(p) for w, p in payloads.items()}, summed.extend)
        commit = plain.commit_of(replace(plan, tier="tls"), numbers, survivors, side, bytes(summed))
        plain.advance(commit, bytes(summed))

        steps += 1
        assert masked.version == plain.version  # theta, state, scales, C: by digest
        for w in masked.residuals:
            np.testing.assert_array_equal(masked.residuals[w], plain.residuals[w])
    assert steps == len(SCHEDULE) - 1
    assert masked.version.state["momentum"]
    assert any(r.any() for r in masked.residuals.values())
