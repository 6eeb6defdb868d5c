"""What the planner is told beside the run's file: clouds, links, speeds, prices. YAML and options.

What stands on the command line wins over the file. Everything has a default, so that a run's file
alone gives a plan; what cannot be known without being told (links, speeds) is left out of it.
"""

from collections.abc import Iterable, Mapping
from difflib import get_close_matches
from pathlib import Path
from typing import Any, Final

from pydantic import BaseModel, ConfigDict, Field, PrivateAttr, field_validator

from commands.plan.room import ADAMW_BYTES
from common.errors import ConfigError
from services.config.config_file import check, read_mapping
from services.config.file_kind import refuse_other
from services.config.names import check_name
from services.config.settings import CoordinatorSettings, TimingSettings
from services.config.yaml_file import Written

PRICES_USD_PER_GB: Final[Mapping[str, float]] = {"aws": 0.09, "gcp": 0.12, "azure": 0.087}
"""List prices of traffic to the internet, first paid tier, American and European regions, as public
comparisons gave them at the beginning of 2026 (gcp: premium network). Discounts, free amounts and
higher tiers lower them; other regions cost more. Traffic into a cloud is free in all three."""

WORKERS: Final = ("aws", "azure", "gcp")
"""Where nobody says who takes part: one worker in each cloud that has a price."""

COORDINATOR: Final = "coordinator"


