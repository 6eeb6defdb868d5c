"""(iv) No work is lost or counted twice: what the books, the log and the aggregates say of it.

Each step of worker w adds one to value w, so its work is a whole number, and on the integers

    committed + spent + local = durable steps,     for every worker, exactly:

over the whole run, and again since the newest roll-back by the learner's own count, which that set
to zero. Committed is what the log's numbers say. That the aggregates hold just that is shown by
`Sums`, with nothing left out but what the workers keep as residuals.
"""

from collections.abc import Iterable, Iterator
from typing import Final

import numpy as np

from common.arrays import F64
from common.codec.dense import Dense
from common.codec.packing import unpack
from common.documents import Commit, Genesis, Record, Version
from common.ids import WorkerId
from common.rotation import rotate, rotation_signs
from common.schema import BLOCK
from common.terms import ReadBlob, Terms, round_terms
from services.simulator.worker import SimulatedWorker
from worker.train import MAX_ROUNDS_AHEAD

_CLOSE: Final = 1e-3
_U: Final = 2.0**-24  # a rounding to float32 is wrong by so much of the result, at most
_ROOT: Final = 64.0  # sqrt(BLOCK)


def steps(worker: SimulatedWorker, records: list[Record]) -> Iterator[str]:
    """Yield what is wrong with a worker's account of its steps."""
    committed: dict[str, int] = {}
    since: dict[str, int] = {}
    for record in records:
        if record.rollback is not None:
            since = {}
        elif record.commit is not None and worker.name in record.commit.survivors:
            plan, numbers = record.commit.plan, record.commit.numbers[worker.name]
            committed[plan.round] = since[plan.round] = numbers.steps

    learner, local = worker.trainer.learner, worker.trainer.paced.trainer.ledger.steps
    for round_id in sorted(committed.keys() & learner.books.spent.keys()):
        if not worker.past.waited_for(round_id):
            yield f"(iv) {worker.name} spent what round {round_id[:8]} committed"
    spent = sum(n for r, n in learner.books.spent.items() if r not in committed)
    before = {r: n for r, n in learner.books.spent_before.items() if r not in committed}
    for when, taken, terms in (
        ("", learner.steps + learner.books.undone, (committed, before)),
        (" since the newest roll-back", learner.steps, (since, {})),
    ):
        held, given_up = sum(terms[0].values()), spent + sum(terms[1].values())
        if held + given_up + local != taken:
            yield (
                f"(iv) {worker.name}: {held} committed + {given_up} spent + {local} local != "
                f"{taken} steps taken{when}"
            )

    leaf = worker.store.read(worker.replica.version().theta[0])
    moved = learner.count - float(np.frombuffer(leaf, "<f4")[learner.index])
    if abs(moved - local) > _CLOSE:
        yield (f"(iv) {worker.name} stands {moved:g} steps off its base, its ledger says {local:g}")


def _contributed(name: WorkerId, round_id: str, records: list[Record]) -> bool:
    """Return whether a worker is in a round's sum: after it gave its work up, that is no error."""
    commits = (r.commit for r in records if r.commit is not None)
    return any(c.plan.round == round_id and name in c.survivors for c in commits)


