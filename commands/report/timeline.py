"""The page on rounds and workers over time: outcomes, phases, contributions, staleness."""

import statistics
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final
from xml.etree.ElementTree import Element

from commands.report.axes import axis_of
from commands.report.charts import (
    CROSS,
    NUM_STYLES,
    Cell,
    Column,
    Curve,
    Scale,
    columns,
    curves,
    legend,
    ruler,
    strip,
    swatches,
)
from commands.report.markup import el
from commands.report.parts import (
    at,
    count,
    figure,
    left_out,
    paragraph,
    percent,
    plain,
    plural,
    section,
    table,
    time_scale,
)
from commands.report.run_folder import RoundLine, RunData, by_worker
from common.rounds import COMMIT, Phase
from services.observe.amounts import human_seconds

PHASES: Final = {
    **{p.value: p.sentence for p in (Phase.SHARE_KEYS, Phase.COLLECT_MASKED, Phase.UNMASK)},
    COMMIT: "the sum becomes a version on disk, and a record in the log",
    Phase.ENDING.value: Phase.ENDING.sentence,
}
"""What happens in each phase of a round, in order."""

_MOST_CELLS: Final = 100
_MOST_WORKERS: Final = 40
_MOST_REASONS: Final = 20
_OLD: Final = (
    "this run's metrics.jsonl has no rounds: the coordinator that wrote it did not record them yet"
)


def rounds(run: RunData) -> Element:
    """Return the section on rounds."""
    if run.rounds is None:
        return section("rounds", "Rounds", left_out("Timeline and phases are", _OLD))
    if not run.rounds:
        return section("rounds", "Rounds", left_out("The timeline is", "no round ended"))
    groups = _grouped(run.rounds)
    x, unit_s = _time(run.rounds)
    aborted = [r for r in run.rounds if not r.committed]
    outcome = "every round ended in a new version" if not aborted else (
        f"{plural(len(aborted), 'round')} ended without one"
    )  # fmt: skip
    several = f" Each cell is {groups[0].size} of them; how much of it is red, were aborted."
    each = "" if len(groups) == len(run.rounds) else several
    return section(
        "rounds",
        "Rounds",
        paragraph(f"{plural(len(run.rounds), 'round')} closed: {outcome}.{each}"),
        figure(
            "Outcome of each round",
            strip(
                [cell for g in groups for cell in _outcome(g, x, unit_s)],
                summary=f"{len(run.rounds) - len(aborted)} committed, {len(aborted)} aborted.",
            ),
            ruler(x),
            swatches((("ok", "committed"), ("bad", f"aborted ({CROSS})"))),
            wide=True,
        ),
        _phases(run.rounds, groups),
        _aborts(aborted),
    )


def workers(run: RunData) -> Element:
    """Return the section on workers along time."""
    title = "Workers"
    if run.rounds is None:
        return section("workers", title, left_out("Contributions over time are", _OLD))
    found = by_worker(run.rounds)
    names = sorted(set(run.result.workers) | set(found))
    if not run.rounds or not names:
        return section("workers", title, left_out("Contributions are", "no round ended"))
    groups = _grouped(run.rounds)
    x, unit_s = _time(run.rounds)
    shown = names[:_MOST_WORKERS]
    lanes = [
        el(
            "div",
            el("div", name, class_="lane-name", title=name),
            strip(
                [_part(name, g, x, unit_s) for g in groups],
                summary=f"{name}: in {len(found.get(name, ()))} of {len(run.rounds)} rounds.",
            ),
            class_="lane",
        )
        for name in shown
    ]
    lanes.append(el("div", el("div", class_="lane-name"), ruler(x), class_="lane"))
    more = len(names) - len(shown)
    return section(
        "workers",
        title,
        paragraph(
            "One cell per round that had the worker's update in its sum. A tall cell is fresh "
            "work; half as tall: two versions behind when it was summed.",
        ),
        figure(
            f"Contributions{f' (the first {len(shown)} of {len(names)} workers)' if more else ''}",
            el("div", lanes, class_="lanes"),
            swatches(
                (("here", "contributed"), ("bad", f"in the cohort, not in the sum ({CROSS})"))
            ),
            wide=True,
        ),
        _staleness(found, unit_s, x),
    )


@dataclass(frozen=True, slots=True)
class _Group:
    """Rounds that share a cell: one each, where there are not too many."""

    rounds: tuple[RoundLine, ...]
    began_s: float
    ended_s: float

    @property
    def size(self) -> int:
        return len(self.rounds)

    @property
    def label(self) -> str:
        first, last = self.rounds[0], self.rounds[-1]
        if len(self.rounds) == 1:
            what = f"version {first.version}" if first.committed else f"aborted: {first.outcome}"
            return f"{what}, {at(first.ended_s)}"
        return f"versions {first.version} to {last.version}, until {human_seconds(last.ended_s)}"


