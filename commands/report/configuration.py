"""The page on what the run was told: every constant, the model, the stop, the genesis hash."""

import json
from collections.abc import Iterator
from typing import Any
from xml.etree.ElementTree import Element

from commands.report.markup import Child, el
from commands.report.parts import left_out, paragraph, section, table
from commands.report.run_folder import RunData, genesis_hash
from common.constants import values
from common.documents import Algorithm, Stop


def configuration(run: RunData) -> Element:
    """Return the section."""
    title = "Configuration"
    if run.genesis is None:
        why = (
            "there is no genesis.json in the run's folder, in its `genesis` folder or beside it; "
            "name the file with --genesis"
        )
        return section("configuration", title, left_out("Constants and the genesis hash are", why))
    genesis = run.genesis
    return section(
        "configuration",
        title,
        paragraph(
            "Everything that decides what a round computes is under one hash, which every process "
            "pins: a coordinator or worker with another value in any of it is refused."
        ),
        el(
            "dl",
            _entry("genesis hash (SHA-256)", el("code", genesis_hash(genesis), class_="hash")),
            _entry("first version", el("code", str(genesis.version0), class_="hash")),
            _entry("learner", el("code", genesis.learner)),
            _entry("seed", str(genesis.seed)),
            class_="entries",
        ),
        table(
            "Constants of the algorithm",
            (("constant", ""), ("symbol", ""), ("value", "number"), ("what it is", "words")),
            _constants(genesis.algorithm, genesis.stop),
        ),
        table(
            "Settings of the learner",
            (("setting", ""), ("value", "words")),
            ((name, el("code", value)) for name, value in _flat(genesis.settings)),
        ),
    )


def _entry(name: str, value: Child) -> Element:
    return el("div", el("dt", name), el("dd", value))


def _constants(algorithm: Algorithm, stop: Stop) -> Iterator[tuple[Child, ...]]:
    for path, row, value in values(algorithm, stop):
        if row.later:  # it says nothing of the run
            continue
        symbol = el("var", row.symbol) if row.symbol else ""
        name = el("code", path.removeprefix("algorithm."))
        yield name, symbol, _value(value), row.sentence


def _value(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    return f"{value:.6g}" if isinstance(value, float) else str(value)


def _flat(settings: Any, before: str = "") -> Iterator[tuple[str, str]]:
    for name, value in settings.items():
        if isinstance(value, dict) and value:
            yield from _flat(value, f"{before}{name}.")
        else:
            yield f"{before}{name}", json.dumps(value, ensure_ascii=False)
