"""A forecast for people, at most 80 columns wide. Pure: a forecast in, text out."""

from collections.abc import Iterator, Mapping

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from commands.plan.forecast import Forecast
from commands.plan.options import COORDINATOR
from commands.plan.traffic import Traffic
from services.observe.amounts import human_bytes

_UNKNOWN = "-"


def tables(found: Forecast) -> RenderableType:
    """Return the forecast as tables, with what was not told said so."""
    head = (
        f"{found.run}: {found.parameters:,} parameters, {found.codec} {found.bits} bit, tier "
        f"{found.tier}, {len(found.workers)} workers"
    )
    parts: list[RenderableType] = [Text(head), "", _traffic(found), "", _money(found), ""]
    parts += [_times(found), "", _needs(found)]
    return Group(*parts, *(Text(note) for note in _notes(found)))


def _table(*columns: str) -> Table:
    table = Table(box=None, padding=(0, 2, 0, 0), pad_edge=False)
    for i, column in enumerate(columns):
        table.add_column(column, justify="right" if i else "left", no_wrap=True)
    return table


def _traffic(found: Forecast) -> Table:
    table = _table("bytes of one worker", "up", "down", "both, of FedAvg")
    fedavg = 2 * found.float32

    def row(name: str, traffic: Traffic, whole: float = fedavg) -> None:
        up, down = (sum(traffic[d].values()) for d in ("sent", "received"))
        share = f"{(up + down) / whole:.1%}" if whole else ""
        table.add_row(name, human_bytes(up), human_bytes(down), share)

    row("a version", found.version)
    for name, kind in (
        ("  update", "update"),
        ("  aggregate", "aggregate"),
        ("  control", "control"),
    ):
        row(name, _only(found.version, kind), 0)
    row("the first version", found.first_version)
    row("heartbeats, per hour", found.heartbeats_per_hour, 0)
    row("joining late", found.newcomer, 0)
    if found.per_day is not None:
        row("a day", next(iter(found.per_day.values())), 0)
    table.add_row(
        "float32 FedAvg, a version",
        human_bytes(found.float32),
        human_bytes(found.float32),
        "100.0%",
    )
    each_step = found.float32 * found.steps
    table.add_row(
        f"float32 at each of {found.steps} steps",
        human_bytes(each_step),
        human_bytes(each_step),
        f"{100 * found.steps:,}.0%",
    )
    return table


def _only(traffic: Traffic, kind: str) -> Traffic:
    return {d: {kind: by_kind.get(kind, 0)} for d, by_kind in traffic.items()}


def _money(found: Forecast) -> Table:
    money, versions = found.money, found.times.versions_per_day
    table = _table("egress, USD", "a version", "a day")
    for payer, usd in money.per_version.items():
        table.add_row(payer, _usd(usd), _usd(None if versions is None else usd * versions))
    table.add_row("all, with heartbeats", _usd(money.total_per_version), _usd(money.total_per_day))
    for name, usd in (
        ("float32 FedAvg", money.float32_fedavg),
        ("float32 at each step", money.float32_data_parallel),
    ):
        table.add_row(name, _usd(usd), _usd(None if versions is None else usd * versions))
    if money.total_of_run is not None:
        table.add_row("the whole run", "", _usd(money.total_of_run))
    return table


def _usd(value: float | None) -> str:
    return _UNKNOWN if value is None else f"{value:,.4f}" if value < 1 else f"{value:,.2f}"


def _times(found: Forecast) -> Table:
    t = found.times
    table = _table("time", "")
    for name, seconds in (
        ("encode", t.encode_s),
        ("upload, slowest link", t.upload_s),
        ("commit", t.commit_s),
        ("download, slowest link", t.download_s),
        ("merge", t.merge_s),
        ("a round", t.round_s),
        ("local steps of a version", t.steps_s),
        ("from version to version", t.period_s),
    ):
        table.add_row(name, _UNKNOWN if seconds is None else f"{seconds:,.1f} s")
    for name, value, form in (
        ("versions a day", t.versions_per_day, "{:,.1f}"),
        ("tokens a day", t.tokens_per_day, "{:,.0f}"),
        ("waiting for rounds", t.idle_share, "{:.0%}"),
        ("the run, in days", t.run_days, "{:,.2f}"),
    ):
        table.add_row(name, _UNKNOWN if value is None else form.format(value))
    return table


def _needs(found: Forecast) -> Table:
    disk, memory = found.needs.disk, found.needs.memory
    table = _table("needed", "disk", "memory")
    for role in (*disk, *(r for r in memory if r not in disk)):
        table.add_row(role, _size(disk, role), _size(memory, role))
    return table


def _size(sizes: Mapping[str, int], role: str) -> str:
    return human_bytes(sizes[role]) if role in sizes else _UNKNOWN


def _notes(found: Forecast) -> Iterator[str]:
    t = found.times
    yield from found.remarks
    if t.upload_s is None or t.download_s is None:
        yield "No round time: give each worker's link (--link NAME=UP_MBPS/DOWN_MBPS)."
    if t.steps_s is None:
        yield "No training time: give a speed (--tokens-per-s NUMBER)."
    for cloud in found.money.unpriced:
        if cloud == COORDINATOR:
            yield "What the coordinator sends is free here: say where it is (--coordinator CLOUD)."
            continue
        yield f"No price for {cloud}: its traffic is free here (--price {cloud}=USD_PER_GB)."
    if found.likeness is not None:
        yield (
            f"Cosine of a sum with one cloud's update: {found.likeness.equal:.2f} for equal parts, "
            f"at most {found.likeness.most:.2f} by max_share (docs/threat-model.md, section 4)."
        )
    yield "It supposes every worker in every cohort: quorum and min_cohort change nothing here."
    yield "Prices are list prices; memory is without the activations of a batch."
