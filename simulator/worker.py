"""A worker in virtual time: the real `Working` and trainer, in one task.

As in `services/worker/main.py`; only the trainer's process, the network and the clock are not real.
"""

import asyncio
import functools
import math
import random
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from threading import Event
from typing import Any, Final, cast

from common.arrays import F32
from common.documents import Genesis
from common.errors import UnknownFileError
from common.ids import Digest, RoundId, WorkerId
from services.disk.data_store import DataStore
from services.observe.metrics.worker import WorkerMetrics
from services.wire.bulk_link import GivenUpError
from services.wire.traffic import TrafficCounts
from services.worker import trainer as trainer_link
from services.worker.messages import (
    Begin,
    Build,
    Close,
    Closed,
    Merge,
    Merged,
    Progress,
    Release,
    Return,
    Saved,
)
from services.worker.trainer_process import PacedTrainer
from services.worker.working import Working
from simulator.clock import TryAgainError
from simulator.host import Host, happens
from simulator.identities import identities
from simulator.learner import Books, Counting
from simulator.network import Network, NoAnswerError
from simulator.work_history import WorkHistory, residual_in
from worker.rounds.attempt import MaskedMember
from worker.rounds.masked_tier import MaskedTier
from worker.rounds.tier import Tier
from worker.rounds.tls_tier import TlsTier
from worker.rounds.trust import Trust
from worker.training.ledger import Work

_RETRY_S: Final = 0.4
_TRAINER_LAG_S: Final = 0.01


class SimulatedTrainer:
    """`services.worker.trainer.TrainerLink` and the process behind it, between two awaits.

    Args:
        history: is told what happens to work.
    """

    def __init__(
        self,
        build: Build,
        now_s: Callable[[], float],
        progressed: Callable[[], None],
        history: WorkHistory,
    ) -> None:
        self._history = history
        self.progress: Progress | None = None
        self.paced = PacedTrainer(self, build, now_s)
        self.ready = self.paced.ready
        self._counts = isinstance(self.paced.trainer.learner, Counting)  # else it keeps no books
        self._now_s = now_s
        self._progressed = progressed
        self._answer: object = None
        self._told = asyncio.Event()
        self._begun = False
        self.reading: asyncio.Task[None]

    @property
    def learner(self) -> Counting:
        """What is trained."""
        return cast("Counting", self.paced.trainer.learner)

    def send(self, message: object) -> None:
        """The trainer speaks."""
        if isinstance(message, Progress):  # memory is this machine's, and no run's
            self.progress = replace(message, resident_bytes=0)
            self._progressed()
        else:
            self._answer = message

    async def run(self) -> None:
        """Train, for ever."""
        while True:
            self._told.clear()
            if not self._begun or not self.paced.may_step():
                await self._told.wait()
                continue
            wait_s = self.paced.next_step_at - self._now_s()
            if wait_s > 1e-6:
                await asyncio.sleep(wait_s)
            elif self.paced.may_step():
                self.paced.step()
                self.paced.report()

    async def tell(self, message: object) -> None:
        """Say what has no answer."""
        await self._do(message)
        self._begun = True

    async def close(self, question: object) -> Closed:
        """Freeze the pending work."""
        return cast("Closed", await self._do(question))

    async def merge(self, question: object) -> Merged:
        """Move the live parameters onto a new base."""
        return cast("Merged", await self._do(question))

    async def roll_back(self, question: object) -> Merged:
        """Start again from a version, without local work."""
        return cast("Merged", await self._do(question))

    async def save(self, question: object) -> Saved:
        """Write the learner's whole state."""
        return cast("Saved", await self._do(question))

    async def _do(self, message: object) -> object:
        happens(f"tell the trainer {type(message).__name__}")
        await asyncio.sleep(_TRAINER_LAG_S)
        self._answer = None
        match message:
            case Begin(clock, segments) | Merge(clock, segments) | Return(clock, segments):
                self._history.given(clock.version, segments)
        if isinstance(message, Close) and self._counts:  # before it is written
            self._freeze(message.round)
        books = self._books_after(message) if self._counts else None
        self.paced.handle(message)
        if books is not None:
            self.learner.books = books
        self.paced.report()
        self._told.set()
        await asyncio.sleep(_TRAINER_LAG_S)
        happens(f"heard the trainer on {type(message).__name__}")
        return self._answer

    def _freeze(self, round_id: str) -> None:
        learner = self.learner
        self._history.froze(round_id, learner.books.pending, self._now_s())
        learner.books = learner.books.freeze(round_id)

    def _books_after(self, message: object) -> Books | None:
        """Return the learner's books once `message` is done; None where it leaves them.

        Who goes from before a commit that names it to behind a roll-back has that round's work
        still frozen: the books give it up too, and the log says better (`ledger.py`).
        """
        ledger, books = self.paced.trainer.ledger, self.learner.books
        match message:
            case Merge(round=round_id, fate=fate) | Release(round=round_id, fate=fate):
                if fate == "spent" and isinstance(message, Merge):
                    self._history.spent(round_id, Path(message.anchor[0]).parent, self._now_s())
                steps = ledger.frozen.get(round_id, Work()).steps
                return books.release(round_id, fate, steps)
            case Return():
                books = books.spend("", ledger.pending.steps)
                for round_id, work in ledger.frozen.items():
                    books = books.spend(round_id, work.steps)
                return books.roll_back(self.learner.steps)
        return None


