"""What each privacy tier lets each party see, in plain words: docs/threat-model.md in short.

`status` says the sentence, `crosscloud report` the whole statement.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

PRIVACY: Final[Mapping[str, str]] = {
    "tls": "tls: the coordinator sees every worker's update, weights and loss; all workers see "
    "the sum of each cohort; others on the way see nothing",
    "masked": "masked: the coordinator sees each cohort's sum of updates and losses and no "
    "worker's own, but steps, tokens, speed and staleness of each; all workers see the sum of each "
    "cohort; others on the way see nothing",
}
"""One sentence per tier."""


@dataclass(frozen=True, slots=True)
class Statement:
    """One tier in full; each entry is a sentence.

    Args:
        summary: the tier in one sentence.
        private: whether one worker's update is hidden from the coordinator.
        seen: what whoever runs the coordinator could see.
        unseen: what they could not.
        others: what workers, evaluator and network could see.
        limits: what this tier does not promise.
    """

    summary: str
    private: bool
    seen: tuple[str, ...]
    unseen: tuple[str, ...]
    others: tuple[str, ...]
    limits: tuple[str, ...]


_IN_EVERY_TIER: Final = (
    "Names, organisations and addresses of the workers, and when each was there.",
    "Of each worker and round: tokens, steps, samples, learning rates, staleness; training speed "
    "and link speed. They tell a cloud's throughput, and roughly how much data it reads.",
    "Every version of the model, as all members of the run do.",
)
_OTHERS: Final = (
    "Every worker and the evaluator: all versions, the log (who took part, everybody's steps and "
    "tokens, summed losses), and the sum of each cohort.",
    "The network: sizes and times, so who is in a round and how large the model is. No content.",
    "Whoever can read a worker's own disk: that cloud's parameters in the clear.",
)
_LIMITS: Final = (
    "The trained model may remember some of its data: no differential privacy is added.",
    "A malicious worker can send bad values, within its weight and length.",
)

STATEMENTS: Final[Mapping[str, Statement]] = {
    "tls": Statement(
        summary="The coordinator saw every worker's update. Only outsiders saw nothing.",
        private=False,
        seen=(
            "Every worker's own update, its weight, its training loss and whether it was clipped.",
            *_IN_EVERY_TIER,
        ),
        unseen=("Training text. It never leaves its cloud.",),
        others=_OTHERS,
        limits=(
            "An update can give away the text that it was trained on: whoever runs the coordinator "
            "has to be trusted with it. The tier `masked` removes that need.",
            *_LIMITS,
        ),
    ),
    "masked": Statement(
        summary="The coordinator saw sums of updates, and no worker's own.",
        private=True,
        seen=(
            "The sum of the updates of each cohort, the sum of its training losses, and how many "
            "of its updates were clipped.",
            *_IN_EVERY_TIER,
        ),
        unseen=(
            "Any one worker's update, training loss or clipping: they are masked before they leave "
            "their cloud, and masks come off the sum alone.",
            "Training text. It never leaves its cloud.",
        ),
        others=_OTHERS,
        limits=(
            "A sum of few resembles each of its parts: with three members the cosine between the "
            "sum and one update is 0.73, with eight 0.62 (1 would be the update itself).",
            "Sums over changing cohorts can be subtracted from each other.",
            "A rare word that one cloud alone uses shows in the sum as that cloud's.",
            "More workers in league with the coordinator than the run allows for (`colluding`) can "
            "undo the masks of the others.",
            *_LIMITS,
        ),
    ),
}
"""By tier. The figures are from docs/threat-model.md, section 4."""
