"""What goes wrong in one history: drawn from its seed, so that a seed is a history."""

import enum
import random
from dataclasses import dataclass
from typing import Final

from common.thresholds import round_threshold
from simulator.liar import KINDS
from simulator.runs import algorithm_of, num_workers

COORDINATOR_ACTS: Final = {"tls": 130, "masked": 190}
WORKER_ACTS: Final = {"tls": 100, "masked": 130}
"""What a process does in its first round, about; a single fault is put at each of these in turn."""

WINDOWS: Final = (
    "link 0",  # the commit point
    "fsync log",
    "save",
    "publish",
    "order TakeOver",
    "mkdir trash-",
    "order Collect",
    "move to trash-",
    "unlink in trash-",
    "order Seal",
    "order DropSpool",
)
"""Acts of a coordinator that are few, and after which another's may matter."""

UNMASKING: Final = (
    "send Members",
    "order Seal",
    "heard Sealed",
    "send Survivors",
    "send Signatures",
    "order Compute",
    "heard Computed",
    "link 0",
    "send End",
)
"""Acts of a coordinator between which the members of a masked round let out ever more."""

SAYING: Final = (
    "say answer",
    "fsync stage",
    "push",
    "say signature",
    "say shares",
    "say abandon",
    "tell the trainer Merge",
    "tell the trainer Release",
    "rename .manifest",
)
"""Acts of a worker likewise."""


class Loss(enum.Enum):
    """What a death takes with it."""

    PROCESS = "the process alone"
    POWER = "all that was not durable"
    SOME = "some of what was not durable"


@dataclass(frozen=True)
class KillCoordinator:
    """The next coordinator dies at its n-th act; `before` = of those with that in their name."""

    act: int
    loss: Loss
    before: str = ""


@dataclass(frozen=True)
class PauseCoordinator:
    """The next coordinator stops before its n-th act; `before` = as above."""

    act: int
    lasting_s: float
    before: str = ""


@dataclass(frozen=True)
class KillWorker:
    """A worker's next process dies at its n-th act; `before` = as above."""

    worker: int
    act: int
    loss: Loss
    before: str = ""


@dataclass(frozen=True)
class EndWorker:
    """A worker's process dies at some time, whatever it does, or waits for."""

    at_s: float
    worker: int
    loss: Loss


@dataclass(frozen=True)
class CutStream:
    """A worker's control stream breaks."""

    at_s: float
    worker: int


@dataclass(frozen=True)
class Isolate:
    """A worker reaches nobody for a while."""

    at_s: float
    worker: int
    lasting_s: float


@dataclass(frozen=True)
class Rewind:
    """The store goes back to an earlier state: a share of its life so far; 0 = empty."""

    at_s: float
    share: float


@dataclass(frozen=True)
class BadLinks:
    """Messages come twice, bulk calls break: shares of them."""

    duplicates: float
    cuts: float


@dataclass(frozen=True)
class RollBack:
    """An operator wants the version back that was `back` versions ago; at 0 or less there is none.

    No fault, but one more thing that every fault may fall into.
    """

    at_s: float
    back: int


@dataclass(frozen=True)
class Lie:
    """The coordinator lies to one worker of a masked run; kind as in `liar.py`."""

    at_s: float
    worker: int
    lasting_s: float
    kind: str


Fault = (
    KillCoordinator
    | PauseCoordinator
    | KillWorker
    | EndWorker
    | CutStream
    | Isolate
    | Rewind
    | BadLinks
    | RollBack
    | Lie
)


def faults_s(seed: int) -> float:
    """Return the virtual seconds in which things go wrong; after them nothing does."""
    return 5.0 if algorithm_of(seed).masked else 3.5


def faults_of(seed: int) -> tuple[Fault, ...]:
    """Return the faults of a history: half of the seeds walk one fault through every act.

    A third of the masked ones aim at what members say in a round. In a quarter of all an operator
    asks for roll-backs. In a third of the masked ones the coordinator lies to one worker.
    """
    return (*_faults_of(seed), *_roll_backs(seed), *_lies(seed))


def _lies(seed: int) -> tuple[Lie, ...]:
    rng = random.Random(f"lies {seed}")  # noqa: S311 - a simulation
    if not algorithm_of(seed).masked or rng.random() > 1 / 3:
        return ()
    at_s = rng.uniform(0.5, faults_s(seed) - 1.0)
    worker, kind = rng.randrange(num_workers(seed)), rng.choice(KINDS)
    return (Lie(at_s, worker, rng.uniform(0.5, 3.0), kind),)


