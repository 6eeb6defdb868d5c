"""What goes wrong in one history: drawn from its seed, so that a seed is a history."""

import enum
import random
from dataclasses import dataclass
from typing import Final

FAULTS_S: Final = 3.5
"""Virtual seconds in which things go wrong; after them nothing does."""

COORDINATOR_ACTS: Final = 130
WORKER_ACTS: Final = 100
"""What a process does until then, about; a single fault is put at each of these in turn."""

WINDOWS: Final = (
    "link 0",  # the commit point
    "fsync log",
    "save",
    "publish",
    "order TakeOver",
    "mkdir bin-",
    "order Collect",
    "move to bin-",
    "unlink in bin-",
    "order SealRound",
    "order DropRound",
)
"""Acts of a coordinator that are few, and after which another's may matter."""


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
    """Return the faults of a history: half of the seeds walk one fault through every act.

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
        return (KillWorker(rng.randrange(num_workers), 1 + step % WORKER_ACTS, loss),)
    if kind == 2 and step % 2:
        return (PauseCoordinator(1 + step // 2 % COORDINATOR_ACTS, rng.uniform(2.0, 7.0)),)
    if kind == 2:
        nth, window = divmod(step // 2, len(WINDOWS))
        return (PauseCoordinator(1 + nth % 4, rng.uniform(2.0, 7.0), WINDOWS[window]),)
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
