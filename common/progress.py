"""How far a run is, on the public clock: the counters of the log and one number in [0, 1]."""

from collections.abc import Mapping
from typing import Final

import numpy as np

from common.documents import Commit, Counters, Genesis, WorkerCounters
from common.schema import ModelSchema
from common.terms import round_layout

MAX_ROUNDS_AHEAD: Final = 8
"""A trainer that holds over 8 * H_i uncommitted steps waits: more would be discarded as too old."""

_AGE_ONE = 256


def next_counters(genesis: Genesis, counters: Counters, commit: Commit, elapsed_s: int) -> Counters:
    """Return the counters after `commit`.

    Args:
        genesis: of the run.
        counters: of the previous record.
        commit: about to be recorded.
        elapsed_s: seconds that the run was led.
    """
    schema, survivors = genesis.schema, commit.survivors
    numbers = [commit.numbers[w] for w in survivors]
    steps = sum(n.steps for n in numbers)
    layout = round_layout(genesis, commit.plan.bits, commit.plan.fragment)
    return Counters(
        tokens=counters.tokens + sum(n.tokens for n in numbers),
        steps=counters.steps + steps,
        member_steps_256=counters.member_steps_256 + _AGE_ONE * steps // commit.plan.num_live,
        elapsed_s=elapsed_s,
        payload_bytes=counters.payload_bytes + len(survivors) * layout.sent_bytes,
        float32_bytes=counters.float32_bytes + len(survivors) * float32_bytes(schema),
        workers=_next_workers(counters.workers, commit),
    )


def float32_bytes(schema: ModelSchema) -> int:
    """Return what an update, or an aggregate, stands for: every value of the model as float32."""
    return 4 * (schema.parameter_values + schema.buffer_values)


def progress(genesis: Genesis, versions: int, tokens: int, hours: float) -> float:
    """Return the largest of versions, tokens and hours over its stop limit: a float32 in [0, 1].

    Args:
        genesis: its `stop` has the limits, 0 = none; `horizon_tokens` stands in for them.
        versions: committed so far.
        tokens: committed so far.
        hours: of the newest plan.
    """
    stop, horizon = genesis.stop, genesis.algorithm.schedule.horizon_tokens
    parts = (
        (versions, stop.versions),
        (tokens, stop.tokens),
        (hours, stop.hours),
        (tokens, horizon),
    )
    largest = max((done / limit for done, limit in parts if limit > 0), default=0.0)
    return float(np.float32(min(1.0, largest)))


def _next_workers(
    workers: Mapping[str, WorkerCounters], commit: Commit
) -> dict[str, WorkerCounters]:
    moved = dict(workers)
    for name in commit.survivors:
        w, n = moved.get(name, WorkerCounters()), commit.numbers[name]
        moved[name] = WorkerCounters(
            contributions=w.contributions + 1,
            tokens=w.tokens + n.tokens,
            steps=w.steps + n.steps,
            age_256=w.age_256 + n.age_256,
        )
    return moved
