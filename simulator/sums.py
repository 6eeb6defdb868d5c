"""Checks (iv): what the aggregates hold, against what the workers' books say was taken off.

`ledger.py` says what of each block a round took off a worker; here is whether the sums have it.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Final

import numpy as np

from common import canonical
from common.arrays import F64
from common.codec.dense import Dense
from common.codec.loops import rotate
from common.codec.selection import I64, Selection
from common.codec.topk import LARGEST, TopK
from common.documents import Commit, Genesis, Record, Version
from common.ids import Digest, WorkerId
from common.packing import unpack
from common.rotation import rotation_signs
from common.schema import BLOCK
from common.terms import RINGS, ReadBlob, Terms, round_fragment, round_selection, round_terms
from common.weight import ONE
from simulator.ledger import taken
from simulator.worker import SimulatedWorker

_CLOSE: Final = 1e-3
_U: Final = 2.0**-24  # a rounding to float32 is wrong by so much of the result, at most
_HALF: Final = 2.0**-11  # and one to float16
_ROOT: Final = 64.0  # sqrt(BLOCK)
_ADDITIONS: Final = 48
"""Of one value's rotation."""


@dataclass(frozen=True)
class _Committed:
    """What a round's codec may leave out, by block that travelled.

    Args:
        reach: largest |y| that is not cut off, float64[num_sent].
        step: most that is left of what lies within, beside `part`, float64[num_sent].
        part: share of |y| likewise.
    """

    round: str
    survivors: tuple[WorkerId, ...]
    blocks: I64
    reach: F64
    step: F64
    part: float


