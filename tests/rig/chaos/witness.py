"""What must hold however the federation was treated, read from its files alone.

The ledger counts steps. A head is divided by the number of survivors and so is no whole number, but
every difference from it is, to within rounding: the aggregates and the local work can be counted,
those too that were rotated and quantised, in a ring as fine as 16 bits.
"""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

import numpy as np

from commands.demo.layout import EVALUATOR, Layout
from common import canonical
from common.arrays import F32
from common.codec.dense import Dense
from common.codec.loops import rotate
from common.documents import Commit, Record, Version
from common.errors import UnknownFileError
from common.ids import Digest, RoundId, WorkerId
from common.packing import unpack
from common.rotation import rotation_signs
from common.schema import BLOCK
from common.terms import round_terms
from services.config.genesis_file import first_files, load_genesis
from services.disk.data_store import DataStore
from services.evaluator.state import EvaluatorState
from services.versions.replica import Replica
from services.worker.state import Manifest
from worker.rounds.position import genesis_position

_ROUNDING: Final = 0.1  # of a difference of float32 values below 2**17


class Witness:
    """Of one federation.

    Args:
        names: of the workers, in the order of their coordinates.
    """

    def __init__(self, layout: Layout, names: Sequence[str]) -> None:
        self._layout = layout
        self._names = names
        self._store = layout.coordinator.data
        self.spent = dict.fromkeys(names, 0)
        """Steps that have to be in no sum and no parameters, as whoever plays the faults knows."""
        self._begun: dict[str, list[tuple[int, int | None]]] = {n: [(0, None)] for n in names}

    def restarts(self, name: str) -> None:
        """Note what a process that ended left: a worker has to go on with just that."""
        if name in self._begun:
            self._begun[name].append((len(self._journal(name)), self._durable_steps(name)))

    def all_stand_on(self, digest: Digest) -> bool:
        """Return whether every worker and the evaluator stand on this version, durably."""
        stand = [m.position.digest for n in self._names if (m := self._manifest(n)) is not None]
        evaluator = EvaluatorState(self._layout.state(EVALUATOR)).load()
        return stand == [digest] * len(self._names) and (
            evaluator is not None and evaluator.digest == digest
        )

    def check(self, version: int, empty: Path) -> None:
        """Check all of it, after everything ended.

        Args:
            version: the head's.
            empty: a folder for a clean replay.
        """
        records = self._records()
        self._check_log(records)
        assert records[-1].version == version
        sums = self._check_replay(records, DataStore(empty))
        assert self.all_stand_on(records[-1].digest)
        for name in self._names:
            self._check_ledger(name, records, sums)
            self._check_restarts(name)
        self._check_leftovers()

    def _check_log(self, records: Sequence[Record]) -> None:
        """Gapless, chained, epochs that follow takeovers, one outcome per round."""
        previous, epoch = canonical.digest(load_genesis(self._layout.genesis)), 0
        for seq, record in enumerate(records):
            epoch = seq if record.takeover is not None else epoch
            assert (record.seq, record.previous, record.epoch) == (seq, previous, epoch)
            previous = canonical.digest(record)
        commits = [r.commit.plan.round for r in records if r.commit is not None]
        aborts = [r.abort.round for r in records if r.abort is not None]
        assert len(commits + aborts) == len({*commits, *aborts})

    def _check_replay(self, records: Sequence[Record], store: DataStore) -> dict[RoundId, F32]:
        """From genesis, with its own arithmetic, to each digest; return what each sum holds."""
        coordinators = DataStore(self._store)
        genesis = load_genesis(self._layout.genesis)

        def fetch(digest: Digest, kind: str, most_bytes: int) -> None:
            source = coordinators if kind == "aggregate" else first
            if not source.has(digest):  # every later version is computed, none is taken as it is
                raise UnknownFileError(digest)
            store.write(source.read(digest, verify=True))

        first = DataStore(first_files(self._layout.genesis))
        replica = Replica(genesis, store, fetch, genesis_position(genesis))
        sums = {}
        for record in records:
            if (commit := record.commit) is not None:
                sums[commit.plan.round] = self._held(replica, commit)
            replica.follow((record,))
            at = replica.position
            assert (at.version, at.digest, at.behind) == (record.version, record.digest, False)
            replica.collect()
        return sums

    def _held(self, replica: Replica, commit: Commit) -> F32:
        """Return how many steps of each worker an aggregate holds, float32[num_workers]."""
        genesis = load_genesis(self._layout.genesis)
        if genesis.algorithm.codec.kind == "float32":
            return -self._values(commit.aggregate)
        numbers = {WorkerId(w): n for w, n in commit.numbers.items()}
        terms = round_terms(genesis, replica.version(), commit.plan, numbers, replica.read)
        assert isinstance(terms.codec, Dense)
        content = (self._store / commit.aggregate).read_bytes()
        q = unpack(content[: terms.layout.data_bytes], terms.codec.bits)[:BLOCK]
        y = (float(terms.codec.step[0]) * q).astype(np.float32)
        back = rotate(y[None], np.ones(BLOCK, np.float32))[0]
        return -(back * rotation_signs(genesis.seed))[: len(self._names)]

    def _check_ledger(
        self, name: str, records: Sequence[Record], sums: Mapping[RoundId, F32]
    ) -> None:
        """Committed + spent + local = durable steps; so say the sums, and so the parameters."""
        own, committed = self._names.index(name), 0
        for commit in (r.commit for r in records if r.commit is not None):
            steps = commit.numbers[WorkerId(name)].steps if name in commit.survivors else 0
            assert _whole(sums[commit.plan.round][own]) == steps, commit.plan.round
            committed += steps
        manifest = self._manifest(name)
        assert manifest is not None
        save = self._layout.state(name) / manifest.folder
        ledger = json.loads((save / "trainer.json").read_text())["ledger"]
        assert ledger["frozen"] == {}
        local = ledger["pending"]["steps"]
        spent = self.spent[name]
        assert committed + spent + local == _taken(save), f"{name}: {committed} + {spent} + {local}"

        head = canonical.decode(DataStore(self._store).read(records[-1].digest), Version)
        ahead = (
            np.fromfile(save / "theta.f32", "<f4", own + 1) - self._values(head.theta[0])[: own + 1]
        )
        assert _whole(ahead[own]) == local
        last = next(r for r in reversed(records) if r.commit is not None)
        assert last.counters.workers[name].steps == committed

    def _check_restarts(self, name: str) -> None:
        """Every process went on from the newest durable state that the one before it left."""
        journal, begun_with = self._journal(name), self._begun[name]
        ends = [begun for begun, _ in begun_with[1:]] + [len(journal)]
        for (begun, durable), end in zip(begun_with, ends, strict=True):
            loaded = journal[begun:end]
            assert loaded in ([], [durable]), f"{name} went on from {loaded}, left was {durable}"

    def _check_leftovers(self) -> None:
        """Nothing half done is left, and nobody crashed by a bug of ours."""
        spool = list(self._layout.coordinator.spool.iterdir())
        stages = [n for n in self._names if any(self._layout.state(n).glob("save-*/stage"))]
        assert (spool, stages) == ([], [])
        for log in sorted((self._layout.folder / "logs").iterdir()):
            text = log.read_text()
            assert "Traceback" not in text, f"{log}: {text[text.index('Traceback') :][:3000]}"

    def _durable_steps(self, name: str) -> int | None:
        """Return the steps in the stage, else in the save; None where there is neither."""
        manifest = self._manifest(name)
        if manifest is None:
            return None
        save = self._layout.state(name) / manifest.folder
        stage = save / "stage"
        return _taken(stage if (stage / "stage.json").exists() else save)

    def _manifest(self, name: str) -> Manifest | None:
        path = self._layout.state(name) / "manifest.json"
        return canonical.decode(path.read_bytes(), Manifest) if path.exists() else None

    def _journal(self, name: str) -> list[int]:
        path = self._layout.folder / "journals" / name
        return [int(line) for line in path.read_text().split()] if path.exists() else []

    def _records(self) -> list[Record]:
        paths = sorted(self._layout.coordinator.log.glob("*.json"))
        return [canonical.decode(path.read_bytes(), Record) for path in paths]

    def _values(self, digest: Digest) -> np.ndarray:
        return np.fromfile(self._store / digest, "<f4", count=len(self._names))


def _taken(folder: Path) -> int:
    with np.load(folder / "learner.npz", allow_pickle=False) as arrays:
        return int(arrays["state.taken"])


def _whole(value: np.float32) -> int:
    assert abs(value - round(float(value))) < _ROUNDING, value
    return round(float(value))
