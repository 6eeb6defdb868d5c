"""How long a round takes, and how many versions and tokens there are in a day.

Training goes on while a round does: the next one begins when the fastest worker has taken its local
steps, or when the round is over, whichever is later. A slow worker takes fewer steps, in that time.
"""

from dataclasses import dataclass
from typing import Final

from commands.plan.options import PlanOptions
from commands.plan.traffic import Traffic
from common.canonical import Json
from common.documents import Genesis, Stop
from common.errors import ConfigError
from common.learners import BUILT_IN
from common.progress import MAX_ROUNDS_AHEAD, float32_bytes

DAY_S: Final = 86_400.0
_GB: Final = 1e9


@dataclass(frozen=True, slots=True)
class Times:
    """Seconds of one round, and how long it is from version to version. None = not told.

    Args:
        upload_s, download_s: over the slowest link, the coordinator's own among them.
        period_s: from version to version: the round, or the local steps where they take longer.
        idle_share: of the fastest worker's time.
        versions_per_day, tokens_per_day: of the federation.
        run_days: until the first stop limit of the run.
    """

    encode_s: float
    upload_s: float | None
    commit_s: float
    download_s: float | None
    merge_s: float
    round_s: float | None
    steps_s: float | None
    period_s: float | None
    idle_share: float | None
    versions_per_day: float | None
    tokens_per_day: float | None
    run_days: float | None


def times_of(genesis: Genesis, options: PlanOptions, version: Traffic) -> Times:
    """Return the times of rounds like `version`.

    Raises:
        ConfigError: a speed, or the tokens of a step, are missing.
    """
    gb = float32_bytes(genesis.schema) / _GB
    encode_s, commit_s, merge_s = (
        gb * per_gb
        for per_gb in (options.encode_s_per_gb, options.commit_s_per_gb, options.merge_s_per_gb)
    )
    upload_s = _transfer_s(options, sum(version["sent"].values()), up=True)
    download_s = _transfer_s(options, sum(version["received"].values()), up=False)
    round_s = None
    if upload_s is not None and download_s is not None:
        round_s = encode_s + upload_s + commit_s + download_s + merge_s
    steps_s = _steps_s(genesis, options)
    known = [s for s in (round_s, steps_s) if s is not None]
    period_s = max(known) if len(known) == 2 else None
    idle = None
    if period_s is not None and steps_s is not None:
        idle = max(0.0, 1 - MAX_ROUNDS_AHEAD * steps_s / period_s)
    tokens = None if idle is None else sum(_speeds(options)) * (1 - idle) * DAY_S
    per_day = None if period_s is None else DAY_S / period_s
    return Times(
        encode_s=encode_s,
        upload_s=upload_s,
        commit_s=commit_s,
        download_s=download_s,
        merge_s=merge_s,
        round_s=round_s,
        steps_s=steps_s,
        period_s=period_s,
        idle_share=idle,
        versions_per_day=per_day,
        tokens_per_day=tokens,
        run_days=_run_days(genesis.stop, per_day, tokens),
    )


def _transfer_s(options: PlanOptions, num_bytes: int, *, up: bool) -> float | None:
    """Return how long all workers take to move so many bytes each; None where a link is missing."""
    own = [w.up_mbps if up else w.down_mbps for w in options.workers.values()]
    shared = options.coordinator.down_mbps if up else options.coordinator.up_mbps
    links = [n for n in own if n is not None]
    if len(links) < len(own):
        return None
    num_downloads = len(own) + (0 if up else options.evaluator)
    alone = 8 * num_bytes / 1e6 / min(links)
    together = 0.0 if shared is None else 8 * num_bytes * num_downloads / 1e6 / shared
    return max(alone, together)


def _speeds(options: PlanOptions) -> list[float]:
    return [w.tokens_per_s for w in options.workers.values() if w.tokens_per_s is not None]


def _steps_s(genesis: Genesis, options: PlanOptions) -> float | None:
    """Return how long the local steps of a version take: the fastest worker's full number."""
    speeds = _speeds(options)
    if len(speeds) < len(options.workers):
        if speeds:
            missing = [n for n, w in options.workers.items() if w.tokens_per_s is None]
            raise ConfigError(
                f"workers.{missing[0]}.tokens_per_s: missing, while others have one: give "
                f"--tokens-per-s {missing[0]}=..., or one number for all"
            )
        return None
    return genesis.algorithm.local_steps * _tokens_per_step(genesis, options) / max(speeds)


def _tokens_per_step(genesis: Genesis, options: PlanOptions) -> int:
    tokens = options.tokens_per_step or _settings_tokens(genesis)
    if tokens is None:
        raise ConfigError(
            "tokens_per_step: missing: settings of the run do not say batch and sequence; add it "
            "to the plan's file"
        )
    return tokens


def told_otherwise(genesis: Genesis, options: PlanOptions) -> str | None:
    """Return a sentence where the plan's file counts other tokens than the run's settings.

    A learner of one's own may take several batches in a step, or call other things so. The built-in
    one does not: what it takes is pinned.

    Raises:
        ConfigError: it is the built-in learner.
    """
    told, said = options.tokens_per_step, _settings_tokens(genesis)
    if told is None or said is None or told == said:
        return None
    batch, sequence = _batch_and_sequence(genesis)
    settings = f"the run's settings say batch {batch} * sequence {sequence} = {said}"
    if genesis.learner == BUILT_IN:
        raise ConfigError(
            f"tokens_per_step: {told}, but {settings}, which is what a step of {BUILT_IN} takes: "
            "delete it, or change settings.batch or settings.sequence in the run's file"
        )
    return f"A step is taken to be {told} tokens, as tokens_per_step says; {settings}."


def _settings_tokens(genesis: Genesis) -> int | None:
    """Return batch * sequence where the run's settings, or their defaults, say both."""
    sizes = _batch_and_sequence(genesis)
    named = {"batch", "sequence"} <= genesis.settings.keys()
    if not (genesis.learner == BUILT_IN or named):
        return None
    if not all(isinstance(n, int | float) for n in sizes):
        return None
    return int(sizes[0]) * int(sizes[1])


def _batch_and_sequence(genesis: Genesis) -> tuple[Json, Json]:
    settings = {"batch": 12, "sequence": 128, **genesis.settings}
    return settings["batch"], settings["sequence"]


def _run_days(stop: Stop, versions_per_day: float | None, tokens: float | None) -> float | None:
    """Return days until the first limit that can be foreseen; None where there is none."""
    limits = [stop.hours / 24] if stop.hours else []
    if stop.versions and versions_per_day:
        limits.append(stop.versions / versions_per_day)
    if stop.tokens and tokens:
        limits.append(stop.tokens / tokens)
    return min(limits, default=None)
