"""The page's first and last words on the run: headline figures, and the table of workers."""

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Final
from xml.etree.ElementTree import Element

from commands.report.markup import Child, el
from commands.report.parts import (
    coded,
    count,
    left_out,
    listing,
    paragraph,
    percent,
    plural,
    section,
    table,
    tile,
)
from commands.report.run_folder import RunData
from commands.report.traffic import price, saved_share
from services.observe.amounts import human_bytes, human_count, human_seconds
from services.observe.privacy import STATEMENTS

_MOST_WORKERS: Final = 500


def header(run: RunData) -> Element:
    """Return the page's head: which run, when, how long."""
    result = run.result
    statement = STATEMENTS.get(result.privacy_tier)
    private = statement is not None and statement.private
    when = ""
    if run.began_s is not None and run.began_s < 253_402_300_800:  # year 10000
        when = f"{datetime.fromtimestamp(run.began_s, UTC):%d %B %Y, %H:%M} UTC · "
    return el(
        "header",
        el("p", "crosscloud · run report", class_="kicker"),
        el("h1", result.run),
        el(
            "p",
            f"{when}{human_seconds(result.seconds)} · {plural(len(result.workers), 'worker')} · ",
            el("span", f"tier {result.privacy_tier}", class_="badge" if private else "badge loud"),
        ),
        None
        if private
        else paragraph(
            statement.summary if statement else "This privacy tier is not known to the report.",
            kind="warning",
        ),
    )


def headline(run: RunData, price_per_gb: float) -> Element:
    """Return the tiles."""
    r = run.result
    begun = run.measured[0] if run.measured else None
    saved = saved_share(r.bytes_moved, r.bytes_float32_fedavg)
    both = f"{human_bytes(r.bytes_up)} up, {human_bytes(r.bytes_down)} down"
    tiles = (
        _learned(
            "validation loss", "{:.3f}", r.loss_nats, begun.loss_nats if begun else None, " nats"
        ),
        _learned("perplexity", "{:,.2f}", r.perplexity, begun.perplexity if begun else None),
        _learned("accuracy", "{:.1%}", r.accuracy, begun.accuracy if begun else None),
        tile("versions", count(r.versions), _rounds_aborted(r.rounds_aborted)),
        tile("moved", human_bytes(r.bytes_moved), both),
        tile("saved", "-" if saved is None else f"{saved:.0%}", "of float32 FedAvg's bytes"),
        tile(
            "egress",
            price(r.bytes_moved, price_per_gb),
            f"at ${price_per_gb:g} per GB",
        ),
        tile("tokens", human_count(r.tokens), _rate(r.tokens, r.seconds)),
    )
    return el(
        "section",
        el("h2", "In short", id="summary-title"),
        el("dl", tiles, class_="tiles"),
        id="summary",
        aria_labelledby="summary-title",
    )


def privacy(run: RunData) -> Element:
    """Return what each party could see in the run's tier."""
    tier = run.result.privacy_tier
    statement = STATEMENTS.get(tier)
    if statement is None:
        why = f"the tier {tier!r} is not one that this version of the report knows"
        return section("privacy", "Privacy", left_out("The statement is", why))
    fewest = None
    if run.genesis is not None and statement.private:
        a = run.genesis.algorithm
        fewest = paragraph(
            f"In this run no sum has fewer than {a.min_cohort} members. Masks withstand ",
            plural(a.colluding, "worker") if a.colluding else "no worker",
            " in league with the coordinator.",
        )
    return section(
        "privacy",
        "Privacy",
        el("p", el("strong", statement.summary), class_="lead"),
        fewest,
        el(
            "div",
            _told("The coordinator could see", statement.seen),
            _told("The coordinator could not see", statement.unseen),
            _told("Others could see", statement.others),
            _told("Not promised", statement.limits),
            class_="columns",
        ),
        paragraph(
            *coded("In full, with the attacks that were tried: `docs/threat-model.md`."),
            kind="small",
        ),
    )


def final_table(run: RunData) -> Element:
    """Return the table of workers."""
    workers = run.result.workers
    title = "Workers in figures"
    if not workers:
        return section("final", title, left_out("The table is", "no worker ever joined"))
    shown = sorted(workers.items())[:_MOST_WORKERS]
    some = "" if len(shown) == len(workers) else f", the first {len(shown)} of {len(workers)}"
    rows: list[Sequence[Child]] = [
        (
            name,
            count(w.contributions),
            percent(min(1.0, w.contributions / run.result.versions))
            if run.result.versions
            else "-",
            human_count(w.tokens),
            count(w.steps),
            f"{w.staleness_mean:.2f}",
            percent(w.idle_share),
            human_bytes(w.bytes_sent),
            human_bytes(w.bytes_received),
        )
        for name, w in shown
    ]
    columns = (
        *("contributions", "of versions", "tokens", "steps"),
        *("staleness", "idle", "sent", "received"),
    )
    return section(
        "final",
        title,
        paragraph(
            "Staleness: versions behind, mean over the worker's contributions. Idle: share of its "
            "time that it waited for something remote. Tokens and steps: also those that no "
            "version holds."
        ),
        table(
            f"Workers{some}",
            (("worker", "name"), *((name, "number") for name in columns)),
            rows,
        ),
    )


def _told(title: str, sentences: Sequence[str]) -> Element:
    return el("div", el("h3", title), listing(sentences))


def _learned(
    label: str, form: str, value: float | None, begun: float | None, unit: str = ""
) -> Element:
    if value is None:
        return tile(label, "-", "no version was evaluated")
    return tile(
        label, form.format(value), "" if begun is None else f"from {form.format(begun)}{unit}"
    )


def _rounds_aborted(num_aborted: int) -> str:
    return "no round aborted" if not num_aborted else f"{plural(num_aborted, 'round')} aborted"


def _rate(tokens: int, seconds: float) -> str:
    return f"in the sums, {human_count(round(tokens / seconds))} per second" if seconds else ""
