"""What a run will move, cost, take and need: numbers from the code that will do it.

Every worker is taken to be in every cohort, up to `max_cohort`.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from commands.plan import room
from commands.plan.conversation import Conversation, conversation
from commands.plan.cost import Money, money_of
from commands.plan.likeness import Likeness, likeness
from commands.plan.options import PlanOptions
from commands.plan.pace import Times, times_of, told_otherwise
from commands.plan.traffic import Traffic, heartbeat_traffic, round_traffic, version_traffic
from common.documents import Genesis
from common.errors import ConfigError
from common.progress import float32_bytes
from services.config.soundness import loud
from services.wire.traffic import Direction


@dataclass(frozen=True, slots=True)
class Needs:
    """Bytes of disk and memory, by role."""

    disk: Mapping[str, int]
    memory: Mapping[str, int]


@dataclass(frozen=True, slots=True)
class Forecast:
    """Everything. Bytes are on the wire, by direction as the worker sees it, and kind.

    Args:
        first_version, version: bytes of one member for one version; the first is wider.
        share: of the versions that a worker is a member of: less than 1 where not all fit.
        newcomer: likewise, what whoever joins late downloads.
        heartbeats_per_hour: bytes of the control stream that pass without any round.
        evaluator: bytes received for one version, 0 without one.
        float32: what one worker would move each way for one version with float32 FedAvg.
        steps: local steps of a version: data parallel training moves `float32` in each of them.
        likeness: of a sum to one cloud's update; None in tier tls.
        remarks: what was taken for granted, choices that protect less, and where the plan's file
            says other than the run's.
    """

    run: str
    parameters: int
    tier: str
    codec: str
    bits: int
    workers: tuple[str, ...]
    first_version: Traffic
    version: Traffic
    share: float
    newcomer: Traffic
    heartbeats_per_hour: Traffic
    evaluator: int
    float32: int
    steps: int
    ratio: Mapping[Direction, float]
    times: Times
    per_day: Mapping[str, Traffic] | None
    money: Money
    needs: Needs
    likeness: Likeness | None
    remarks: tuple[str, ...]


def forecast(genesis: Genesis, options: PlanOptions) -> Forecast:
    """Return what is to be expected.

    Raises:
        ConfigError: fewer workers than the run's `min_cohort`, or a field is missing.
    """
    a, names = genesis.algorithm, tuple(sorted(options.workers))
    if len(names) < a.min_cohort:
        raise ConfigError(
            f"workers: {len(names)} ({', '.join(names)}), and algorithm.min_cohort is "
            f"{a.min_cohort}: no round could ever open; name more with --worker"
        )
    members = names[: a.max_cohort]
    otherwise = told_otherwise(genesis, options)
    talk = conversation(genesis, members, len(names), evaluator=options.evaluator)
    raw, share = float32_bytes(genesis.schema), len(members) / len(names)
    layout, compressed = room.usual_layout(genesis), options.compressed_aggregates
    version = round_traffic(layout, len(members), talk, compressed)
    times = times_of(genesis, options, version)
    beats = heartbeat_traffic(talk, options.heartbeat_s)
    return Forecast(
        run=genesis.run,
        parameters=genesis.schema.parameter_values,
        tier=a.tier,
        codec=a.codec.kind,
        bits=a.codec.bits,
        workers=names,
        first_version=round_traffic(room.first_layout(genesis), len(members), talk),
        version=version,
        share=share,
        newcomer=version_traffic(genesis),
        heartbeats_per_hour=beats,
        evaluator=version["received"]["aggregate"] if options.evaluator else 0,
        float32=raw,
        steps=a.local_steps,
        ratio={d: sum(version[d].values()) / raw for d in ("sent", "received")},
        times=times,
        per_day=_per_day(names, version, beats, times, share),
        money=money_of(genesis, options, version, beats, times, share),
        needs=_needs(genesis, options, len(members), talk),
        likeness=likeness(a, len(members)),
        remarks=(*options.remarks, *loud(a), *(() if otherwise is None else (otherwise,))),
    )


def _per_day(
    names: tuple[str, ...], version: Traffic, beats: Traffic, times: Times, share: float
) -> dict[str, Traffic] | None:
    if times.versions_per_day is None:
        return None
    rounds = {"update": share * times.versions_per_day}
    day: Traffic = {
        d: {
            kind: round(n * rounds.get(kind, times.versions_per_day) + 24 * beats[d].get(kind, 0))
            for kind, n in by_kind.items()
        }
        for d, by_kind in version.items()
    }
    return dict.fromkeys(names, day)


def _needs(genesis: Genesis, options: PlanOptions, num_members: int, talk: Conversation) -> Needs:
    disk = {
        "coordinator": room.coordinator_disk_peak(genesis, options.snapshot_every, num_members),
        "coordinator log, per 1000 versions": 1000 * talk.record_bytes,
        "worker": round(room.worker_disk_peak(genesis, options.optimizer_bytes)),
        "evaluator": room.evaluator_disk_peak(genesis),
    }
    memory = {
        "coordinator": room.COORDINATOR_BYTES,
        "Redis or Valkey": room.REDIS_BYTES,
        "worker": round(room.worker_memory_bytes(genesis, options.optimizer_bytes)),
        "evaluator": round(room.evaluator_memory_bytes(genesis)),
    }
    return Needs(disk, memory)
