"""What learning runs say of compression: one set of figures per row, its table, its plot.

Savings are in two units, both against float32 values of all parameters:

    per exchange   one upload of one worker against one upload of float32
    per step       the same upload against float32 gradients at each of the local steps behind it

They count payloads as sent, the first ones (wider, since scales are guessed) and in the masked tier
the tags included; of messages they count nothing: those do not grow with the model.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Final

from benchmarks.paired import excess, mean, upper_bound
from benchmarks.plot import Level, Point, scatter
from simulator.experiment import Learned

FEWEST_SEEDS: Final = 5
"""A row with fewer seeds is exploratory: nothing is claimed of it."""


@dataclass(frozen=True, slots=True)
class Figures:
    """One row's results.

    Args:
        tier: of the runs; "" where nothing is exchanged.
        reference: name of the row that it is compared with, "" = none.
        loss, accuracy: of the last version, by seed, on all validation text.
        excess: relative difference of the loss to the reference's, by seed.
        up_bytes, down_bytes: per exchange and worker.
        steps: mean local steps per exchange.
        saving_per_exchange, saving_per_step: see the module docstring.
    """

    name: str
    family: str
    text: str
    tier: str
    local_steps: int
    reference: str
    seeds: tuple[int, ...]
    loss: tuple[float, ...]
    accuracy: tuple[float, ...]
    excess: tuple[float, ...]
    up_bytes: float
    down_bytes: float
    steps: float
    saving_per_exchange: float
    saving_per_step: float

    @property
    def is_exploratory(self) -> bool:
        """Whether there are too few seeds to claim anything."""
        return len(self.seeds) < FEWEST_SEEDS

    @property
    def bound(self) -> float:
        """What its true excess is below, at 95 % confidence."""
        return upper_bound(self.excess)


def figures(
    name: str,
    family: str,
    text: str,
    tier: str,
    local_steps: int,
    learned: Mapping[int, Learned],
    reference: tuple[str, Mapping[int, Learned]] | None,
) -> Figures:
    """Return a row's figures.

    Args:
        learned: by seed.
        reference: name and results of the row that it is compared with, with the same seeds.
    """
    seeds, runs = tuple(sorted(learned)), [learned[s] for s in sorted(learned)]
    losses = [r.loss for r in runs]
    against = [] if reference is None else [reference[1][s].loss for s in seeds]
    exchanges, steps = sum(r.exchanges for r in runs), sum(r.steps for r in runs)
    up_bytes = sum(r.bytes_moved("up", "update") for r in runs)
    float32_bytes = 4 * runs[0].parameters
    down_bytes = sum(r.aggregate_bytes for r in runs)
    exchanged = tier != ""
    return Figures(
        name=name,
        family=family,
        text=text,
        tier=tier,
        local_steps=local_steps,
        reference="" if reference is None else reference[0],
        seeds=seeds,
        loss=tuple(losses),
        accuracy=tuple(r.accuracy for r in runs),
        excess=excess(losses, against) if against else (),
        up_bytes=up_bytes / exchanges if exchanged else 0.0,
        down_bytes=down_bytes / sum(r.versions for r in runs) if exchanged else 0.0,
        steps=steps / exchanges,
        saving_per_exchange=float32_bytes * exchanges / up_bytes if exchanged else 0.0,
        saving_per_step=float32_bytes * steps / up_bytes if exchanged else 0.0,
    )


def most_within(rows: Sequence[Figures], limit: float, tiers: Sequence[str]) -> Figures | None:
    """Return the row that saves most per step of those whose bound is within the limit."""
    proved = [
        r
        for r in rows
        if r.tier in tiers and not r.is_exploratory and r.reference and r.bound <= limit
    ]
    return max(proved, key=lambda r: r.saving_per_step, default=None)


def table(rows: Sequence[Figures]) -> str:
    """Return the rows as Markdown, by text."""
    head = (
        "configuration",
        "tier",
        "loss",
        "accuracy",
        "against (b)",
        "bound",
        "up, bytes",
        "down, bytes",
        "x per exchange",
        "x per step",
        "seeds",
    )
    lines: list[str] = []
    for text in dict.fromkeys(r.text for r in rows):
        lines += ["", f"**{text}**", "", _line(head), _line(("---", "---", *["---:"] * 9))]
        lines += [_line(_cells(r)) for r in rows if r.text == text]
    return "\n".join(lines[1:])


def plot(rows: Sequence[Figures], references: Sequence[Figures], text: str) -> str:
    """Return an SVG of loss over bytes, for the rows of a family that have a reference.

    Args:
        references: of which each one's loss is drawn as a line.
        text: rows of another are left out.
    """
    shown = [r for r in rows if r.text == text and r.reference and r.family]
    families: dict[str, list[Point]] = {}
    for r in shown:
        x = r.up_bytes / r.steps
        label = r.name.partition(",")[0]
        families.setdefault(f"{r.family}, H = {r.local_steps}", []).append(
            Point(x, mean(r.loss), label, r.is_exploratory)
        )
    levels = [Level(mean(r.loss), f"float32, H = {r.local_steps}") for r in references]
    return scatter(
        families,
        levels,
        title=f"Validation loss over bytes ({text}; hollow: one seed)",
        x_label="bytes up per worker and local step",
        y_label="loss, nats per byte",
    )


def as_document(rows: Sequence[Figures]) -> list[dict[str, Any]]:
    """Return what the result file keeps."""
    return [asdict(r) for r in rows]


def from_document(rows: Sequence[Mapping[str, Any]]) -> list[Figures]:
    """Return what `as_document` gave, once it went through JSON."""
    return [Figures(**_with_tuples(r)) for r in rows]


def _with_tuples(row: Mapping[str, Any]) -> dict[str, Any]:
    return {k: tuple(v) if isinstance(v, list) else v for k, v in row.items()}


def _cells(r: Figures) -> tuple[str, ...]:
    compared = r.reference != ""
    return (
        r.name,
        r.tier or "-",
        f"{mean(r.loss):.4f}",
        f"{mean(r.accuracy):.2%}",
        f"{mean(r.excess):+.2%}" if compared else "-",
        f"{r.bound:+.2%}" if compared and len(r.seeds) > 1 else "-",
        f"{r.up_bytes:,.0f}" if r.tier else "-",
        f"{r.down_bytes:,.0f}" if r.tier else "-",
        f"{r.saving_per_exchange:,.1f}" if r.tier else "-",
        f"{r.saving_per_step:,.0f}" if r.tier else "-",
        f"{len(r.seeds)}" + (" (exploratory)" if r.is_exploratory else ""),
    )


def _line(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"
