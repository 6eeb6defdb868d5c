"""What an operator writes: one YAML file per run, one per process, read once at start.

Every field says its unit and what raising it does; `load_*` turn whatever is wrong into a
ConfigError that names file, field, value and fix (`config_file.py`). Relative paths are
relative to the file that they stand in, those of the environment to the working folder. Constants
that decide what a round computes are not here: they are the `Algorithm` in the genesis, equal for
all. It is long because every field of every file is described here, and nowhere else.
"""

import dataclasses
import re
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Annotated, Any, Final, Literal, Self

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PrivateAttr,
    SecretStr,
    ValidationInfo,
    field_validator,
    model_validator,
)
from typing_extensions import override

from common import canonical
from common.constants import CONSTANTS, Range
from common.documents import TIERS, Algorithm, Stop
from common.errors import ConfigError
from common.learners import BUILT_IN, refusal_of_former
from common.thresholds import min_cohort
from services.config import addresses, secret_urls, store_options
from services.config.config_file import folders, load
from services.config.names import check_name
from services.config.presets import DEFAULT_PRESET, PRESETS
from services.config.soundness import refuse_unsound

_ALL_ADDRESSES: Final = "0.0.0.0"  # noqa: S104 - a container is reached from outside


def _beside_file(path: Path, info: ValidationInfo) -> Path:
    return _beside((info.context or {}).get("folder", Path()), path)


def _beside(folder: str | Path, path: Path) -> Path:
    try:
        return Path(folder, path.expanduser())
    except RuntimeError as e:  # ~somebody
        raise ValueError(f"{e}; write the path out") from None


def _not_empty(path: Any) -> Any:
    if path == "":  # which would be the file's own folder
        raise ValueError("nothing stands there; write a path")
    return path


def _existing_file(path: Path) -> Path:
    try:
        found = path.is_file()
    except OSError as e:
        raise ValueError(f"cannot be a path: {e.strerror}; correct it") from None
    if not found:
        raise ValueError(f"no such file: {path}; correct the path or make the file")
    return path


def _name(name: str, info: ValidationInfo) -> str:
    try:
        check_name(name, str(info.field_name))
    except ConfigError as e:
        raise ValueError(str(e)) from None
    return name


def _address(address: str) -> str:
    return str(addresses.parsed(address))


def _store_url(url: SecretStr, info: ValidationInfo) -> SecretStr:
    text = url.get_secret_value()
    if problem := secret_urls.problem_of(text):
        raise ValueError(problem)
    folder = folders(info, str(info.field_name))[str(info.field_name)]
    text = store_options.with_paths(text, lambda path: _beside(folder, path))
    if problem := store_options.missing_path(text):
        raise ValueError(problem)
    return SecretStr(text)


def _storable(settings: Mapping[str, Any]) -> Mapping[str, Any]:
    try:
        canonical.encode(_Free(settings))
    except (ValueError, RecursionError) as e:
        raise ValueError(f"cannot be pinned: {e}: a number has to be finite") from None
    return settings


@dataclasses.dataclass(frozen=True, slots=True)
class _Free:
    settings: Mapping[str, Any]


def _learner(path: str) -> str:
    if refusal := refusal_of_former(path):
        raise ValueError(refusal)
    if path != BUILT_IN and not re.fullmatch(r"[\w.]+:\w+", path):
        raise ValueError(f"expected {BUILT_IN} or MODULE:FUNCTION, such as my_package.train:build")
    return path


FilePath = Annotated[Path, BeforeValidator(_not_empty), AfterValidator(_beside_file)]
ExistingFile = Annotated[FilePath, AfterValidator(_existing_file)]
Name = Annotated[str, AfterValidator(_name)]
Address = Annotated[str, AfterValidator(_address)]
Host = Annotated[str, AfterValidator(addresses.checked_host)]
StoreUrl = Annotated[SecretStr, AfterValidator(_store_url)]
LearnerPath = Annotated[str, AfterValidator(_learner)]
Port = Annotated[int, Field(ge=1, le=65535)]
Seconds = Annotated[float, Field(gt=0, le=86400, allow_inf_nan=False)]


