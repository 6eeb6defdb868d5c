"""What a learning run is, and what came of it: documents that can be kept and compared."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from common.canonical import Json
from common.documents import Algorithm, Stop
from common.ids import Digest


@dataclass(frozen=True, slots=True)
class Cloud:
    """One worker's place.

    Args:
        name: of the worker: one of those that the simulation has certificates for, "w0" to "w4".
        data: the learner's data settings: this cloud's own.
        steps_per_s: local steps per virtual second.
        up_bps: of its link, bits per virtual second, for uploads; 0 = they take no time.
        down_bps: likewise for downloads.
    """

    name: str
    data: Mapping[str, Json]
    steps_per_s: float = 1.0
    up_bps: float = 0.0
    down_bps: float = 0.0


@dataclass(frozen=True, slots=True)
class LearningRun:
    """All that decides what a run's figures are.

    Args:
        learner: "package.module:build".
        settings: the learner's own.
        stop: `versions` or `tokens`.
        measured: the learner's data settings of the last version's evaluation.
        glanced: likewise of the evaluations in between; usually with fewer tokens.
        glance_every: versions between those; 0 = there are none.
    """

    seed: int
    learner: str
    settings: Mapping[str, Json]
    algorithm: Algorithm
    stop: Stop
    clouds: tuple[Cloud, ...]
    measured: Mapping[str, Json]
    glanced: Mapping[str, Json] = field(default_factory=dict)
    glance_every: int = 0


@dataclass(frozen=True, slots=True)
class Traffic:
    """Bytes of one worker by kind.

    Args:
        up: "update" (payloads) and "control" (messages, without TLS and HTTP/2).
        down: "aggregate", "version" (where a newcomer begins) and "control".
    """

    up: Mapping[str, int]
    down: Mapping[str, int]


@dataclass(frozen=True, slots=True)
class Glance:
    """One evaluation on the way.

    Args:
        seconds: virtual, since the run began.
        up_bytes: payload bytes of all workers so far.
        down_bytes: aggregate bytes of all workers so far.
    """

    version: int
    steps: int
    tokens: int
    seconds: float
    loss: float
    accuracy: float
    up_bytes: int
    down_bytes: int


@dataclass(frozen=True, slots=True)
class Learned:
    """What came of a run.

    Args:
        digest: of the last version: runs with equal digests are equal to the last bit.
        loss: mean nats per token of the last version, on all that `measured` names.
        accuracy: share of next tokens that got the highest score.
        evaluated_tokens: how many were predicted.
        parameters: values that are trained, padding excluded.
        exchanges: contributions, summed over the workers.
        steps: local steps in them.
        tokens: trained on in them.
        age: mean staleness of a contribution, in commits.
        aggregate_bytes: of all versions; each worker downloads each, but the last, with which a run
            ends, in its own time.
        seconds: virtual.
        traffic: by worker.
        waits_s: how long each worker waited for members' words, each time that it did; virtual.
    """

    digest: Digest
    versions: int
    loss: float
    accuracy: float
    evaluated_tokens: int
    parameters: int
    exchanges: int
    steps: int
    tokens: int
    age: float
    aggregate_bytes: int
    seconds: float
    traffic: Mapping[str, Traffic]
    glances: tuple[Glance, ...]
    waits_s: Mapping[str, tuple[float, ...]] = field(default_factory=dict)

    def bytes_moved(self, way: str, kind: str) -> int:
        """Return bytes of all workers, `way` "up" or "down"."""
        return sum(getattr(t, way).get(kind, 0) for t in self.traffic.values())