class Sums:
    """What the aggregates since the newest roll-back hold, against what their numbers say.

    Float32 values are exact: each aggregate holds, at a worker's value, the steps that its numbers
    say. A dense one holds sum q. With N the steps committed by each worker, summed over commits and
    their survivors, and e what every worker keeps in the end,

        sum step_B*q + sum e = rotate(N),              on each of the block's 4096 values,

    since a member sends y = rotate(D) + e, and keeps e' = y - step_B*q: in the masked tier where it
    gives the work up, too, and then e' - e is taken off again. In float32 this holds but for
    roundings, all bounded by u = 2**-24 of a result:

    - of y, step_B*q and y - step_B*q. With Y >= |y| and E' >= |e'| they are at most
      u*(|y| + |step_B*q| + |e'|) <= 2u*(Y + E'). Where E >= |e|, Y = n/64 + E for n steps; and
      E' = max(step_B, Y - L*step_B): what is not clipped is rounded by less than a step. What is
      given up may come at any time: the largest |e' - e| of each is added to every E.
    - of the rotation. Its product by 1/64 is exact, and D has 8 values that are not zero, as many
      as the model: 7 additions of at most n/64 are wrong by 7u*n/64.
    - of the parameters. D is wrong by each rounding of theta since it was last merged, and each
      is in one commit only, for with that commit it leaves theta. A local step is one, at the
      worker's own value; at each value a merge is two, giving work up is two, D = base - theta is
      one. The result of none is above 2*H + P, H the largest value of any head, P the most local
      steps.

    Products of roundings are far below the 2 % that are added.

    Args:
        workers: as they are in the end.
    """

    def __init__(self, genesis: Genesis, workers: Iterable[SimulatedWorker]) -> None:
        assert genesis.schema.num_blocks == 1
        self._genesis = genesis
        self._workers = tuple(workers)
        self._indices = {w.name: w.trainer.learner.index for w in self._workers}
        self._left = {
            w.name: {r: w.past.left[r] for r in w.trainer.learner.books.spent if r in w.past.left}
            for w in self._workers
        }
        self._most_left = {
            name: sum(float(np.abs(left).max()) for left in rounds.values())
            for name, rounds in self._left.items()
        }
        self._num_values = genesis.schema.parameter_values
        self._most_local = MAX_ROUNDS_AHEAD * genesis.algorithm.local_steps
        self._is_dense = genesis.algorithm.codec.kind == "dense"
        self.rolled_back()

    def rolled_back(self) -> None:
        """From here on nobody keeps a residual, and nothing before counts."""
        self._sent: F64 = np.zeros(BLOCK)
        self._steps: F64 = np.zeros(self._num_values)
        self._longest = dict(self._most_left)
        self._bound = 0.0
        self._highest, self._versions, self._contributions = 0.0, 1, 0

    def commit(
        self, version: Version, commit: Commit, content: bytes, read_blob: ReadBlob
    ) -> Iterator[str]:
        """Count a commit; yield what is wrong with its aggregate alone.

        Args:
            version: on which it steps.
            content: its aggregate.
        """
        theta = np.frombuffer(read_blob(version.theta[0]), "<f4")
        self._highest = max(self._highest, float(np.abs(theta).max()))
        self._versions += 1
        if not self._is_dense:
            yield from self._exactly(commit, content)
            return
        numbers = {WorkerId(w): n for w, n in commit.numbers.items()}
        terms = round_terms(self._genesis, version, commit.plan, numbers, read_blob)
        assert isinstance(terms.codec, Dense)
        step = float(np.float32(terms.codec.step[0]))
        q = unpack(content[: terms.layout.data_bytes], terms.codec.bits)
        self._sent += step * q.astype(np.float64)
        for worker in commit.survivors:
            self._survived(worker, terms, step, terms.codec.levels)

    def _exactly(self, commit: Commit, content: bytes) -> Iterator[str]:
        values = np.frombuffer(content, "<f4", count=self._num_values)
        for worker, index in self._indices.items():
            said = commit.numbers[worker].steps if worker in commit.survivors else 0
            if abs(-float(values[index]) - said) > _CLOSE:
                yield (
                    f"(iv) the commit on version {commit.plan.version} holds {-values[index]:g} "
                    f"steps of {worker}, its numbers say {said}"
                )

    def _survived(self, worker: WorkerId, terms: Terms, step: float, levels: int) -> None:
        n = terms.numbers[worker].steps
        self._steps[self._indices[worker]] += n
        self._contributions += 1
        y = n / _ROOT + self._longest[worker]
        self._longest[worker] = max(step, y - levels * step) + self._most_left[worker]
        self._bound += 2 * _U * (y + self._longest[worker])
        self._bound += 7 * _U * n / _ROOT

    def violations(self, records: list[Record]) -> Iterator[str]:
        """Yield what is wrong in the end.

        Args:
            records: the whole log.
        """
        kept = np.zeros(BLOCK)
        for worker in self._workers:
            if (residual := worker.residual()).size:
                kept += residual
            for round_id, left in self._left[worker.name].items():
                if not _contributed(worker.name, round_id, records):
                    kept -= left
        signs = rotation_signs(self._genesis.seed)
        vector = np.zeros((1, BLOCK), np.float32)
        vector[0, : self._num_values] = -self._steps  # D = base - theta
        wanted = rotate(vector, signs)[0].astype(np.float64)
        off = self._sent + kept - wanted if self._is_dense else kept
        if np.abs(off).max() > self._most():
            back = rotate(off.astype(np.float32)[None], np.ones(BLOCK, np.float32))[0] * -signs
            by = ", ".join(f"{w} {back[i]:+.4f}" for w, i in self._indices.items())
            yield (
                f"(iv) what is committed and kept is off by up to {np.abs(off).max():.2g} a value, "
                f"roundings explain {self._most():.2g}; in steps: {by}"
            )

    def _most(self) -> float:
        merges = 2 * self._versions * len(self._indices)
        merges += 2 * sum(map(len, self._left.values()))
        roundings = self._steps.sum() + self._num_values * (merges + self._contributions)
        parameters = _U * (2 * self._highest + self._most_local) * roundings / _ROOT
        return 1.02 * (self._bound + float(parameters))
