"""Workers that train: real workers and trainers, and each worker's update to compare with.

Federation   a `World` whose nodes train a small network, one round at a time
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from common.arrays import F32
from common.documents import Algorithm, Commit, Genesis, Numbers, Offer
from common.ids import WorkerId
from services.worker.messages import Build, Progress
from services.worker.trainer_process import PacedTrainer
from tests.attacks.harness import Registry
from tests.attacks.small_network import SmallNetwork
from tests.attacks.world import Node, World
from tests.rig.rounds.small_run import Run
from worker.training.model import ParameterVector


class InProcessTrainer:
    """`services/worker/trainer.py`, without its process: it steps when it is told to."""

    def __init__(self, genesis: Genesis, name: WorkerId) -> None:
        self.progress: Progress | None = None
        self._answers: list[object] = []
        self._paced = PacedTrainer(self, Build(genesis, name, {}))

    def send(self, message: object) -> None:
        if isinstance(message, Progress):
            self.progress = message
        else:
            self._answers.append(message)

    async def tell(self, message: object) -> None:
        self._paced.handle(message)

    async def _ask(self, message: object) -> Any:
        self._paced.handle(message)
        return self._answers.pop()

    close = merge = roll_back = save = _ask

    def train(self, num_steps: int) -> None:
        """Take so many steps, or as many as it may."""
        for _ in range(num_steps):
            if self._paced.may_step():
                self._paced.step()
        self._paced.report()

    @property
    def pending(self) -> Numbers:
        return self._paced.trainer.pending()

    @property
    def theta(self) -> F32:
        return np.concatenate([v.copy() for _, _, v in self._paced.trainer.vector.segments()])


class Federation:
    """See the module docstring.

    Args:
        names: of the workers, each with a folder of its own.
        seat: what is told of each worker's place beside that: trust, unsafe.
    """

    def __init__(
        self,
        registry: Registry,
        algorithm: Algorithm,
        names: Sequence[WorkerId],
        folder: Path,
        **seat: Any,
    ) -> None:
        vector = ParameterVector(SmallNetwork(""))
        theta = np.concatenate([v.copy() for _, _, v in vector.segments()])
        learner = "tests.attacks.small_network:build"

        def run(algorithm: Algorithm) -> Run:
            return Run(algorithm, vector.schema, theta, learner=learner)

        self.world = World(registry, folder, tuple(names), algorithm, make_run=run)
        self.nodes = {
            w: self.world.node(w, lambda n: InProcessTrainer(n.world.run.genesis, n.name), **seat)
            for w in names
        }

    async def begin(self) -> None:
        """Let everybody begin at version 0."""
        for node in self.nodes.values():
            await node.join(self.world.records)

    def update(self, name: WorkerId) -> F32:
        """Return what a worker has learned and nobody has: base - theta."""
        return self.world.run.theta() - self.nodes[name].trainer.theta

    async def play(self, *members: WorkerId) -> tuple[Commit, F32]:
        """Play one round as an honest coordinator does, with these members; tell everybody.

        Returns:
            The commit, and the mean of its updates: what all who see the sum can compute.
        """
        nodes = [self.nodes[w] for w in sorted(members)]
        assert all([await offer_of(n) for n in nodes]), "a member has too little work to offer"
        commit, content = await self.world.round(nodes)
        terms = self.world.run.terms(commit.plan, commit.numbers)
        data = content[: terms.layout.data_bytes]
        mean = terms.codec.mean(0, terms.layout.num_blocks, data, commit.side_values.v).reshape(-1)
        record = self.world.commit(commit, content)
        for node in self.nodes.values():
            await node.hear(record)
        await self.world.relayed(self.nodes)
        return commit, mean[: self.world.run.schema.length]

    async def refused(self, *members: WorkerId) -> dict[WorkerId, int]:
        """Close a cohort of these members; return who refuses, and by which rule."""
        nodes = [self.nodes[w] for w in members]
        offers = [await offer_of(n) for n in nodes]
        plan = self.world.plan(o for o in offers if o is not None)
        found = {}
        for node in nodes:
            await node.worker.planned(plan)
            if node.sent[-1].WhichOneof("message") == "refuse":
                found[node.name] = node.sent[-1].refuse.rule
        return found


async def offer_of(node: Node) -> Offer | None:
    """Return a new offer, None where there is too little work for one."""
    node.worker.conduct.connected = True
    num_sent = len(node.sent)
    offers = await node.offers()
    return None if len(node.sent) == num_sent else offers[-1]


def cosine(a: F32, b: F32) -> float:
    """Return that of the angle between two vectors: 1 = the same but for length."""
    x, y = a.astype(float), b.astype(float)
    return float(x @ y / np.sqrt((x @ x) * (y @ y)))
