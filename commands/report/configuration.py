"""The page on what the run was told: every constant, the model, the stop, the genesis hash."""

import dataclasses
import json
from collections.abc import Iterator
from typing import Any, Final
from xml.etree.ElementTree import Element

from commands.report.markup import Child, el
from commands.report.parts import left_out, paragraph, section, table
from commands.report.run_folder import RunData, genesis_hash
from common.documents import Algorithm, Codec, Outer, Schedule, Stop

MEANINGS: Final[dict[str, tuple[str, str]]] = {
    "policy": ("", "who is in a cohort: every live member, or a quorum after a grace time"),
    "max_cohort": ("", "most members of a cohort"),
    "quorum": ("", "share of the live members that has to offer"),
    "tier": ("", "privacy tier"),
    "min_cohort": ("m", "fewest members in a sum"),
    "colluding": ("c", "workers in league with the coordinator that masks still withstand"),
    "normalisation": ("g", "what an update weighs by"),
    "staleness": ("s(tau)", "how old work is damped"),
    "staleness_exponent": ("a", "of (1 + tau)^-a"),
    "max_staleness": ("tau_max", "commits; older work is discarded"),
    "max_share": ("", "most of a cohort's weight that one member may have"),
    "max_policy_factor": ("rho", "bound of a loss policy's factor; 1 = no loss policy"),
    "clipping": ("", "whether long updates are clipped"),
    "local_steps": ("H", "local steps per contribution of the fastest worker"),
    "min_local_steps": ("", "fewest local steps of a slow worker"),
    "codec.kind": ("", "how updates are compressed"),
    "codec.bits": ("b", "ring width: bits per value on the wire"),
    "codec.first_bits": ("", "ring width of the first rounds, before scales are known"),
    "codec.one_in": ("", "of so many values one is sent"),
    "codec.step_multiple": ("", "where values are cut off, in multiples of their scale"),
    "codec.residual_decay": ("beta_e", "what is kept of what compression left out"),
    "outer.kind": ("", "outer optimiser"),
    "outer.learning_rate": ("eta", "outer step"),
    "outer.momentum": ("mu", "outer momentum"),
    "schedule.peak": ("", "inner learning rate after warm-up"),
    "schedule.warmup_steps": ("", "local steps of linear warm-up"),
    "schedule.floor": ("", "of the peak, at the end of the cosine"),
    "schedule.horizon_tokens": (
        "",
        "the run's length where no stop limit tells it; 0 = not needed",
    ),
    "stop.versions": ("", "committed versions; 0 = no such limit"),
    "stop.tokens": ("", "tokens in committed updates; 0 = no such limit"),
    "stop.hours": ("", "hours since the run began; 0 = no such limit"),
    "stop.loss": ("", "validation loss in nats; 0 = no such limit"),
}
"""Symbol (as docs/arithmetic.md has it) and meaning of each constant."""


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
    for name, value in (*_fields(algorithm), *_fields(stop, "stop.")):
        symbol, meaning = MEANINGS.get(name, ("", ""))
        yield el("code", name), el("var", symbol) if symbol else "", _value(value), meaning


def _fields(document: Any, before: str = "") -> Iterator[tuple[str, Any]]:
    for field in dataclasses.fields(document):
        value = getattr(document, field.name)
        if isinstance(value, Codec | Outer | Schedule):
            yield from _fields(value, f"{field.name}.")
        else:
            yield before + field.name, value


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