class SimulatedWorker:
    """One process life of a worker; see the module docstring.

    Args:
        metrics: shared by the lives of all workers: nobody reads them.
        history: of all lives of this worker.
    """

    def __init__(
        self,
        name: WorkerId,
        genesis: Genesis,
        *,
        host: Host,
        root: Path,
        data: dict[str, Any],
        max_steps_per_s: float,
        network: Network,
        rng: random.Random,
        metrics: WorkerMetrics,
        history: WorkHistory,
    ) -> None:
        self.name = name
        self.history = history
        self.host = host
        self._genesis = genesis
        self._network = network
        self._boot = f"{rng.getrandbits(64):016x}"
        self._rng = rng
        self._metrics = metrics
        now_s = asyncio.get_running_loop().time
        self._now_s = now_s
        self._root = root
        self._build = Build(genesis, name, data, max_steps_per_s=max_steps_per_s)
        self.trainer: SimulatedTrainer
        self.working: Working
        self.is_ready = False  # it has loaded its state, and works

    async def run(self) -> None:
        """Work until the run is over.

        Raises:
            EndedError: the coordinator says that this worker's part is over.
        """
        self.working = working = Working(
            self.name,
            self._genesis,
            boot=self._boot,
            root=self._root,
            target="the coordinator",
            dial=functools.partial(self._network.dial, self.name, self.host),
            tier=self._tier(),
            fetch=self._fetch,
            push=self._push,
            metrics=self._metrics,
            tally=TrafficCounts(),
            now_s=self._now_s,
            resolve_timeout_s=math.inf,  # a plan's own limits decide
        )
        progressed = working.inbox.progressed
        self.trainer = SimulatedTrainer(self._build, self._now_s, progressed, self.history)
        await working.begin(cast("trainer_link.TrainerLink", self.trainer))
        self.is_ready = True
        self.trainer.reading = asyncio.create_task(self.trainer.run())
        try:
            await working.run(asyncio.get_running_loop().create_future(), 0.0)
        finally:
            self.trainer.reading.cancel()

    def _tier(self) -> Tier:
        """Return what the run's privacy tier adds to a round; its secrets follow from the seed."""
        a, genesis, known = self._genesis.algorithm, self._genesis, identities()
        if not a.masked:
            return TlsTier(self.name)
        trust = Trust(
            colluding=a.colluding,
            min_cohort=a.min_cohort,
            max_share=a.max_share,
            max_staleness=a.max_staleness,
        )
        random_bytes = random.Random(self._rng.getrandbits(64)).randbytes  # noqa: S311
        member = MaskedMember(
            self.name, a, trust, known.admits, known.signer(self.name), random_bytes
        )
        certificate = functools.partial(known.certificate, self.name)
        return MaskedTier(
            member, genesis, certificate, admitted=known.admits, operators=known.operators
        )

    def residual(self) -> F32:
        """Return e as the worker's disk has it, float32[length]; empty = zero."""
        return residual_in(self.working.state.save.folder)

    def _fetch(self, digest: Digest, kind: str, store: DataStore, most_bytes: int) -> None:
        happens(f"fetch {kind}")
        if not self._network.reaches(self.name):
            raise TryAgainError
        liar = self._network.liars.get(self.name)
        found: bytes | None = (
            self._network.server.file(digest)  # type: ignore[union-attr]
            if liar is None
            else liar.file(digest, kind)
        )
        if found is None:
            raise UnknownFileError(f"no {kind} {digest} is kept")
        assert len(found) <= most_bytes
        with store.writer() as writer:
            writer.append(found)
            writer.commit()

    async def _push(
        self,
        round_id: RoundId,
        num_shards: int,
        read_shard: Callable[[int], bytes],
        *,
        give_up: Event,
    ) -> None:
        """Upload as `BulkLink.push` does: first everything, then what misses."""
        wanted = list(range(num_shards))
        is_first = True
        while wanted:
            if give_up.is_set():
                raise GivenUpError("nobody wants it any more")
            happens(f"push {len(wanted)} shards")
            try:
                if not is_first:
                    wanted = await self._network.call(
                        self.name, lambda server: server.list_missing(self.name, round_id)
                    )
                is_first = False
                if wanted:
                    arrive = len(wanted)
                    if self._rng.random() < self._network.cuts:
                        arrive = self._rng.randint(0, len(wanted) - 1)
                    shards = [(i, read_shard(i)) for i in wanted]
                    self._network.uploads(self.name, self._boot, round_id, shards)
                    wanted = await self._network.call(
                        self.name,
                        lambda server, s=shards, n=arrive: server.push(  # type: ignore[misc]
                            self.name, round_id, s, n
                        ),
                    )
            except NoAnswerError:
                await asyncio.sleep(_RETRY_S)
