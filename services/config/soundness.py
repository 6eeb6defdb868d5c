"""Refuses algorithms that make no sense, at start, with the reason and the fix.

Each rule is one `if` under `complaints`; its sentence begins with the setting's path in run.yaml.
Words and ranges are those of `common/constants.py`; the other limits follow from the formulas in
`common/weight/` and the codecs. It changes nothing and never repairs a setting.
"""

from collections.abc import Collection, Iterator
from difflib import get_close_matches
from typing import Final

from common.codec.float32 import Float32
from common.codec.topk import ONE_IN as TOPK_ONE_IN
from common.codec.topk import TopK
from common.constants import Range, values
from common.documents import TIERS, Algorithm, Stop
from common.errors import ConfigError
from common.scales import levels
from common.thresholds import min_cohort, round_threshold

_RING_BITS: Final = (4, 8, 12, 16)
_EXACT_BITS: Final = {"float32": Float32.bits, "topk": TopK.bits}
"""Of the codecs whose values are in no ring."""


def refuse_unsound(
    algorithm: Algorithm,
    stop: Stop,
    *,
    allowed_tiers: Collection[str] = TIERS,
    num_workers: int | None = None,
    num_organisations: int | None = None,
) -> None:
    """Let a sound algorithm pass.

    Args:
        allowed_tiers: that the coordinator's operator permits.
        num_workers: names of workers on the member list; None = not known yet.
        num_organisations: that they are of; None = as many as there are workers.

    Raises:
        ConfigError: the first rule that it breaks.
    """
    counts = (num_workers, num_organisations)
    for complaint in complaints(algorithm, stop, allowed_tiers, *counts):
        raise ConfigError(complaint)


def loud(a: Algorithm) -> Iterator[str]:
    """Yield a sentence for each choice that may be made and protects less than the default."""
    fewest, enough = a.min_cohort, min_cohort(a.colluding)
    if not a.masked:
        yield (
            f"algorithm.tier: {a.tier!r}: the coordinator sees every worker's update and loss; no "
            "worker starts whose own file does not allow it (trust.tier)"
        )
    elif fewest < enough:
        helped = f", with the {a.colluding} colluding ones," * bool(a.colluding)
        yield (
            f"algorithm.min_cohort: {fewest}: in a sum of {fewest} each honest member{helped} can "
            f"compute the other's update; set it to {enough}, or more. As it is, no worker starts "
            f"whose own file does not allow it (trust.min_cohort: {fewest})"
        )


def complaints(
    a: Algorithm,
    stop: Stop,
    allowed_tiers: Collection[str],
    num_workers: int | None,
    num_organisations: int | None = None,
) -> Iterator[str]:
    """Yield one sentence per broken rule; later rules assume that the earlier ones hold."""
    yield from _later(a, stop)
    yield from _words(a, stop)
    yield from _ranges(a, stop)
    yield from _tier(a, allowed_tiers)
    yield from _codec(a)
    yield from _organisations(a, num_workers, num_organisations)
    yield from _cohort(a, num_workers, num_organisations if a.masked else None)
    yield from _outer(a)
    yield from _stop(a, stop)


def _later(a: Algorithm, stop: Stop) -> Iterator[str]:
    usual = {path: value for path, _, value in values(Algorithm(), Stop())}
    for path, row, value in values(a, stop):
        if row.later and value != usual[path]:
            yield (
                f"{path}: {value!r} is not available in this version, {usual[path]!r} alone is: "
                "leave it out"
            )


def _words(a: Algorithm, stop: Stop) -> Iterator[str]:
    for path, row, value in values(a, stop):
        known = row.may_be
        if isinstance(known, tuple) and value not in known:
            close = get_close_matches(str(value), known, 1)
            hint = f"did you mean {close[0]!r}? " if close else ""
            yield f"{path}: {value!r} is not known; {hint}one of {', '.join(known)}"


def _ranges(a: Algorithm, stop: Stop) -> Iterator[str]:
    for path, row, value in values(a, stop):
        if isinstance(row.may_be, Range) and value not in row.may_be:
            yield f"{path}: {value!r} must be {row.may_be.words}"
    if a.local_steps < a.min_local_steps:
        yield (
            f"algorithm.local_steps: {a.local_steps} is below min_local_steps {a.min_local_steps}: "
            "raise the one or lower the other"
        )


def _tier(a: Algorithm, allowed_tiers: Collection[str]) -> Iterator[str]:
    if a.tier not in TIERS:
        yield (
            f"algorithm.tier: {a.tier!r} is not available in this version; available: "
            f"{', '.join(TIERS)}"
        )
    elif a.tier not in allowed_tiers:
        yield (
            f"algorithm.tier: {a.tier!r} is not among the coordinator's allowed_tiers "
            f"({', '.join(allowed_tiers)}): allow it there, or choose another"
        )


def _codec(a: Algorithm) -> Iterator[str]:
    c = a.codec
    if c.kind in _EXACT_BITS:
        if a.tier != "tls":
            yield (
                f"algorithm.codec.kind: {c.kind} values cannot be masked, so tier {a.tier!r} "
                "cannot carry them: choose 'dense', or tier 'tls'"
            )
        bits = _EXACT_BITS[c.kind]
        if (c.bits, c.first_bits) != (bits, bits):
            yield (
                f"algorithm.codec: {c.kind} has bits {bits} and first_bits {bits}, not {c.bits} "
                f"and {c.first_bits}: set both to {bits}, or kind to 'dense'"
            )
    else:
        yield from _ring(a)
    yield from _one_in(a)


