"""Reads what a run left on disk: `result.json`, `metrics.jsonl`, and the genesis if it is there.

Nothing in these files is trusted: each value is checked for its type and range here, and every
text is escaped by `markup.py`. What an older coordinator did not write yet is None, and the page
says so.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, BinaryIO, Final

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from common import canonical
from common.documents import Genesis
from common.errors import ConfigError
from services.config.genesis_file import load_genesis
from services.coordinator.kept.files import CoordinatorFiles

GENESIS: Final = "genesis.json"

_COORDINATOR: Final = "coordinator"
_REPAIR_FILE: Final = "copy it again from the coordinator's data_dir, or from a backup"
_REPAIR_LINE: Final = "restore the file from a backup, or delete this line of it"
_MOST: Final = 2**63 - 1

Count = Annotated[int, Field(ge=0, le=_MOST)]
Number = Annotated[float, Field(ge=0, le=1e300, allow_inf_nan=False)]
Loss = Annotated[float, Field(ge=-1e300, le=1e300, allow_inf_nan=False)]
Share = Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)]


class _Read(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore", strict=True)


class WorkerResult(_Read):
    """One worker's totals. `bytes_by_kind` is None in older runs."""

    contributions: Count
    tokens: Count
    steps: Count
    staleness_mean: Number
    idle_share: Number
    bytes_sent: Count = 0
    bytes_received: Count = 0
    bytes_by_kind: dict[str, Count] | None = None


class Totals(_Read):
    """What `result.json` and each line of `metrics.jsonl` have in common.

    Args:
        float32_bytes_by_kind: what the content that was moved would be as float32; None in older
            runs.
    """

    run: str
    versions: Count
    loss_nats: Loss | None
    perplexity: Number | None
    accuracy: Share | None
    evaluated_version: Count | None
    seconds: Number
    privacy_tier: str
    rounds_aborted: Count
    tokens: Count
    bytes_up: Count
    bytes_down: Count
    bytes_by_kind: dict[str, Count]
    float32_bytes_by_kind: dict[str, Count] | None = None
    bytes_float32_fedavg: Count

    @property
    def bytes_moved(self) -> int:
        """Both ways."""
        return self.bytes_up + self.bytes_down


class Result(Totals):
    """`result.json`."""

    workers: dict[str, WorkerResult]


class RoundLine(_Read):
    """One round that ended, as `services/coordinator/watch/round_times.py` writes it.

    Args:
        version: the head when the round was over.
        outcome: "committed", or an AbortReason's value.
        closed_s: seconds into the run at which its cohort closed.
        phases_s: seconds in each phase, in order; empty for an earlier coordinator's round.
        staleness: of each survivor, commits; empty for an aborted round.
        lost: members of the cohort that are not in the sum.
    """

    round: str
    version: Count
    outcome: str
    detail: str
    closed_s: Number
    phases_s: dict[str, Number]
    staleness: dict[str, Number]
    lost: list[str]

    @property
    def committed(self) -> bool:
        """Whether it made a version."""
        return self.outcome == "committed"

    @property
    def duration_s(self) -> float:
        """From the close to the record."""
        return sum(self.phases_s.values())

    @property
    def ended_s(self) -> float:
        """Seconds into the run."""
        return self.closed_s + self.duration_s


class _Line(Totals):
    time_s: Number
    rounds: list[RoundLine] | None = None


@dataclass(frozen=True, slots=True)
class Measured:
    """One evaluation, and where the run stood when it was known."""

    version: int
    seconds: float
    bytes_moved: int
    loss_nats: float
    perplexity: float
    accuracy: float


@dataclass(frozen=True, slots=True)
class TrafficPoint:
    """Bytes moved until then, and what float32 FedAvg would have moved."""

    seconds: float
    bytes_moved: int
    bytes_float32_fedavg: int


@dataclass(frozen=True, slots=True)
class RunData:
    """All that the page is made from.

    Args:
        folder: that was read, for people.
        began_s: Unix time of the first line; None where there is none.
        rounds: in order; None where the coordinator was too old to write them.
        num_torn: lines that a killed coordinator left unfinished.
        genesis: None where its file is not kept.
        genesis_from: its file's name.
    """

    folder: str
    result: Result
    began_s: float | None
    measured: tuple[Measured, ...]
    traffic: tuple[TrafficPoint, ...]
    rounds: tuple[RoundLine, ...] | None
    num_torn: int
    genesis: Genesis | None
    genesis_from: str