def _roll_backs(seed: int) -> tuple[RollBack, ...]:
    rng = random.Random(f"operator {seed}")  # noqa: S311 - a simulation
    if rng.random() > 1 / 4:
        return ()
    num = rng.randint(1, 2)
    return tuple(
        RollBack(rng.uniform(1.0, faults_s(seed)), rng.choice((-3, 0, 1, 1, 1, 2, 2, 3)))
        for _ in range(num)
    )


def _faults_of(seed: int) -> tuple[Fault, ...]:
    rng = random.Random(f"faults {seed}")  # noqa: S311 - a simulation
    tier, workers = algorithm_of(seed).tier, num_workers(seed)
    step, kind = divmod(seed, 6)
    loss = list(Loss)[step % 3]
    if kind == 0:
        kill = KillCoordinator(1 + step % COORDINATOR_ACTS[tier], loss)
        lost = may_lose_one(seed) and rng.random() < 0.5
        return (kill, _lost_upload(rng, workers)) if lost else (kill,)
    if kind == 1:
        return (KillWorker(rng.randrange(workers), 1 + step % WORKER_ACTS[tier], loss),)
    if kind == 2 and step % 2:
        act = 1 + step // 2 % COORDINATOR_ACTS[tier]
        return (PauseCoordinator(act, rng.uniform(2.0, 7.0)),)
    if kind == 2:
        nth, window = divmod(step // 2, len(WINDOWS))
        return (PauseCoordinator(1 + nth % 4, rng.uniform(2.0, 7.0), WINDOWS[window]),)
    if kind < 5 and tier == "masked":
        return _aimed(rng, seed)
    return tuple(_any(rng, seed) for _ in range(rng.randint(2, 5)))


def may_lose_one(seed: int) -> bool:
    """Return whether a masked round of a history can do without a member."""
    a = algorithm_of(seed)
    most = min(num_workers(seed), a.max_cohort)
    return a.masked and round_threshold(most, a) < most


def _aimed(rng: random.Random, seed: int) -> tuple[Fault, ...]:
    """Return faults in the middle of rounds, mostly after an upload was lost."""
    workers = num_workers(seed)
    faults: list[Fault] = []
    if may_lose_one(seed) and rng.random() < 0.7:
        faults.append(_lost_upload(rng, workers))
    for _ in range(rng.randint(1, 3)):
        worker, loss = rng.randrange(workers), rng.choice(list(Loss))
        told, said = rng.choice(UNMASKING), rng.choice(SAYING)
        some: list[Fault] = [
            KillCoordinator(rng.randint(1, workers), loss, told),
            PauseCoordinator(rng.randint(1, workers), rng.uniform(0.5, 7.0), told),
            KillWorker(worker, rng.randint(1, 2), loss, said),
            KillWorker(worker, rng.randint(1, 2), loss, said),
            EndWorker(rng.uniform(1.0, 4.0), worker, loss),
            CutStream(rng.uniform(1.0, 4.0), worker),
        ]
        faults.append(rng.choice(some))
    return tuple(faults)


def _lost_upload(rng: random.Random, workers: int) -> KillWorker:
    """A member is lost once U2 is known: the others have to sign who is left."""
    return KillWorker(rng.randrange(workers), rng.randint(1, 2), rng.choice(list(Loss)), "push")


def _any(rng: random.Random, seed: int) -> Fault:
    tier = algorithm_of(seed).tier
    at_s, worker = rng.uniform(0.5, faults_s(seed)), rng.randrange(num_workers(seed))
    loss = rng.choice(list(Loss))
    coordinator_act = rng.randint(1, COORDINATOR_ACTS[tier])
    worker_act = rng.randint(1, WORKER_ACTS[tier])
    faults: list[Fault] = [
        KillCoordinator(coordinator_act, loss),
        KillWorker(worker, worker_act, loss),
        KillWorker(worker, worker_act, loss),
        PauseCoordinator(coordinator_act, rng.uniform(0.5, 8.0)),
        CutStream(at_s, worker),
        Isolate(at_s, worker, rng.uniform(0.5, 6.0)),
        Rewind(at_s, rng.choice((0.0, rng.random()))),
        BadLinks(rng.uniform(0, 0.3), rng.uniform(0, 0.4)),
    ]
    return rng.choice(faults)
