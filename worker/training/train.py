"""Local training between two merges: live parameters, uncommitted work, and the public clock.

It knows no socket and no wall clock: `services/worker/trainer_process.py` drives it, and so can a
simulator. A folder that it writes holds all that a restart needs:

    theta.f32      live parameters and buffers, little-endian float32[schema.length]
    learner.npz    the learner's own state, plain arrays
    trainer.json   version, steps, ledger
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

import numpy as np

from common import canonical
from common.arrays import F32
from common.documents import Algorithm, Numbers
from common.errors import DamagedDataError, MalformedDocumentError
from common.progress import MAX_ROUNDS_AHEAD
from common.schema import SEGMENT
from worker.training.learner import GOES_ON, Learner, State, Step
from worker.training.ledger import LedgerDocument, Work
from worker.training.model import ParameterVector
from worker.training.schedule import learning_rate

THETA: Final = "theta.f32"
_LEARNER: Final = "learner.npz"
_TRAINER: Final = "trainer.json"
_UNREADABLE: Final = (
    OSError,
    EOFError,
    ValueError,
    KeyError,
    DamagedDataError,
    MalformedDocumentError,
)


@dataclass(frozen=True, slots=True)
class Standing:
    """Where a worker stands on the public clock.

    Args:
        version: of its base.
        progress: of the run at the base, in [0, 1].
        member_steps: committed local steps per member at the base.
        steps_here: own steps since it stands on the base.
        steps: own steps with the present inner optimiser: its warm-up.
    """

    version: int = 0
    progress: float = 0.0
    member_steps: float = 0.0
    steps_here: int = 0
    steps: int = 0


@dataclass(frozen=True, slots=True)
class _Document:
    standing: Standing
    ledger: LedgerDocument


@dataclass(frozen=True, slots=True)
class Frozen:
    """What a worker says of its work at close; `loss` is the mean in nats."""

    numbers: Numbers
    loss: float
    finite: bool


class Trainer:
    """One learner in a run."""

    def __init__(self, learner: Learner, algorithm: Algorithm) -> None:
        self.learner = learner
        self._algorithm = algorithm
        self.vector = ParameterVector(learner)
        self.ledger = LedgerDocument(Work(), {}).ledger()
        self._standing = Standing()
        self._as_built = {k: np.array(v) for k, v in learner.state().items()}

    @property
    def schema_hash(self) -> str:
        """Hash of the model that was really built."""
        return self.vector.schema.hash

    @property
    def version(self) -> int:
        """The base's number."""
        return self._standing.version

    def pending(self) -> Numbers:
        """Return the numbers of the work that no round holds, as of now."""
        return self.ledger.pending.numbers(self.version, self._algorithm)

    def may_step(self, local_steps: int, rounds_ahead: int = MAX_ROUNDS_AHEAD) -> bool:
        """Return whether another step is wanted, at H_i = `local_steps`."""
        return self.ledger.steps < rounds_ahead * local_steps

    def begin(self, standing: Standing, segments: Sequence[Path]) -> None:
        """Start from a version without local work."""
        for start, stop in self.vector.schema.segments():
            self.vector.write(start, _read(segments, start, stop))
        self._standing = standing

    def roll_back(self, standing: Standing, segments: Sequence[Path]) -> None:
        """Start again from a version: no local work, and the inner optimiser as built.

        Data and randomness go on: from the same version, the same batches would make the same
        update once more, and two sums with it, one with one cloud less, tell that cloud's apart.
        """
        now = self.learner.state()
        goes_on = {k: v for k, v in now.items() if k.startswith(GOES_ON)}
        self.learner.load_state({**self._as_built, **goes_on})
        self.ledger = LedgerDocument(Work(), {}).ledger()
        self.begin(standing, segments)

    def resume(self, standing: Standing, folder: Path) -> None:
        """Start from a folder that `close` or `save` wrote; on its version, its own steps count.

        Raises:
            DamagedDataError: the folder is incomplete or damaged.
        """
        try:
            document = canonical.decode((folder / _TRAINER).read_bytes(), _Document)
            state = _read_state(folder / _LEARNER)
            for start, stop in self.vector.schema.segments():
                self.vector.write(start, _read((folder / THETA,), start, stop))
            self.learner.load_state(state)
        except _UNREADABLE as e:
            raise DamagedDataError(
                f"{folder} cannot be resumed from ({e}); move the whole state_dir that it lies in "
                "away, to start from the newest version"
            ) from None
        stored = document.standing
        self.ledger = document.ledger.ledger()
        here = stored.steps_here if stored.version == standing.version else 0
        self._standing = replace(standing, steps_here=here, steps=stored.steps)

    def step(self) -> Step:
        """Take one local step at the learning rate of the public clock."""
        at = self._standing
        lr = learning_rate(
            self._algorithm.schedule, at.progress, at.member_steps + at.steps_here, at.steps
        )
        step = self.learner.train(lr)
        finite = math.isfinite(step.loss)
        self.ledger.pending += Work(
            tokens=step.tokens,
            token_versions=step.tokens * at.version,
            steps=1,
            samples=step.samples,
            lr_sum=lr,
            loss_sum=step.tokens * step.loss if finite else 0.0,
            not_finite=int(not finite),
        )
        self._standing = replace(at, steps_here=at.steps_here + 1, steps=at.steps + 1)
        return step

    def close(self, round_id: str, folder: Path) -> Frozen:
        """Freeze the pending work for a round and write everything as of now to `folder`."""
        work = self.ledger.freeze(round_id)
        self.save(folder)
        return Frozen(
            numbers=work.numbers(self.version, self._algorithm),
            loss=work.mean_loss,
            finite=not work.not_finite and self.vector.is_finite(),
        )

    def release(self, round_id: str, fate: str) -> None:
        """End a round without moving the base; fates are the ledger's."""
        self.ledger.release(round_id, fate)

    def merge(self, standing: Standing, head: Sequence[Path], anchor: Sequence[Path]) -> None:
        """Do theta += head - anchor, segment by segment, and stand on the new version.

        Args:
            standing: where that is.
            head: segments of the new base.
            anchor: segments of the old base, or theta at close as one `.f32` file.
        """
        for start, stop in self.vector.schema.segments():
            self.vector.add(start, _read(head, start, stop) - _read(anchor, start, stop))
        self._standing = replace(standing, steps=self._standing.steps)

    def save(self, folder: Path) -> None:
        """Write everything that a restart needs to `folder`; nothing is fsynced."""
        folder.mkdir(parents=True, exist_ok=True)
        with (folder / THETA).open("wb") as file:
            for _, _, values in self.vector.segments():
                file.write(values.astype("<f4", copy=False).data)
        state = {f"state.{k}": np.asarray(v) for k, v in self.learner.state().items()}
        if objects := [k for k, v in state.items() if v.dtype.hasobject]:
            raise TypeError(f"{objects[0]} holds Python objects; a learner's state is plain arrays")
        np.savez(folder / _LEARNER, **state)  # type: ignore[arg-type]  # the keyword allow_pickle
        document = _Document(self._standing, self.ledger.document())
        (folder / _TRAINER).write_bytes(canonical.encode(document))


def _read_state(path: Path) -> State:
    """Return a learner's own state.

    Raises:
        DamagedDataError: numpy cannot read it. A damaged archive raises nearly anything there is.
    """
    try:
        with path.open("rb") as file, np.lib.npyio.NpzFile(file, allow_pickle=False) as arrays:
            return {name.removeprefix("state."): arrays[name] for name in arrays.files}
    except Exception as e:
        raise DamagedDataError(f"{path.name}: {type(e).__name__}: {e}") from None


def _read(files: Sequence[Path], start: int, stop: int) -> F32:
    """Return values [start, stop), float32, of a version's segments or of one `.f32` file."""
    whole = len(files) == 1 and files[0].suffix == ".f32"
    file = files[0] if whole else files[start // SEGMENT]
    values = np.fromfile(file, "<f4", count=stop - start, offset=4 * start if whole else 0)
    if len(values) != stop - start:
        raise DamagedDataError(f"{file} is too short: {len(values)} of {stop - start} values")
    return values
