"""Prices the traffic that leaves a cloud. What comes in is free.

The coordinator pays for what everybody downloads, each worker for what it uploads, whether or not
two of them stand in the same cloud.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from commands.plan.options import COORDINATOR, PlaceSettings, PlanOptions
from commands.plan.pace import Times
from commands.plan.traffic import Traffic
from common.documents import Genesis
from common.progress import float32_bytes

_GB: Final = 1e9


@dataclass(frozen=True, slots=True)
class Money:
    """USD for traffic to the internet, of all that pay for it.

    Args:
        per_version: by payer.
        float32_fedavg, float32_data_parallel: of a version's worth of steps.
        unpriced: clouds without a price; they are in no sum.
    """

    per_version: Mapping[str, float]
    total_per_version: float
    total_per_day: float | None
    total_of_run: float | None
    float32_fedavg: float
    float32_data_parallel: float
    unpriced: tuple[str, ...]


def money_of(
    genesis: Genesis,
    options: PlanOptions,
    version: Traffic,
    beats: Traffic,
    times: Times,
    share: float,
) -> Money:
    """Return what one version, a day and the run cost.

    Args:
        version: of one member.
        beats: heartbeats, per hour.
        share: of the versions that a worker is a member of.
    """
    sent, received = (sum(version[d].values()) for d in ("sent", "received"))
    raw, num = float32_bytes(genesis.schema), len(options.workers)
    down = received * num + (version["received"]["aggregate"] if options.evaluator else 0)
    unpriced: list[str] = []

    def usd(name: str, place: PlaceSettings, num_bytes: float) -> float:
        cloud = place.cloud or name
        price = options.prices_usd_per_gb.get(cloud)
        if price is None:
            unpriced.append(cloud)
        return (price or 0.0) * num_bytes / _GB

    def cost(per_worker: float, from_coordinator: float) -> dict[str, float]:
        payers = {n: usd(n, w, per_worker) for n, w in options.workers.items()}
        return {**payers, COORDINATOR: usd(COORDINATOR, options.coordinator, from_coordinator)}

    per_version = cost(share * sent, down)
    fedavg = sum(cost(share * raw, raw * num).values())
    still = cost(beats["sent"]["control"], beats["received"]["control"] * num)
    total = sum(per_version.values())
    per_day = None
    if times.versions_per_day is not None:
        per_day = total * times.versions_per_day + 24 * sum(still.values())
    of_run = None
    if per_day is not None and times.run_days is not None:
        of_run = per_day * times.run_days
    return Money(
        per_version=per_version,
        total_per_version=total,
        total_per_day=per_day,
        total_of_run=of_run,
        float32_fedavg=fedavg,
        float32_data_parallel=fedavg * genesis.algorithm.local_steps,
        unpriced=tuple(sorted(set(unpriced))),
    )
