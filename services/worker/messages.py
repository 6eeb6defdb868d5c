"""What the link process and the trainer process say to each other, one JSON line per message.

The link owns the network, the head's files and the encoding; the trainer owns the learner and the
live parameters. Tensors never travel in messages: both sides name files (little-endian float32 in
the layout of `common/schema.py`; `segments` are the files of a version, one a segment, in order; a
`.f32` file is a whole vector).
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from common.canonical import Json
from common.documents import Genesis, Numbers
from common.progress import MAX_ROUNDS_AHEAD

# link -> trainer --------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Build:
    """First message: what to build, and how this machine paces it. Answer `Ready`.

    Args:
        name: this worker's.
        data: its own data settings, as the learner reads them.
        device: "cpu", "cuda", ...
        num_threads: CPU threads of the learner.
        slowdown: every step takes so many times as long, a limited one too; 1.0 = full speed.
        max_steps_per_s: upper limit of the pace; 0.0 = none.
        order: of its data, if it begins without stored state.
        first_version: folder of a data store that is to get version 0, if this learner begins with
            it; "" = it is not wanted.
        folders: of the learner's relative paths, as `LearnerContext` has them.
    """

    genesis: Genesis
    name: str
    data: Mapping[str, Json]
    device: str = "cpu"
    num_threads: int = 1
    slowdown: float = 1.0
    max_steps_per_s: float = 0.0
    order: int = 0
    first_version: str = ""
    folders: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Clock:
    """The public clock at the base that the worker stands on.

    Args:
        version: the base's number.
        progress: of the run at the base, in [0, 1].
        member_steps: committed local steps per member at the base.
    """

    version: int
    progress: float
    member_steps: float


@dataclass(frozen=True, slots=True)
class Begin:
    """After `Ready`: where to start.

    Args:
        segments: theta of the base; loaded unless `resume` names a folder that `SaveTo` wrote.
        resume: such a folder, or "".
    """

    clock: Clock
    segments: tuple[str, ...]
    resume: str


@dataclass(frozen=True, slots=True)
class Budget:
    """How to pace: H_i; one that is paused, or holds `rounds_ahead`*H_i pending steps, waits."""

    local_steps: int
    paused: bool
    rounds_ahead: int = MAX_ROUNDS_AHEAD


@dataclass(frozen=True, slots=True)
class Close:
    """The cohort is closed: freeze the pending work. Answer `Closed`; training goes on."""

    round: str
    folder: str


@dataclass(frozen=True, slots=True)
class Merge:
    """theta += head - anchor, block by block; then stand on `clock`. Answer `Merged`.

    Args:
        head: segments of the new base.
        anchor: segments of the old base, or one `.f32` file: theta at close.
        round: whose frozen work this ends, or "".
        fate: of that work: "contributed" and "spent" forget its numbers, "free" makes them pending
            again. "none" where `round` is "".
    """

    clock: Clock
    head: tuple[str, ...]
    anchor: tuple[str, ...]
    round: str
    fate: str


@dataclass(frozen=True, slots=True)
class Return:
    """The run was rolled back: stand on `clock` without local work, inner optimiser as built.

    Pending and frozen work is spent. Answer `Merged`.
    """

    clock: Clock
    segments: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Release:
    """A round ended without moving the base: only the fate of its frozen work. No answer."""

    round: str
    fate: str


@dataclass(frozen=True, slots=True)
class SaveTo:
    """Write theta, learner state, data cursor and ledger to `folder`. Answer `Saved`."""

    folder: str


@dataclass(frozen=True, slots=True)
class Quit:
    """End after this message."""


# trainer -> link --------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Ready:
    """The learner is built; `schema_hash` is of the model it really built. Sent before `Begin`.

    Args:
        remarks: what people should read of its data, a sentence each.
    """

    schema_hash: str
    remarks: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Progress:
    """After steps, at most every quarter of a second; and when the trainer starts or stops waiting.

    Args:
        steps, tokens: since the process started.
        pending: numbers of work that no commit and no open round holds; staleness_65535 as of now.
        speed: tokens per second while training, smoothed, pacing included.
        steps_per_s: likewise.
        busy_s, idle_s: seconds spent training, and blocked on anything remote.
        loss: mean training loss of the last steps, in nats; never leaves the worker's own metrics.
    """

    steps: int
    tokens: int
    pending: Numbers
    speed: float
    steps_per_s: float
    busy_s: float
    idle_s: float
    loss: float
    resident_bytes: int


@dataclass(frozen=True, slots=True)
class Closed:
    """The frozen work: `theta.f32` and the learner's state lie in the folder named by `Close`.

    Args:
        numbers: at close. All zero where nothing was pending.
        loss_2_20: mean training loss over those steps, in nats times 2**20, at least 0.
        finite: false where loss or parameters are NaN or infinite.
    """

    round: str
    numbers: Numbers
    loss_2_20: int
    finite: bool


@dataclass(frozen=True, slots=True)
class Merged:
    """The live parameters stand on `version`."""

    version: int


@dataclass(frozen=True, slots=True)
class Saved:
    """`folder` is complete; not yet fsynced."""

    folder: str
    version: int


@dataclass(frozen=True, slots=True)
class Failed:
    """The trainer cannot go on; `sentence` says why and what to do.

    Args:
        by_settings: a setting is to blame: to start again would change nothing.
    """

    sentence: str
    by_settings: bool = False


TO_TRAINER: Final = (Build, Begin, Budget, Close, Merge, Return, Release, SaveTo, Quit)
TO_LINK: Final = (Ready, Progress, Closed, Merged, Saved, Failed)
