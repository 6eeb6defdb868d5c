"""What goes wrong in one history: drawn from its seed, so that a seed is a history."""

import enum
import random
from dataclasses import dataclass
from typing import Final

FAULTS_S: Final = 3.5
"""Virtual seconds in which things go wrong; after them nothing does."""

COORDINATOR_ACTS: Final = 120
WORKER_ACTS: Final = 100
"""What a process does until then, about; a single fault is put at each of these in turn."""


class Loss(enum.Enum):
    """What a death takes with it."""

    PROCESS = "the process alone"
    POWER = "all that was not durable"
    SOME = "some of what was not durable"


@dataclass(frozen=True)
class KillCoordinator:
    """The next coordinator dies at its n-th act."""

    act: int
    loss: Loss


@dataclass(frozen=True)
class PauseCoordinator:
    """The next coordinator stops before its n-th act, for longer than its lease."""

    act: int
    lasting_s: float


@dataclass(frozen=True)
class KillWorker:
    """A worker's next process dies at its n-th act."""

    worker: int
    act: int
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


Fault = (
    KillCoordinator
    | PauseCoordinator
    | KillWorker
    | CutStream
    | Isolate
    | Rewind
    | BadLinks
    | RollBack
)


def faults_of(seed: int, num_workers: int) -> tuple[Fault, ...]:
    """Return the faults of a history: a third of the seeds walk one death through every act.

    In a quarter of all an operator asks for roll-backs.
    """
    return (*_faults_of(seed, num_workers), *_roll_backs(seed))


def _roll_backs(seed: int) -> tuple[RollBack, ...]:
    rng = random.Random(f"operator {seed}")  # noqa: S311 - a simulation
    if rng.random() > 1 / 4:
        return ()
    num = rng.randint(1, 2)
    return tuple(
        RollBack(rng.uniform(1.0, FAULTS_S), rng.choice((-3, 0, 1, 1, 1, 2, 2, 3)))
        for _ in range(num)
    )


def _faults_of(seed: int, num_workers: int) -> tuple[Fault, ...]:
    rng = random.Random(f"faults {seed}")  # noqa: S311 - a simulation
    step, kind = divmod(seed, 6)
    loss = list(Loss)[step % 3]
    if kind == 0:
        return (KillCoordinator(1 + step % COORDINATOR_ACTS, loss),)
    if kind == 1:
        return (KillWorker(step % num_workers, 1 + step % WORKER_ACTS, loss),)
    if kind == 2:
        return (PauseCoordinator(1 + step % COORDINATOR_ACTS, rng.uniform(3.5, 8.0)),)
    return tuple(_any(rng, num_workers) for _ in range(rng.randint(2, 5)))


def _any(rng: random.Random, num_workers: int) -> Fault:
    at_s, worker = rng.uniform(0.5, FAULTS_S), rng.randrange(num_workers)
    loss = rng.choice(list(Loss))
    coordinator_act, worker_act = rng.randint(1, COORDINATOR_ACTS), rng.randint(1, WORKER_ACTS)
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