def read_run(folder: Path, genesis: Path | None = None) -> RunData:
    """Return what the run in `folder` left.

    Args:
        folder: `runs/<name>`, or a coordinator's data_dir.
        genesis: the run's genesis.json where it lies elsewhere.

    Raises:
        ConfigError: a file is missing or damaged; names it and says what to do.
    """
    if not folder.is_dir():
        raise ConfigError(f"{folder}: no such folder; name a run's folder, such as runs/demo")
    files, inside = CoordinatorFiles(folder), CoordinatorFiles(folder / _COORDINATOR)
    if not files.result.is_file() and inside.result.is_file():
        files = inside  # a local run that was interrupted
    path = genesis or kept_genesis(folder)
    document = None if path is None else load_genesis(path)  # first: it names an old protocol
    result = _result(files.result)
    lines = _Lines(files.metrics)
    for line in lines.read():
        lines.add(line)
    lines.measure(result)  # the last one may have come after the last line
    if document is not None and document.run != result.run:
        raise ConfigError(
            f"{path}: the genesis of run {document.run!r}, but {files.result} is of run "
            f"{result.run!r}; name the run's own file with --genesis"
        )
    return RunData(
        folder=folder.name or str(folder),
        result=result,
        began_s=lines.began_s,
        measured=tuple(lines.measured),
        traffic=_thinned(lines.traffic),
        rounds=tuple(lines.rounds.values()) if lines.has_rounds else None,
        num_torn=lines.num_torn,
        genesis=document,
        genesis_from="" if path is None else path.name,
    )


def genesis_hash(genesis: Genesis) -> str:
    """Return what every process of the run pins, in hexadecimal."""
    return str(canonical.digest(genesis))


class _Lines:
    """metrics.jsonl, folded line by line: a week has half a million of them."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self.began_s: float | None = None
        self.measured: list[Measured] = []
        self.traffic: list[TrafficPoint] = []
        self.rounds: dict[str, RoundLine] = {}
        self.has_rounds = False
        self.num_torn = 0

    def read(self) -> Iterator[_Line]:
        """Yield each whole line; a torn one is counted."""
        with _open(self._path) as file:
            for number, content in enumerate(file, start=1):
                stripped = content.strip()
                if not stripped:
                    continue
                where = f"{self._path}, line {number}"
                try:
                    yield _Line.model_validate_json(stripped)
                except ValidationError as e:
                    if not _is_torn(e):
                        raise _damaged(e, where, _REPAIR_LINE) from None
                    self.num_torn += 1  # a kill, or a full disk, while it was written

    def add(self, line: _Line) -> None:
        """Take what this line says that the one before did not."""
        if self.began_s is None:
            self.began_s = line.time_s
        if line.rounds is not None:
            self.has_rounds = True
            for ended in line.rounds:
                self.rounds.setdefault(ended.round, ended)
        self.traffic.append(TrafficPoint(line.seconds, line.bytes_moved, line.bytes_float32_fedavg))
        self.measure(line)

    def measure(self, totals: Totals) -> None:
        """Take the evaluation, if it is one that was not there before."""
        if (
            totals.evaluated_version is None
            or totals.loss_nats is None
            or totals.perplexity is None
            or totals.accuracy is None
            or (self.measured and self.measured[-1].version == totals.evaluated_version)
        ):
            return
        self.measured.append(
            Measured(
                version=totals.evaluated_version,
                seconds=totals.seconds,
                bytes_moved=totals.bytes_moved,
                loss_nats=totals.loss_nats,
                perplexity=totals.perplexity,
                accuracy=totals.accuracy,
            )
        )


def _result(path: Path) -> Result:
    if not path.is_file():
        raise ConfigError(
            f"{path}: no such file; the coordinator writes it when a run ends, or when it is told "
            "to end (SIGTERM): name the folder of a run that has ended, or its data_dir"
        )
    with _open(path) as file:
        content = file.read()
    try:
        return Result.model_validate_json(content)
    except ValidationError as e:
        raise _damaged(e, str(path), _REPAIR_FILE) from None


def _is_torn(error: ValidationError) -> bool:
    """Return whether the text merely ends too early: the beginning of a line, and no more."""
    first = error.errors(include_url=False, include_input=False)[0]
    return first["type"] == "json_invalid" and "EOF while parsing" in first["msg"]


def _damaged(error: ValidationError, where: str, repair: str) -> ConfigError:
    first = error.errors(include_url=False, include_input=False)[0]
    field = ".".join(str(part) for part in first["loc"])
    found = f"{field}: {first['msg']}" if field else first["msg"]
    return ConfigError(f"{where} is damaged: {found}; {repair}")


def _open(path: Path) -> BinaryIO:
    try:
        return path.open("rb")
    except OSError as e:
        raise ConfigError(
            f"{path}: cannot be read: {e.strerror}; copy it from the coordinator's data_dir"
        ) from None


def kept_genesis(folder: Path) -> Path | None:
    """Return where the genesis lies in or beside a run's folder; None where it does not."""
    places = (folder, folder / "genesis", folder.parent / "genesis")
    return next((p / GENESIS for p in places if (p / GENESIS).is_file()), None)


_MOST_POINTS: Final = 400


def _thinned(traffic: list[TrafficPoint]) -> tuple[TrafficPoint, ...]:
    every = max(1, len(traffic) // _MOST_POINTS)
    thinned = traffic[::every]
    return tuple(thinned if not traffic or thinned[-1] is traffic[-1] else [*thinned, traffic[-1]])


def by_worker(rounds: tuple[RoundLine, ...]) -> Mapping[str, list[tuple[float, float]]]:
    """Return of each worker that contributed: (seconds, staleness) of its contributions."""
    found: dict[str, list[tuple[float, float]]] = {}
    for ended in rounds:
        for name, staleness in ended.staleness.items():
            found.setdefault(name, []).append((ended.ended_s, staleness))
    return found
