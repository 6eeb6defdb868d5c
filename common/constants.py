"""The table of the algorithm's constants: what each may be, what it means, its symbol and its unit.

A constant is a field in `common/documents.py`, with its default, and a row here, by its path below
`algorithm` in run.yaml, or that of a stop limit. `services/config/soundness.py` refuses by it, in
the order of its rows, `crosscloud report` explains by it, and docs/arithmetic.md shows it (`pytest
tests/docs --rewrite` after a change). What depends on several constants is a rule of soundness.
"""

import operator
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any, Final

from common.codec.topk import ONE_IN
from common.documents import Algorithm, Stop
from common.outer import OPTIMISERS
from common.terms import CODECS
from common.weight.gains import GAINS


@dataclass(frozen=True, slots=True)
class Range:
    """Numbers that a constant may be: in a refusal's words, and by the operators that must hold."""

    words: str
    limits: Mapping[str, Any]

    def __contains__(self, number: float) -> bool:
        """Return whether all limits hold; none does for NaN."""
        return all(getattr(operator, name)(number, at) for name, at in self.limits.items())


@dataclass(frozen=True, slots=True)
class Row:
    """What one constant may be, and what it is.

    Args:
        may_be: a range, or the words to choose from; a text where soundness has a rule of its own.
        symbol: in docs/arithmetic.md.
        later: nothing reads it yet, so that it may be its default alone.
    """

    may_be: Range | tuple[str, ...] | str
    meaning: str
    symbol: str = ""
    unit: str = ""
    later: bool = False

    @property
    def sentence(self) -> str:
        """The meaning, after the unit."""
        return f"{self.unit}; {self.meaning}" if self.unit else self.meaning


def _later(default: float | str, meaning: str, symbol: str = "", unit: str = "") -> Row:
    """Return the row of a constant of what is not there yet."""
    return Row(str(default), f"fixed as yet: {meaning}", symbol, unit, later=True)


_FROM_0: Final = Range("at least 0", {"ge": 0})
_FROM_1: Final = Range("at least 1", {"ge": 1})
_ABOVE_0: Final = Range("above 0", {"gt": 0})
_SHARE: Final = Range("above 0 and at most 1", {"gt": 0, "le": 1})
_INSIDE: Final = Range("above 0 and below 1", {"gt": 0, "lt": 1})
_PART: Final = Range("at least 0 and at most 1", {"ge": 0, "le": 1})
_BELOW_1: Final = Range("at least 0 and below 1", {"ge": 0, "lt": 1})