def _ring(a: Algorithm) -> Iterator[str]:
    c = a.codec
    for name, bits in (("bits", c.bits), ("first_bits", c.first_bits)):
        if bits not in _RING_BITS:
            yield (
                f"algorithm.codec.{name}: {bits} is not the width of a ring: one of "
                f"{', '.join(map(str, _RING_BITS))}"
            )
            continue
        if levels(bits, a.max_cohort) < 1:
            yield (
                f"algorithm.max_cohort: {a.max_cohort} members would wrap a ring of codec.{name} "
                f"{bits}: at most {2 ** (bits - 1) - 1} fit; lower it or widen the ring"
            )


def _one_in(a: Algorithm) -> Iterator[str]:
    c, path = a.codec, "algorithm.codec.one_in"
    match c.kind:
        case "dense" | "float32":
            if c.one_in != 1:
                yield (
                    f"{path}: {c.kind} sends everything, {c.one_in} would be ignored: set it to 1, "
                    "or kind to 'cyclic'"
                )
        case "cyclic":
            if c.one_in < 2 or any(c.one_in % n == 0 for n in range(2, c.one_in)):
                yield (
                    f"{path}: {c.one_in} is not prime: a worker in every second or third cohort "
                    "would miss fragments for ever; choose 2, 3, 5, 7, 11, 13, ..."
                )
        case "randk" | "heavy":
            if c.one_in < 2:
                yield f"{path}: {c.one_in} leaves nothing out: at least 2, or kind 'dense'"
        case "topk":
            if c.one_in not in TOPK_ONE_IN:
                yield (
                    f"{path}: topk picks one value in {c.one_in}; it can in one of "
                    f"{', '.join(map(str, TOPK_ONE_IN))}"
                )
            if a.outer.kind != "sgd":
                yield (
                    "algorithm.outer.kind: what topk leaves out returns through the residual, and "
                    f"momentum on top of that diverges: {a.outer.kind!r} must be 'sgd'"
                )


def _organisations(
    a: Algorithm, num_workers: int | None, num_organisations: int | None
) -> Iterator[str]:
    if not a.masked or num_workers is None or num_organisations is None:
        return
    if num_organisations < a.min_cohort <= num_workers:
        yield (
            f"algorithm.min_cohort: {a.min_cohort} workers of different organisations are needed "
            f"in tier {a.tier!r}, where no sum has two of one; the {num_workers} on the member "
            f"list are of {num_organisations}: no round could ever open. List workers of more "
            "organisations; one party's clouds count as one"
        )


def _cohort(a: Algorithm, num_workers: int | None, num_organisations: int | None) -> Iterator[str]:
    if a.min_cohort > a.max_cohort:
        yield (
            f"algorithm.min_cohort: {a.min_cohort} is above max_cohort {a.max_cohort}: no round "
            "could ever open"
        )
    if round_threshold(a.max_cohort, a) > a.max_cohort:
        yield (
            f"algorithm.colluding: with {a.colluding} colluding workers not even all of max_cohort "
            f"{a.max_cohort} are enough: raise max_cohort to at least {a.colluding + 1}"
        )
    if num_workers is not None and num_workers < a.min_cohort:
        yield (
            f"algorithm.min_cohort: {a.min_cohort} workers are needed and the member list has "
            f"{num_workers}: no round could ever open"
        )
    of_all = num_workers if num_organisations is None else num_organisations
    if a.policy == "sync" and of_all is not None and a.max_cohort < of_all:
        what = "workers" if num_organisations is None else "workers' organisations"
        yield (
            f"algorithm.max_cohort: policy 'sync' waits for all {of_all} {what} on the "
            f"member list, a cohort takes {a.max_cohort}: raise max_cohort, or use policy 'async'"
        )
    if a.masked and a.min_cohort < 2:
        yield (
            f"algorithm.min_cohort: {a.min_cohort} in tier {a.tier!r}: a sum of one is that "
            f"worker's update; at least 2, and {min_cohort(a.colluding)} unless every worker's own "
            "file asks for less (trust.min_cohort)"
        )
    if a.masked and 2 * a.min_cohort <= a.colluding + a.min_cohort:
        yield (
            f"algorithm.colluding: {a.colluding} of min_cohort {a.min_cohort} workers could take "
            f"the others' masks off: raise min_cohort to at least {min_cohort(a.colluding)}"
        )
    yield from _share_cap(a)


def _share_cap(a: Algorithm) -> Iterator[str]:
    if a.max_policy_factor != 1:
        yield (
            f"algorithm.max_policy_factor: {a.max_policy_factor} would only coarsen the weights: "
            "no loss policy is available in this version; set it to 1"
        )
        return
    sizes = range(a.min_cohort, a.max_cohort + 1)
    others = (round_threshold(k, a) - 1 - a.colluding for k in sizes)
    fewest = next((n for n in others if n >= 1), None)
    if fewest is not None and a.max_share / (1 - a.max_share) * fewest < 1:
        yield (
            f"algorithm.max_share: {a.max_share} cannot be kept where only {fewest + 1} survive, "
            f"not even with equal weights: at least {1 / (fewest + 1):.3f}, or raise min_cohort"
        )


def _outer(a: Algorithm) -> Iterator[str]:
    if a.outer.kind == "sgd" and a.outer.momentum != 0:
        yield (
            f"algorithm.outer.momentum: sgd has none, {a.outer.momentum} would be ignored: set it "
            "to 0, or kind to 'nesterov'"
        )


def _stop(a: Algorithm, stop: Stop) -> Iterator[str]:
    if stop == Stop():
        yield "stop: a run has to end: set versions, tokens, hours or loss"
    elif not (stop.versions or stop.tokens or stop.hours or a.schedule.horizon_tokens):
        yield (
            "algorithm.schedule.horizon_tokens: a run that ends by loss alone has no length for "
            "its learning rate: set it, or another stop limit"
        )