class Sums:
    """What the aggregates since the newest roll-back hold.

    Float32 values are exact: each aggregate holds, at a worker's value of every block, the steps
    that its numbers say. One of a ring holds sum q. With N the steps that commits took off each
    worker in a block, summed over commits and their survivors, and e what every worker keeps in
    the end,

        sum step_B*q + sum e = rotate(N),            on each of the 4096 values of every block,

    since a member sends y = rotate(D) + e, and keeps e' = y - step_B*q: in the masked tier where it
    gives the work up, too, and then e' - e is taken off again. Where a block does not travel e' is
    e, and nothing is taken off. Of topk, the same without rotation, sum q the values that it sent.
    In float32 this holds but for roundings, all bounded by u = 2**-24 of a result:

    - of y, step_B*q and y - step_B*q. With Y >= |y| and E' >= |e'| they are at most
      u*(|y| + |step_B*q| + |e'|) <= 2u*(Y + E'). Where E >= |e|, Y = n/64 + E for n steps; and
      E' = max(step_B, Y - L*step_B): what is not clipped is rounded by less than a step. What is
      given up may come at any time: the largest |e' - e| of each is added to every E. Of topk
      Y = n + E, and what is within float16's reach is rounded by 2**-11 of it: few values of D are
      not zero, so all are picked, those of steps as high ones, those of roundings as low ones.
    - of the rotation. Its product by 1/64 is exact; 3 times 16 additions of at most n/64 are wrong
      by 48u*n/64 together.
    - of the parameters. D is wrong by each rounding of theta since it was last merged, and each
      is in one commit only, for with that commit it leaves theta. A local step is one, at the
      worker's own value; at each value a merge is two, giving work up is two, D = base - theta is
      one. The result of none is above 2*H + P, H the largest size of this value in any head, P the
      most local steps, 0 where nobody counts.

    Products of roundings are far below the 2 % that are added.

    Args:
        workers: as they are in the end.
    """

    def __init__(self, genesis: Genesis, workers: Iterable[SimulatedWorker]) -> None:
        self._genesis = genesis
        self._workers = {w.name: w for w in workers}
        self._indices = {w.name: w.trainer.learner.index for w in self._workers.values()}
        self._num_blocks = genesis.schema.num_blocks
        self._left = {
            w.name: {
                r: w.history.left[r] for r in w.trainer.learner.books.spent if r in w.history.left
            }
            for w in self._workers.values()
        }
        self._kind = genesis.algorithm.codec.kind
        self._root = _ROOT if self._kind in RINGS else 1.0
        self._selections: dict[Digest, Selection] = {}
        self._bases: dict[tuple[str, str], Digest] = {}  # by round and survivor
        self._sent: F64
        self._highest: F64
        self._commits: list[_Committed]
        self.rolled_back()

    def stands_on(self, version: Version, read_blob: ReadBlob) -> None:
        """Go on to a version."""
        segment = np.frombuffer(read_blob(version.theta[0]), "<f4").reshape(-1, BLOCK)
        self._highest = np.maximum(self._highest, np.abs(segment))
        scales = np.frombuffer(read_blob(version.scales[0]), "<f4")[: self._num_blocks]
        fragment = round_fragment(self._genesis.algorithm.codec, version.commits)
        found = round_selection(self._genesis, version.commits, fragment, scales)
        self._selections[canonical.digest(version)] = found

    def rolled_back(self) -> None:
        """From here on nobody keeps a residual, and nothing before counts."""
        self._sent = np.zeros((self._num_blocks, BLOCK))
        self._highest = np.zeros((self._num_blocks, BLOCK))
        self._commits = []

    def commit(
        self, version: Version, commit: Commit, content: bytes, read_blob: ReadBlob
    ) -> Iterator[str]:
        """Count a commit; yield what is wrong with its aggregate alone.

        Args:
            version: on which it steps.
            content: its aggregate.
        """
        self._bases |= {(commit.plan.round, w): commit.plan.digest for w in commit.survivors}
        if self._kind == "float32":
            yield from self._exactly(commit, content)
            return
        numbers = {WorkerId(w): n for w, n in commit.numbers.items()}
        terms = round_terms(self._genesis, version, commit.plan, numbers, read_blob)
        blocks, codec = terms.selection.blocks, terms.codec
        if isinstance(codec, Dense):
            step = codec.step.astype(np.float32).astype(np.float64)
            q = unpack(content[: terms.layout.data_bytes], codec.bits).reshape(-1, BLOCK)
            self._sent[blocks] += step[:, None] * q
            reach, part = codec.levels * step, 0.0
        else:
            assert isinstance(codec, TopK)
            for values in _alone(terms, codec, content, len(commit.survivors)):
                self._sent += values
            step, part = _U * codec.radius.astype(np.float64), _HALF
            reach = LARGEST * codec.radius.astype(np.float64)
        self._commits.append(
            _Committed(commit.plan.round, commit.survivors, blocks, reach, step, part)
        )

    def local(self, worker: SimulatedWorker) -> I64:
        """Return how many steps each block of a worker's parameters stands off the base."""
        return taken(worker, self._num_blocks, self._blocks)[1]

    def violations(self, records: list[Record]) -> Iterator[str]:
        """Yield what is wrong in the end.

        Args:
            records: the whole log.
        """
        kept = np.zeros((self._num_blocks, BLOCK))
        rounds: dict[WorkerId, Mapping[str, I64]] = {}
        most_local = 0
        for name, worker in self._workers.items():
            if (residual := worker.residual()).size:
                kept += residual.reshape(kept.shape)
            for round_id, left in self._left[name].items():
                if left.size and not _contributed(name, round_id, records):
                    kept -= left.reshape(kept.shape)
            rounds[name], local = taken(worker, self._num_blocks, self._blocks)
            most_local = max(most_local, *local, *map(np.max, rounds[name].values()))
        if self._kind == "float32":
            if kept.any():
                yield "(iv) a residual is kept where values are exact"
            return
        if lost := [
            f"{name} in round {c.round[:8]}"
            for name in self._indices
            for c in self._commits
            if name in c.survivors and c.round not in rounds[name]
        ]:
            yield f"(iv) committed work was never taken off its worker: {', '.join(lost)}"
            return
        bound = np.zeros(self._num_blocks)
        steps: F64 = np.zeros((self._num_blocks, BLOCK))
        for name, index in self._indices.items():
            bound += self._encoded(name, rounds[name], steps[:, index])
        signs = rotation_signs(self._genesis.seed)
        wanted = -steps  # D = base - theta
        if self._kind in RINGS:
            wanted = rotate(wanted.astype(np.float32), signs).astype(np.float64)
        off, most = self._sent + kept - wanted, self._most(bound, steps, most_local)
        for block in np.flatnonzero(np.abs(off).max(axis=1) > most):
            back = off[block]
            if self._kind in RINGS:
                one = off[block : block + 1].astype(np.float32)
                back = rotate(one, np.ones(BLOCK, np.float32))[0] * signs
            by = ", ".join(f"{w} {-back[i]:+.4f}" for w, i in self._indices.items())
            yield (
                f"(iv) what is committed and kept is off by up to {np.abs(off[block]).max():.2g} a "
                f"value in block {block}, roundings explain {most[block]:.2g}; in steps: {by}"
            )

    def _blocks(self, worker: SimulatedWorker, round_id: str) -> I64:
        """See `ledger.SentBy`: what is given up before it is encoded leaves every block."""
        base = self._bases.get((round_id, worker.name))
        if base is None and round_id in worker.history.plans:
            base = worker.history.plans[round_id].digest
        if base is None:
            return np.arange(self._num_blocks)
        return self._selections[base].blocks

    def _exactly(self, commit: Commit, content: bytes) -> Iterator[str]:
        values = np.frombuffer(content, "<f4", self._num_blocks * BLOCK).reshape(-1, BLOCK)
        for worker, index in self._indices.items():
            said = commit.numbers[worker].steps if worker in commit.survivors else 0
            if np.abs(values[:, index] + said).max() > _CLOSE:
                yield (
                    f"(iv) the commit on version {commit.plan.version} holds {-values[:, index]} "
                    f"steps of {worker}, its numbers say {said}"
                )

    def _encoded(self, worker: WorkerId, rounds: Mapping[str, I64], steps: F64) -> F64:
        """Return by how much a worker's encodings may be wrong, float64[num_blocks].

        Args:
            rounds: what each took off each block.
            steps: receives what all did together, float64[num_blocks].
        """
        bound = np.zeros(self._num_blocks)
        most_left = np.zeros(self._num_blocks)
        for left in self._left[worker].values():
            most_left += np.abs(left.reshape(self._num_blocks, BLOCK)).max(axis=1)
        longest = most_left.copy()
        for c in self._commits:
            if worker not in c.survivors:
                continue
            b = c.blocks
            n = rounds[c.round][b]
            steps[b] += n
            y = n / self._root + longest[b]
            longest[b] = np.maximum(c.step + c.part * y, y - c.reach) + most_left[b]
            bound[b] += 2 * _U * (y + longest[b])
            if self._kind in RINGS:
                bound[b] += _ADDITIONS * _U * n / self._root
        return bound

    def _most(self, bound: F64, steps: F64, most_local: int) -> F64:
        """Return by how much a value of each block may be off, float64[num_blocks].

        Args:
            bound: of encodings.
            steps: in all commits, float64[num_blocks, BLOCK].
        """
        versions = len(self._commits) + 1
        merges = 2 * versions * len(self._indices) + 2 * sum(map(len, self._left.values()))
        contributions = sum(len(c.survivors) for c in self._commits)
        largest = 2 * self._highest
        largest[:, list(self._indices.values())] += most_local
        wrong = _U * largest * (merges + contributions + steps)
        parameters = wrong.sum(axis=1) if self._kind in RINGS else wrong.max(axis=1)
        most: F64 = 1.02 * (bound + parameters / self._root)
        return most


def _alone(terms: Terms, codec: TopK, content: bytes, num: int) -> Iterator[F64]:
    """Yield what each survivor sent, float64[num_blocks, BLOCK]."""
    size, num_blocks = codec.block_bytes, terms.layout.num_blocks
    shape = (num_blocks, num, size)
    blocks = np.frombuffer(content, np.uint8, num_blocks * num * size).reshape(shape)
    for survivor in range(num):
        own = blocks[:, survivor].tobytes()
        yield codec.mean(0, num_blocks, own, ONE).astype(np.float64)


def _contributed(name: WorkerId, round_id: str, records: list[Record]) -> bool:
    """Return whether a worker is in a round's sum: after it gave its work up, that is no error."""
    commits = (r.commit for r in records if r.commit is not None)
    return any(c.plan.round == round_id and name in c.survivors for c in commits)