CONSTANTS: Final[Mapping[str, Row]] = {
    "policy": Row(("sync", "async"), "who is in a cohort: all live members, or a quorum of them"),
    "max_cohort": Row(_FROM_1, "most members of a cohort; oldest offers first", "", "workers"),
    "min_cohort": Row(_FROM_1, "fewest members in a sum; masked: at least 2", "m", "workers"),
    "colluding": Row(_FROM_0, "colluding ones that masks still withstand", "c", "workers"),
    "quorum": Row(_SHARE, "share of live members that has to offer; never below min_cohort"),
    "tier": Row(("tls", "masked", "record_dp", "cloud_dp", "he"), "who may see one update"),
    "normalisation": Row(
        tuple(GAINS),
        "what an update weighs by; normalised: tokens per learning rate",
        "g",
    ),
    "staleness": Row(("poly", "hinge", "constant"), "how old work is damped", "s(tau)"),
    "staleness_exponent": Row(_FROM_0, "of (1 + tau)^-a", "a"),
    "max_staleness": Row(_ABOVE_0, "older work is discarded", "tau_max", "commits"),
    "max_share": Row(_INSIDE, "most of a cohort's weight that one member may have"),
    "max_policy_factor": Row("1", "bound of a loss policy's factor; 1 = no loss policy", "rho"),
    "clipping": Row("true, false", "whether updates longer than C*A are clipped"),
    "local_steps": Row(
        "min_local_steps or more", "of the fastest worker, per contribution", "H", "local steps"
    ),
    "min_local_steps": Row(_FROM_1, "fewest of a slow worker, per contribution", "", "local steps"),
    "weighting.policy": _later("none", "what weighs beside tokens: dynamic, inverse_loss, ..."),
    "weighting.halving": _later(0.04, "a loss so much above the others' counts half"),
    "weighting.bandwidth_exponent": _later(0.0, "of a member's link in its weight"),
    "update": _later("parameters", "what is summed: differences of parameters, or gradient"),
    "gradient_unit": _later(0.0, "A of a mean gradient; a power of two"),
    "rounds_ahead": _later(8, "contributions that may be pending before a worker waits"),
    "deadline_s": _later(0.0, "policy deadline: from one close to the next", "", "seconds"),
    "prox": _later(0.0, "pull of each local step towards the base (FedProx)"),
    "robust": _later("none", "tier tls: how a sum withstands false updates: trimmed_mean"),
    "assumed_faulty": _later(0, "members whose updates may be false", "", "workers"),
    "gate.own_loss": _later(0.0, "a member whose loss is so much above the others' stays out"),
    "gate.norm": _later(0.0, "a member whose update is so many medians long stays out"),
    "codec.kind": Row(CODECS, "how updates are compressed"),
    "codec.bits": Row("4, 8, 12, 16; topk 2, float32 32", "of a value on the wire", "b", "bits"),
    "codec.first_bits": Row("as bits", "b of first rounds, whose scales are guesses", "", "bits"),
    "codec.one_in": Row(
        f"1; cyclic a prime; randk, heavy 2 or more; topk {', '.join(map(str, ONE_IN))}",
        "of so many blocks one is sent; topk: of so many values",
        "F",
    ),
    "codec.step_multiple": Row(_ABOVE_0, "values are cut off at so many times a block's rms", "m"),
    "codec.residual_decay": Row(_PART, "what is sent later of what compression left out", "beta_e"),
    "outer.kind": Row(tuple(OPTIMISERS), "outer optimiser; nesterov is delayed"),
    "outer.learning_rate": Row(_ABOVE_0, "outer step", "eta"),
    "outer.momentum": Row(_BELOW_1, "outer momentum", "mu"),
    "outer.beta1": _later(0.9, "adam, yogi: decay of the mean"),
    "outer.beta2": _later(0.95, "adam, yogi: decay of the square"),
    "outer.epsilon": _later(1e-8, "adam, yogi: added to the root of the square"),
    "outer.weight_decay": _later(0.0, "adam, yogi: decoupled, of matrices alone"),
    "outer.schedule": _later("constant", "of the outer learning rate: constant, or linear"),
    "outer.warmup": _later(0, "of linear outer warm-up", "", "versions"),
    "outer.floor": _later(0.1, "of the outer learning rate, at the end"),
    "schedule.peak": Row(_ABOVE_0, "inner learning rate after warm-up"),
    "schedule.warmup_steps": Row(_FROM_0, "of linear warm-up", "", "local steps"),
    "schedule.floor": Row(_PART, "of the peak, at the end of the cosine"),
    "schedule.horizon_tokens": Row(
        _FROM_0, "the run's length where no stop limit tells it; 0 = not needed", "", "tokens"
    ),
    "stop.versions": Row(_FROM_0, "committed; 0 = no such limit", "", "versions"),
    "stop.tokens": Row(_FROM_0, "in committed updates; 0 = no such limit", "", "tokens"),
    "stop.hours": Row(
        _FROM_0, "since the run began, without down-time; 0 = no such limit", "", "hours"
    ),
    "stop.loss": Row(_FROM_0, "validation loss; 0 = no such limit", "", "nats per token"),
}


def values(algorithm: Algorithm, stop: Stop) -> Iterator[tuple[str, Row, Any]]:
    """Yield each constant's path in run.yaml, its row, and what a run sets it to."""
    run = SimpleNamespace(algorithm=algorithm, stop=stop)
    for name, row in CONSTANTS.items():
        path = name if name.startswith("stop.") else f"algorithm.{name}"
        yield path, row, operator.attrgetter(path)(run)
