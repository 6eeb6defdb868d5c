"""Named algorithms: where a run starts before its own overrides. Data, with a reason per choice."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from common.documents import Algorithm, Codec, Outer


@dataclass(frozen=True, slots=True)
class Preset:
    """One named algorithm.

    Args:
        summary: what it is for, in one line.
        reasons: field of `Algorithm` -> why it has this value here.
    """

    summary: str
    algorithm: Algorithm
    reasons: Mapping[str, str]


PRESETS: Final[Mapping[str, Preset]] = {
    "fedavg": Preset(
        summary="the textbook baseline: wait for all, average by samples, send float32",
        algorithm=Algorithm(
            policy="sync",
            tier="tls",
            min_cohort=1,
            quorum=1.0,
            normalisation="samples",
            staleness="constant",
            clipping=False,
            codec=Codec(kind="float32", bits=32, first_bits=32, residual_decay=0.0),
            outer=Outer(kind="sgd", learning_rate=1.0, momentum=0.0),
        ),
        reasons={
            "policy": "FedAvg averages one round of every worker",
            "tier": "float32 values cannot be masked: this is a baseline, not for private data",
            "min_cohort": "in the tls tier a sum hides nothing, of however many",
            "quorum": "nobody is left behind",
            "normalisation": "FedAvg weighs by the number of samples",
            "staleness": "all train from the same version, so nothing is stale",
            "clipping": "the baseline has none",
            "codec": "what savings are measured against; exact, so nothing is left over",
            "outer": "the average replaces the model: one step of length one",
        },
    ),
    "diloco": Preset(
        summary="few rounds, many local steps, outer Nesterov; waits for every worker",
        algorithm=Algorithm(
            policy="sync",
            quorum=1.0,
            staleness="constant",
            outer=Outer(kind="nesterov", learning_rate=0.7, momentum=0.9),
        ),
        reasons={
            "policy": "one outer step per round of every worker",
            "quorum": "nobody is left behind",
            "staleness": "all train from the same version, so nothing is stale",
            "outer": "Nesterov over differences of many local steps; 0.7 and 0.9 are customary",
        },
    ),
    "async_diloco": Preset(
        summary="the default: as diloco, but nobody waits; late work counts less",
        algorithm=Algorithm(),
        reasons={
            "policy": "a slow cloud must not stop the fast ones",
            "staleness": "(1 + tau)**-0.5 damps old work without discarding it",
            "outer": "a smaller step than diloco's, since cohorts are smaller than the federation",
        },
    ),
}
"""By name; `preset` in run.yaml."""

DEFAULT_PRESET: Final = "async_diloco"