class _PlanSettings(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class PlaceSettings(_PlanSettings):
    """One machine: where it stands, its link, its speed."""

    cloud: str | None = Field(
        default=None, description="name in `prices_usd_per_gb`; without one its own name"
    )
    up_mbps: float | None = Field(
        default=None, gt=0, description="megabits per second that it can send"
    )
    down_mbps: float | None = Field(
        default=None, gt=0, description="megabits per second that it can receive"
    )
    tokens_per_s: float | None = Field(
        default=None, gt=0, description="training speed of a worker, tokens per second"
    )


class PlanOptions(_PlanSettings):
    """The planner's own file."""

    parameters: float | None = Field(
        default=None,
        ge=1,
        le=1e14,
        description="of the model, instead of building the one in the run's file",
    )
    workers: Mapping[str, PlaceSettings] = Field(
        default_factory=dict, description="by name; without any, one each in aws, azure and gcp"
    )
    coordinator: PlaceSettings = Field(
        default=PlaceSettings(), description="where the coordinator stands"
    )
    evaluator: bool = Field(
        default=True, description="whether one downloads every version, beside the coordinator"
    )
    prices_usd_per_gb: Mapping[str, float] = Field(
        default_factory=dict, description="of traffic to the internet, USD per 10^9 bytes, by cloud"
    )
    tokens_per_step: int | None = Field(
        default=None,
        ge=1,
        description="of a local step, where the run's settings do not say batch * sequence; of a"
        " learner of one's own it may differ from them, with several batches in a step, say",
    )
    optimizer_bytes: float = Field(
        default=ADAMW_BYTES,
        ge=0,
        le=64,
        description="state of the inner optimiser per parameter; 8 = AdamW's two moments",
    )
    snapshot_every: int = Field(
        default=CoordinatorSettings.model_fields["snapshot_every"].default,
        ge=1,
        le=10_000,
        description="as in coordinator.yaml",
    )
    heartbeat_s: float = Field(
        default=TimingSettings.model_fields["heartbeat_s"].default,
        gt=0,
        description="as in coordinator.yaml, under timings",
    )
    compressed_aggregates: float = Field(
        default=1.0,
        gt=0,
        le=1,
        description="share of an aggregate's bytes that is left when it is compressed for the wire:"
        " 0.6 to 0.9, as the data will have it (ADR 0007); 1 = the most",
    )
    encode_s_per_gb: float = Field(
        default=1.2, ge=0, description="seconds of a worker per 10^9 bytes of float32 model"
    )
    commit_s_per_gb: float = Field(
        default=20.0, ge=0, description="seconds of the coordinator, likewise"
    )
    merge_s_per_gb: float = Field(
        default=4.0, ge=0, description="seconds of a worker to follow a version, likewise"
    )

    _remarks: list[str] = PrivateAttr(default_factory=list)

    @property
    def remarks(self) -> list[str]:
        """What was taken for granted, in sentences."""
        return self._remarks

    @field_validator("workers")
    @classmethod
    def _names(cls, workers: Mapping[str, PlaceSettings]) -> Mapping[str, PlaceSettings]:
        for name in workers:
            try:
                check_name(name, "name")
            except ConfigError as e:
                raise ValueError(str(e)) from None
        return workers

    @field_validator("prices_usd_per_gb")
    @classmethod
    def _prices(cls, prices: Mapping[str, float]) -> Mapping[str, float]:
        if wrong := [cloud for cloud, price in prices.items() if price < 0]:
            raise ValueError(f"the price of {wrong[0]} is below 0; 0 = free")
        return {**PRICES_USD_PER_GB, **prices}


def read_options(
    path: Path | None,
    *,
    parameters: float | None = None,
    workers: Iterable[str] = (),
    links: Iterable[str] = (),
    speeds: Iterable[str] = (),
    prices: Iterable[str] = (),
    coordinator: str | None = None,
) -> PlanOptions:
    """Return the options of a file and of the command line, which wins.

    Args:
        path: of the YAML file; None = there is none.
        workers: NAME or NAME=CLOUD.
        links: NAME=UP/DOWN in megabits per second; a name is a worker's, or "coordinator".
        speeds: NAME=TOKENS_PER_S, or TOKENS_PER_S for every worker.
        prices: CLOUD=USD per 10^9 bytes.
        coordinator: the cloud that it stands in.

    Raises:
        ConfigError: names the option or the field, and the fix; a link, speed or price of nobody.
    """
    written = Written("plan", {}) if path is None else read_mapping(path)
    refuse_other(PlanOptions, "plan", written)
    raw = written.value
    origins: dict[str, str] = {}
    places = _Places(raw, origins)
    for text in workers:
        name, _, cloud = text.partition("=")
        places.of(name, f"--worker {text}", **({"cloud": cloud} if cloud else {}))
    invented = not raw.get("workers")
    for name in WORKERS if invented else ():
        places.of(name, "the default")
    for text in links:
        name, up, down = _link(text)
        places.known(name, f"--link {text}", up_mbps=up, down_mbps=down)
    if coordinator is not None:
        places.of(COORDINATOR, f"--coordinator {coordinator}", cloud=coordinator)
    for text in (text for text in speeds if "=" not in text):
        for name in places.group("workers"):
            places.of(name, f"--tokens-per-s {text}", tokens_per_s=text)
    for text in (text for text in speeds if "=" in text):
        name, _, speed = text.partition("=")
        places.known(name, f"--tokens-per-s {text}", tokens_per_s=speed)
    for text in prices:
        cloud, sign, price = text.partition("=")
        if not sign:
            raise ConfigError(f"--price {text}: expected CLOUD=USD_PER_GB, such as aws=0.05")
        places.group("prices_usd_per_gb")[cloud] = price
        origins[f"prices_usd_per_gb.{cloud}"] = f"--price {text}"
    priced = list(places.group("prices_usd_per_gb"))
    if parameters is not None:
        raw["parameters"], origins["parameters"] = parameters, f"--parameters {parameters:g}"
    told = check(PlanOptions, written, path or Path("plan"), origins)
    for cloud in priced:
        field = f"prices_usd_per_gb.{cloud}"
        source = origins.get(field, f"{written.where(('prices_usd_per_gb', cloud))}: {field}")
        _refuse_unless_used(cloud, source, told)
    if invented:
        told.remarks.append(
            f"Nobody said who takes part: one worker each in {', '.join(WORKERS)} (--worker NAME)."
        )
    return told


def _refuse_unless_used(cloud: str, source: str, told: PlanOptions) -> None:
    """Let the price of a cloud pass that somebody stands in, or that has a list price.

    Raises:
        ConfigError: it would price nothing: the name is misspelt, most likely.
    """
    stand = {COORDINATOR: told.coordinator, **told.workers}
    used = sorted({place.cloud or name for name, place in stand.items()})
    if cloud not in (*used, *PRICES_USD_PER_GB):
        raise ConfigError(f"{source}: {_unknown('cloud', cloud, used)}")


def _unknown(what: str, name: str, known: Iterable[str]) -> str:
    known = list(known)
    close = get_close_matches(name, known, 1)
    hint = f"did you mean {close[0]!r}? " if close else ""
    return f"no such {what} {name!r}; {hint}known: {', '.join(known)}"


class _Places:
    """Writes options into the file's mapping, and remembers which one wrote what."""

    def __init__(self, raw: dict[str, Any], origins: dict[str, str]) -> None:
        self._raw = raw
        self._origins = origins

    def group(self, name: str, within: dict[str, Any] | None = None) -> dict[str, Any]:
        place = self._raw if within is None else within
        if place.get(name) is None:
            place[name] = {}
        if not isinstance(place[name], dict):
            raise ConfigError(f"{name}: expected `key: value` lines, got {place[name]!r}")
        found: dict[str, Any] = place[name]
        return found

    def of(self, name: str, option: str, **values: object) -> None:
        where = COORDINATOR
        place = self.group(COORDINATOR) if name == COORDINATOR else None
        if place is None:
            where = f"workers.{name}"
            place = self.group(name, self.group("workers"))
        place.update(values)
        self._origins.update((f"{where}.{field}", option) for field in values)

    def known(self, name: str, option: str, **values: object) -> None:
        """Write what is said of a worker that was named already, or of the coordinator."""
        names = [*self.group("workers"), COORDINATOR]
        if name not in names:
            raise ConfigError(f"{option}: {_unknown('worker', name, names)} (--worker adds one)")
        self.of(name, option, **values)


def _link(text: str) -> tuple[str, str, str]:
    name, sign, speeds = text.partition("=")
    up, slash, down = speeds.partition("/")
    if not name or not sign or not slash:
        raise ConfigError(
            f"--link {text}: expected NAME=UP/DOWN in megabits per second, such as aws=1000/500"
        )
    return name, up, down
