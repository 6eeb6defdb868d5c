"""What makes a plan or a commit record wrong. Coordinator and workers refuse the same things.

The round's own events (deadlines, missing members) are not judged here, nor is who may be a member.
"""

import math
from collections.abc import Iterable

from common import canonical
from common.documents import Commit, Genesis, Plan, Version
from common.errors import BadCommitError
from common.ids import WorkerId
from common.terms import Terms, round_bits, round_fragment
from common.thresholds import round_threshold
from common.weight.share import share

MAX_LOSS_2_20 = 2**40
"""Largest loss of one member among the side values: 2**20 nats."""

_SLACK = 1 + 2.0**-10  # the workers' float32 roundings


def plan_complaint(genesis: Genesis, plan: Plan) -> str:
    """Return what of a plan the run's genesis alone forbids; "" if nothing does."""
    algorithm, roster = genesis.algorithm, plan.roster
    speed, fewest = sum(o.speed for o in plan.offers), round_threshold(len(roster), algorithm)
    return _complaint(
        (plan.run == genesis.run, f"run is {plan.run!r}, ours is {genesis.run!r}"),
        (plan.tier == algorithm.tier, f"tier is {plan.tier!r}, the run's is {algorithm.tier!r}"),
        (roster == tuple(sorted(set(roster))), "offers are not sorted by worker, each once"),
        (
            algorithm.min_cohort <= len(roster) <= algorithm.max_cohort,
            f"{len(roster)} offers, must be {algorithm.min_cohort} to {algorithm.max_cohort}",
        ),
        (plan.threshold == fewest, f"threshold is {plan.threshold}, must be {fewest}"),
        (plan.threshold <= len(roster), f"threshold {plan.threshold} of {len(roster)} offers"),
        (all(o.speed >= 1 for o in plan.offers), "an offer's speed is below 1"),
        (speed <= plan.live_speed, f"live_speed is {plan.live_speed}, the roster's is {speed}"),
        (len(roster) <= plan.num_live, f"num_live is {plan.num_live}, below the roster's count"),
        (plan.hours >= 0, f"hours is {plan.hours}, must not be negative"),
        (plan.progress == 0, f"progress is {plan.progress}, no outer schedule asks for it: 0.0"),
    )


def check_plan(genesis: Genesis, version: Version, plan: Plan) -> None:
    """Refuse a plan that does not follow from the run and its base `version`.

    Raises:
        BadCommitError: names the field.
    """
    codec = genesis.algorithm.codec
    fragment, bits = round_fragment(codec, version.commits), round_bits(codec, version.commits)
    if complaint := plan_complaint(genesis, plan):
        raise BadCommitError(complaint)
    _refuse_unless(
        (plan.digest == canonical.digest(version), f"digest {plan.digest} is not the base's"),
        (plan.fragment == fragment, f"fragment is {plan.fragment}, must be {fragment}"),
        (plan.bits == bits, f"bits is {plan.bits}, must be {bits}"),
    )


def check_commit(commit: Commit, terms: Terms) -> None:
    """Refuse a commit whose survivors, side values or sizes do not follow from plan and numbers.

    Args:
        commit: its plan is already checked by `check_plan`.
        terms: of that plan and the commit's numbers.

    Raises:
        BadCommitError: names the field.
    """
    plan, side, s = commit.plan, commit.side_values, commit.survivors
    _refuse_unless(
        (commit.numbers.keys() <= set(plan.roster), "numbers of workers that are not in the plan"),
        (s == tuple(sorted(set(s))), "survivors are not sorted, each once"),
        (set(s) <= commit.numbers.keys(), "survivors without numbers"),
        (len(s) >= plan.threshold, f"{len(s)} survivors, at least {plan.threshold} needed"),
    )
    sum_v, part = sum(terms.weights.v[w] for w in s), share(plan, s)
    aggregate_bytes = terms.layout.aggregate_bytes(len(s))
    most_clipped = len(s) if terms.clip > 0 else 0
    _refuse_unless(
        (0 < part <= 1, f"share is {part}, must be above 0 and at most 1"),
        (side.v == sum_v, f"side_values.v is {side.v}, the numbers give {sum_v}"),
        (
            0 <= side.loss_2_20 <= len(s) * MAX_LOSS_2_20,
            f"side_values.loss_2_20 is {side.loss_2_20}, out of range",
        ),
        (
            0 <= side.clipped <= most_clipped,
            f"side_values.clipped is {side.clipped}, at most {most_clipped} can be",
        ),
        (
            commit.aggregate_bytes == aggregate_bytes,
            f"aggregate_bytes is {commit.aggregate_bytes}, must be {aggregate_bytes}",
        ),
    )


def check_length(terms: Terms, survivors: Iterable[WorkerId], squares: Iterable[float]) -> None:
    """Refuse a sum that is longer than its members' clipped updates can be; C off checks nothing.

    Args:
        terms: of the round.
        survivors: S.
        squares: squared lengths of the blocks of the decoded sum, before division by V.

    Raises:
        BadCommitError: someone did not clip, or someone made the sum up.
    """
    if terms.clip == 0:
        return
    decay = terms.algorithm.codec.residual_decay if terms.codec.keeps_residual else 0.0
    rho, rounding = terms.algorithm.max_policy_factor, terms.codec.rounding_bound()
    bound = math.fsum(
        (rho * terms.weights.wire(w) + decay) * terms.clip * terms.numbers[w].lr_sum + rounding
        for w in survivors
    )
    length = math.sqrt(math.fsum(squares))
    if not length <= bound * _SLACK:
        raise BadCommitError(f"the sum's length is {length:.6g}, clipping allows {bound:.6g}")


def _complaint(*checks: tuple[bool, str]) -> str:
    return next((sentence for holds, sentence in checks if not holds), "")


def _refuse_unless(*checks: tuple[bool, str]) -> None:
    if complaint := _complaint(*checks):
        raise BadCommitError(complaint)