def _grouped(ended: Sequence[RoundLine]) -> list[_Group]:
    size = -(-len(ended) // _MOST_CELLS)
    groups, began_s = [], 0.0
    for i in range(0, len(ended), size):
        some = tuple(ended[i : i + size])
        ended_s = max(began_s, max(r.ended_s for r in some))
        groups.append(_Group(some, began_s, ended_s))
        began_s = ended_s
    return groups


def _time(ended: Sequence[RoundLine]) -> tuple[Scale, float]:
    return time_scale([0.0, *(r.ended_s for r in ended)], "time since the run began")


def _outcome(group: _Group, x: Scale, unit_s: float) -> Iterator[Cell]:
    """Yield a cell, and over it one as tall as the share of aborted rounds, if any were."""
    aborted = sum(not r.committed for r in group.rounds)
    took_s = statistics.fmean(r.duration_s for r in group.rounds)
    note = f"{group.label}; took {human_seconds(took_s)}"
    if group.size > 1:
        note += f" on average; {aborted} of {group.size} aborted"
    if aborted < group.size:
        yield _cell(group, x, unit_s, kind="ok", note=note)
    if aborted:
        share, alone = aborted / group.size, group.size == 1
        yield _cell(group, x, unit_s, kind="bad", note=note, height=share, crossed=alone)


def _part(name: str, group: _Group, x: Scale, unit_s: float) -> Cell:
    stale = [r.staleness[name] for r in group.rounds if name in r.staleness]
    lost = [r for r in group.rounds if name in r.lost]
    if not stale:
        gone = bool(lost)
        note = f"{name}: {'in the cohort, not in the sum' if gone else 'not in'} {group.label}"
        kind = "bad" if gone else "away"
        return _cell(
            group, x, unit_s, kind=kind, note=note, height=0.3 if gone else 0, crossed=gone
        )
    mean = statistics.fmean(stale)
    return _cell(
        group,
        x,
        unit_s,
        kind="here",
        note=f"{name}: {group.label}; staleness {mean:.2f}"
        + (f"; in {len(stale)} of {group.size}" if group.size > 1 else ""),
        height=2 / (2 + mean),
        opacity=0.35 + 0.65 * len(stale) / group.size,
    )


def _cell(
    group: _Group,
    x: Scale,
    unit_s: float,
    *,
    kind: str,
    note: str,
    height: float = 1.0,
    opacity: float = 1.0,
    crossed: bool = False,
) -> Cell:
    left, right = (min(1.0, x.axis.at(s / unit_s)) for s in (group.began_s, group.ended_s))
    return Cell(left, right, kind, note, height, opacity, crossed)


def _phases(ended: Sequence[RoundLine], groups: Sequence[_Group]) -> Element:
    names = [p for p in PHASES if any(p in r.phases_s for r in ended)]
    names += sorted({p for r in ended for p in r.phases_s} - set(PHASES))
    if not names:
        return left_out("Phases are", "no round of this coordinator ended; an earlier one's did")
    names = names[:NUM_STYLES]
    longest_s = max(statistics.fmean(r.duration_s for r in g.rounds) for g in groups) or 1.0
    y = Scale(axis_of([0.0, longest_s], from_zero=True), "", lambda s: f"{plain(s)} s")
    total_s = sum(r.duration_s for r in ended)
    return el(
        "div",
        figure(
            "How long rounds took, by phase",
            columns(
                [_stack(g, names) for g in groups],
                y,
                summary=f"A round took {human_seconds(total_s / len(ended))} on average.",
            ),
            swatches([(f"s{i + 1}", name) for i, name in enumerate(names)]),
            wide=True,
        ),
        table(
            "Phases of a round",
            (
                ("phase", ""),
                ("median", "number"),
                ("longest", "number"),
                ("share of round", "number"),
                ("what happens", "words"),
            ),
            (_phase(name, [r.phases_s[name] for r in ended if name in r.phases_s], total_s)
             for name in names),
        ),
    )  # fmt: skip


def _phase(name: str, seconds: Sequence[float], total_s: float) -> tuple[str, ...]:
    return (
        name,
        human_seconds(statistics.median(seconds)),
        human_seconds(max(seconds)),
        percent(sum(seconds) / total_s) if total_s else "-",
        PHASES.get(name, "a phase that this version of the report does not know"),
    )


def _stack(group: _Group, names: Sequence[str]) -> Column:
    parts = []
    for i, name in enumerate(names):
        spent_s = statistics.fmean(r.phases_s.get(name, 0.0) for r in group.rounds)
        parts.append((f"s{i + 1}", spent_s, f"{name}: {human_seconds(spent_s)}; {group.label}"))
    return Column(parts)


def _aborts(aborted: Sequence[RoundLine]) -> Element | None:
    if not aborted:
        return None
    reasons = Counter(r.outcome for r in aborted).most_common(_MOST_REASONS)
    last = {r.outcome: r for r in aborted}
    return table(
        "Aborted rounds",
        (("reason", ""), ("rounds", "number"), ("last closed", "number"), ("its detail", "words")),
        (
            (reason, count(num), human_seconds(last[reason].closed_s), last[reason].detail)
            for reason, num in reasons
        ),
    )


def _staleness(
    found: Mapping[str, Sequence[tuple[float, float]]], unit_s: float, x: Scale
) -> Element | None:
    most = sorted(found, key=lambda name: (-len(found[name]), name))[:NUM_STYLES]
    if not most:
        return None
    names = sorted(most)
    lines = [_thin(name, found[name], unit_s) for name in names]
    y = Scale(
        axis_of([s for line in lines for _, s in line.points], from_zero=True), "versions", plain
    )
    means = ", ".join(f"{n} {statistics.fmean(s for _, s in found[n]):.2f}" for n in names)
    some = "" if len(found) == len(names) else f" (the {len(names)} most active)"
    return figure(
        f"Staleness, versions behind{some}",
        curves(lines, x, y, summary=f"Mean staleness in versions: {means}."),
        legend(names),
        wide=True,
    )


def _thin(name: str, contributions: Sequence[tuple[float, float]], unit_s: float) -> Curve:
    """Return a worker's line of at most `_MOST_CELLS` points: means of neighbours."""
    size = -(-len(contributions) // _MOST_CELLS)
    runs = [contributions[i : i + size] for i in range(0, len(contributions), size)]
    points = [
        (statistics.fmean(t for t, _ in some) / unit_s, statistics.fmean(s for _, s in some))
        for some in runs
    ]
    return Curve(name, points, [f"{name}: {s:.2f}" for _, s in points])