class _Settings(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class _WithFolders(_Settings):
    """Has fields that a learner reads, and so may hold paths that only it knows of."""

    _folders: dict[str, str] = PrivateAttr(default_factory=dict)

    @model_validator(mode="after")
    def _note_folders(self, info: ValidationInfo) -> Self:
        self._folders.update(folders(info, "data", "settings"))
        return self

    @property
    def folders(self) -> dict[str, str]:
        """Return `LearnerContext.folders`."""
        return dict(self._folders)


class TlsSettings(_Settings):
    """Who this process is; made by `crosscloud certs init`."""

    ca: ExistingFile = Field(description="the federation's CA certificate, PEM")
    certificate: ExistingFile = Field(description="this process's certificate, PEM")
    key: ExistingFile = Field(description="this process's private key, PEM, no password")


class LogSettings(_Settings):
    """What a process prints on standard error."""

    format: Literal["console", "json"] = Field(
        default="console", description="console for people, json for one object per line"
    )
    level: Literal["debug", "info", "warning", "error"] = Field(
        default="info", description="least important level printed; debug prints much"
    )


class MetricsSettings(_Settings):
    """Where Prometheus reads this process."""

    host: Host = Field(
        default=_ALL_ADDRESSES, description="address to listen on; metrics are not encrypted"
    )
    port: int = Field(
        default=7446,
        ge=0,
        le=65535,
        description="TCP port of /metrics, each process its own; 0 = none: the coordinator tells",
    )


class AddressSettings(_Settings):
    """Where the coordinator is."""

    control: Address = Field(description="HOST:PORT of the control port, as in its certificate")
    bulk: Address = Field(description="HOST:PORT of the bulk port, as in its certificate")

    @model_validator(mode="after")
    def _two_ports(self) -> Self:
        if self.control == self.bulk:
            raise ValueError(f"control and bulk are both {self.bulk}: they are two ports")
        return self


class TimingSettings(_Settings):
    """The coordinator's patience."""

    heartbeat_s: Seconds = Field(
        default=2.0,
        description="seconds between a worker's heartbeats; raising it saves traffic, sees less",
    )
    worker_lease_s: Seconds = Field(
        default=20.0,
        description="seconds of silence until a worker is not live; raising it waits longer for it",
    )
    leader_lease_s: Seconds = Field(
        default=10.0,
        description="seconds until another coordinator may take over; raising it delays that",
    )
    key_timeout_s: Seconds = Field(
        default=15.0,
        description="seconds for the numbers at close; raising it waits longer for a lost member",
    )
    upload_timeout_s: Seconds = Field(
        default=600.0,
        description="seconds for an upload; raising it admits slower links and lengthens rounds",
    )
    resolve_timeout_s: Seconds = Field(
        default=30.0,
        description="seconds that a masked round which failed after its uploads began waits for its"
        " members' word that they reveal nothing; raising it holds up the next round for longer,"
        " lowering it spends work of all where a lost member would have come back",
    )
    first_grace_s: Seconds = Field(
        default=5.0,
        description="seconds that a quorum waits for the rest while there is no history yet",
    )
    keepalive_s: float = Field(
        default=20.0,
        ge=1,
        le=200,
        description="seconds between pings of an idle connection; raising it may lose it to a NAT;"
        " at most 200, since balancers cut what is silent for four minutes",
    )

    @model_validator(mode="after")
    def _several_heartbeats_per_lease(self) -> Self:
        if self.worker_lease_s < 3 * self.heartbeat_s:
            raise ValueError(
                f"worker_lease_s {self.worker_lease_s} is under three times heartbeat_s "
                f"{self.heartbeat_s}: one lost heartbeat would end a lease; raise it"
            )
        return self


class LimitSettings(_Settings):
    """What callers may take of the coordinator; who wants more is told when to come back."""

    max_sessions: int = Field(
        default=1024,
        ge=1,
        le=100_000,
        description="open streams of the control port; raising it takes about 0.1 MB each",
    )
    max_sessions_per_name: int = Field(
        default=4,
        ge=2,
        le=1000,
        description="of them of one name; one more ends its oldest, most likely a dead one",
    )
    max_streams: int = Field(
        default=32,
        ge=4,
        le=1024,
        description="uploads and downloads at once, each a thread; a quarter is for uploads alone",
    )
    max_streams_per_member: int = Field(
        default=4, ge=1, le=1024, description="of them of one name; raising it lets one crowd out"
    )
    max_message_bytes: int = Field(
        default=2**21,
        ge=2**20,
        le=2**28,
        description="largest message of an upload; a shard has 983,040; raising it costs memory",
    )
    max_in_flight_bytes: int = Field(
        default=2**27,
        ge=2**22,
        description="memory for messages of open streams, two for each: no stream is let in beyond"
        " it; raise it with max_streams",
    )
    max_spool_bytes: int = Field(
        default=2**36,
        ge=2**20,
        description="disk for uploads of open rounds; an upload that does not fit has to wait;"
        " a cohort's uploads have to fit, and a version beside them",
    )
    spare_disk_bytes: int = Field(
        default=2**28,
        ge=0,
        description="disk that uploads leave free for log and versions; raise it to the size of"
        " a version, three times 4 bytes per parameter",
    )
    stall_s: Seconds = Field(
        default=60.0,
        description="seconds until an upload or download without a byte is ended; raising it lets"
        " dead ones hold their place for longer",
    )

    @property
    def num_streams(self) -> int:
        """Streams that both limits allow."""
        return min(self.max_streams, self.max_in_flight_bytes // (2 * self.max_message_bytes))

    @property
    def max_connections(self) -> int:
        """Connections to each port: a stream's old one may linger, and people look as well."""
        return 2 * self.max_sessions + 64

    @model_validator(mode="after")
    def _room_for_some(self) -> Self:
        if self.num_streams < 4:
            raise ValueError(
                f"max_in_flight_bytes {self.max_in_flight_bytes} is under eight times "
                f"max_message_bytes {self.max_message_bytes}: hardly a stream would fit; raise it"
            )
        return self


class PaceSettings(_Settings):
    """How much of the machine training may take."""

    slowdown: float = Field(
        default=1.0,
        ge=1,
        le=1000,
        description="every step takes so many times as long; 1 = full speed",
    )
    max_steps_per_s: float = Field(
        default=0.0, ge=0, description="local steps per second at most; 0 = no limit"
    )


class RunSettings(_WithFolders):
    """run.yaml: from it `crosscloud genesis` makes the document that every process pins."""

    name: Name = Field(description="the run's name; stands in every certificate")
    seed: int = Field(
        default=0,
        ge=0,
        lt=2**63,
        description="of the initial parameters and the rotation; any number",
    )
    preset: str = Field(
        default=DEFAULT_PRESET, description="where `algorithm` starts: one of the presets"
    )
    algorithm: Algorithm = Field(
        default=PRESETS[DEFAULT_PRESET].algorithm,
        description="what differs from the preset; fields as in docs/arithmetic.md",
    )
    learner: LearnerPath = Field(
        default=BUILT_IN,
        description="huggingface, the built-in one, or MODULE:FUNCTION that builds your own",
    )
    settings: Annotated[Mapping[str, Any], AfterValidator(_storable)] = Field(
        default_factory=dict, description="the learner's own: model, tokenizer, batch, ..."
    )
    stop: Stop = Field(description="when the run ends: versions, tokens, hours, loss")

    @model_validator(mode="before")
    @classmethod
    def _start_from_preset(cls, raw: Any) -> Any:
        if not isinstance(raw, dict) or not isinstance(raw.get("algorithm", {}), dict):
            return raw
        preset = PRESETS.get(str(raw.get("preset", DEFAULT_PRESET)))
        if preset is None:
            return {**raw, "algorithm": {}}
        own = raw.get("algorithm", {})
        merged = _merged(dataclasses.asdict(preset.algorithm), own)
        if merged["tier"] != "tls" and "colluding" in own and "min_cohort" not in own:
            with suppress(TypeError, ValueError, OverflowError):  # what it is instead is refused
                merged["min_cohort"] = min_cohort(int(own["colluding"]))
        return {**raw, "algorithm": merged}

    @field_validator("preset")
    @classmethod
    def _known_preset(cls, preset: str) -> str:
        if preset not in PRESETS:
            raise ValueError(f"not a preset; one of {', '.join(PRESETS)}")
        return preset

    @model_validator(mode="after")
    def _sound(self) -> Self:
        try:
            refuse_unsound(self.algorithm, self.stop)
        except ConfigError as e:
            raise ValueError(str(e)) from None
        return self


class CoordinatorSettings(_Settings):
    """coordinator.yaml."""

    genesis: ExistingFile = Field(description="genesis.json of the run; pinned by its digest")
    data_dir: FilePath = Field(
        description="folder of log, versions, spool; needs room for 15 models and as many more as"
        " snapshot_every says, and half of one for each member of a cohort"
    )
    members: ExistingFile = Field(description="who may come in; read again whenever it changes")
    tls: TlsSettings = Field(description="this coordinator's certificate")
    host: Host = Field(
        default=_ALL_ADDRESSES, description="address that both ports listen on; mTLS guards them"
    )
    control_port: Port = Field(default=7443, description="TCP port of sessions, status and health")
    bulk_port: Port = Field(default=7444, description="TCP port of uploads and downloads")
    metrics: MetricsSettings = Field(default=MetricsSettings(), description="Prometheus")
    redis_url: StoreUrl | None = Field(
        default=None,
        description="redis://, rediss://, unix://, or for a cluster redis+cluster:// or "
        "rediss+cluster://; without one an embedded Valkey is started",
    )
    allowed_tiers: tuple[str, ...] = Field(
        default=TIERS,
        min_length=1,
        description="privacy tiers that a run may have here; tls shows every update",
    )
    timings: TimingSettings = Field(default=TimingSettings(), description="patience, in seconds")
    limits: LimitSettings = Field(default=LimitSettings(), description="what callers may take")
    drain_s: Annotated[float, Field(ge=0, le=3600)] = Field(
        default=10.0,
        description="seconds after SIGTERM for the open round and its uploads; the process ends"
        " at most 20 s later; raise Kubernetes' terminationGracePeriodSeconds with it",
    )
    reflection: bool = Field(
        default=True,
        description="gRPC server reflection on both ports, for whoever holds a certificate; it "
        "tells what protos/v1 says; false = none",
    )
    snapshot_every: int = Field(
        default=8,
        ge=1,
        description="commits between snapshots; raising it keeps more steps and joins take longer",
    )
    log: LogSettings = Field(default=LogSettings(), description="what is printed")

    @model_validator(mode="after")
    def _each_port_once(self) -> Self:
        ports = {"bulk_port": self.bulk_port, "metrics.port": self.metrics.port}
        for name, port in ports.items():
            if port == self.control_port:
                raise ValueError(f"control_port and {name} are both {port}: give each its own")
        if self.bulk_port == self.metrics.port:
            raise ValueError(f"bulk_port and metrics.port are both {self.bulk_port}: change one")
        return self


class _LearnerSettings(_WithFolders):
    """What a worker and an evaluator have in common: who they are, where to dial, the learner."""

    genesis: ExistingFile = Field(description="genesis.json of the run; pinned by its digest")
    coordinator: AddressSettings = Field(description="where to dial")
    tls: TlsSettings = Field(description="this process's certificate")
    learner: LearnerPath | None = Field(
        default=None,
        description="MODULE:FUNCTION instead of the run's; it has to build the same model",
    )
    device: str = Field(default="cpu", description="where to compute: cpu, cuda, cuda:1, mps")
    num_threads: int = Field(
        default=1,
        ge=1,
        le=1024,
        description="CPU threads of the learner; raising it leaves less for others",
    )
    metrics: MetricsSettings = Field(default=MetricsSettings(), description="Prometheus")
    log: LogSettings = Field(default=LogSettings(), description="what is printed")

    @property
    @override
    def folders(self) -> dict[str, str]:
        """Return `LearnerContext.folders`; the run's settings stand in genesis.json."""
        return {**super().folders, "settings": str(self.genesis.parent)}


def _as_usual(name: str, description: str) -> Any:
    """Return a field with the bounds of a run's constant, and its usual value."""
    may_be, usual = CONSTANTS[name].may_be, PRESETS[DEFAULT_PRESET].algorithm
    assert isinstance(may_be, Range)
    return Field(default=getattr(usual, name), description=description, **may_be.limits)


class TrustSettings(_Settings):
    """What this worker insists on: a run may be stricter, never weaker."""

    tier: Literal["masked", "tls"] = Field(
        default="masked",
        description="weakest privacy tier it works in; tls shows the coordinator every update",
    )
    colluding: int = _as_usual("colluding", "fewest colluding workers a threshold must allow for")
    min_cohort: int | None = Field(
        default=None,
        ge=2,
        description="fewest members of a sum; none = 3 + colluding; with one fewer, each honest one"
        " and the colluding ones can compute the other's update",
    )
    max_share: float = _as_usual("max_share", "largest part of a sum that one member may be")
    max_staleness: float = _as_usual("max_staleness", "largest max_staleness of a run, in commits")
    max_policy_factor: float = Field(
        default=1.0, ge=1, description="largest factor that a loss policy may give a member"
    )
    max_clip: float | None = Field(
        default=None, gt=0, description="its updates are never longer than this times A; none = C"
    )
    pins: ExistingFile | None = Field(
        default=None,
        description="pins.yaml: names, organisations and keys of the workers that may be in a sum; "
        "none = any worker that the CA signed, so whoever holds the CA's key is trusted",
    )
    operators: ExistingFile | None = Field(
        default=None,
        description="such a file of the operators' keys, whose signature a roll-back needs in the "
        "masked tier; none = any operator that the CA signed",
    )


class WorkerSettings(_LearnerSettings):
    """worker.yaml."""

    name: Name = Field(
        description="this worker's name, as on the member list and in its certificate"
    )
    state_dir: FilePath = Field(
        description="folder of parameters, residual and stage; needs room for 19 models"
    )
    data: Mapping[str, Any] = Field(
        description="the learner's data settings: this cloud's own files"
    )
    pace: PaceSettings = Field(default=PaceSettings(), description="limits of speed")
    trust: TrustSettings = Field(
        default=TrustSettings(), description="what it insists on, whatever the coordinator says"
    )
    resolve_timeout_s: Seconds = Field(
        default=3600.0,
        description="seconds at most until a masked round that has no outcome is given up: what"
        " this worker has uploaded to it is spent then; raising it lets a silent coordinator hold"
        " up its work for longer, below the length of a round its work is lost for nothing",
    )
    drain_s: Annotated[float, Field(ge=0, le=3600)] = Field(
        default=15.0,
        description="seconds after SIGTERM to settle an open round and to save; the process ends"
        " at most 12 s later; raise it for large models, and the supervisor's patience with it",
    )


class EvaluatorSettings(_LearnerSettings):
    """evaluator.yaml."""

    name: Name = Field(
        description="this evaluator's name, as on the member list and in its certificate"
    )
    state_dir: FilePath = Field(
        description="folder of downloaded versions; needs room for 7 models"
    )
    data: Mapping[str, Any] = Field(
        description="the learner's data settings: the shared validation shard"
    )


class OperatorSettings(_Settings):
    """operator.yaml: for status, pause, resume, stop and rollback."""

    run: Name = Field(description="the run's name")
    coordinator: Address = Field(description="HOST:PORT of the control port, as in its certificate")
    tls: TlsSettings = Field(description="this operator's certificate")
    timeout_s: Seconds = Field(
        default=10.0,
        description="seconds until a call is given up; raising it names an unreachable one later",
    )


def load_run(path: Path, environ: Mapping[str, str] | None = None) -> RunSettings:
    """Read run.yaml; variables begin with CROSSCLOUD_RUN__."""
    return load(RunSettings, path, "run", environ)


def load_coordinator(path: Path, environ: Mapping[str, str] | None = None) -> CoordinatorSettings:
    """Read coordinator.yaml; variables begin with CROSSCLOUD_COORDINATOR__."""
    return load(CoordinatorSettings, path, "coordinator", environ)


def load_worker(path: Path, environ: Mapping[str, str] | None = None) -> WorkerSettings:
    """Read worker.yaml; variables begin with CROSSCLOUD_WORKER__."""
    return load(WorkerSettings, path, "worker", environ)


def load_evaluator(path: Path, environ: Mapping[str, str] | None = None) -> EvaluatorSettings:
    """Read evaluator.yaml; variables begin with CROSSCLOUD_EVALUATOR__."""
    return load(EvaluatorSettings, path, "evaluator", environ)


def load_operator(path: Path, environ: Mapping[str, str] | None = None) -> OperatorSettings:
    """Read operator.yaml; variables begin with CROSSCLOUD_OPERATOR__."""
    return load(OperatorSettings, path, "operator", environ)


def _merged(under: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    both = {**under, **over}
    for key, value in over.items():
        if isinstance(under.get(key), dict) and isinstance(value, dict):
            both[key] = _merged(under[key], value)
    return both
