"""Which local work is uncommitted: pending, or frozen in a round that has no outcome yet.

    step --> pending --freeze--> frozen --contributed | spent--> forgotten
                ^                   |
                +------- free ------+

Work is only ever a sum, so nothing can be counted twice: freezing moves it, freeing moves it back.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Final, Self

from common.documents import Algorithm, Numbers
from common.weight.staleness import staleness_65535

FATES: Final = ("contributed", "spent", "free")


@dataclass(frozen=True, slots=True)
class Work:
    """A sum over local steps.

    Args:
        tokens: trained on.
        token_versions: sum of tokens * version that the worker stood on: exact, so that the
            token-weighted mean age can be had at any later version.
        lr_sum: A, sum of inner learning rates.
        loss_sum: sum of tokens * training loss, in nats, over the steps whose loss was finite.
        not_finite: steps whose loss was NaN or infinite.
    """

    tokens: int = 0
    token_versions: int = 0
    steps: int = 0
    samples: int = 0
    lr_sum: float = 0.0
    loss_sum: float = 0.0
    not_finite: int = 0

    def __add__(self, other: Self) -> "Work":
        return Work(*(getattr(self, f.name) + getattr(other, f.name) for f in fields(self)))

    @property
    def mean_loss(self) -> float:
        """Token-weighted mean training loss, in nats; 0 where there is no work."""
        return self.loss_sum / self.tokens if self.tokens else 0.0

    def age_256(self, version: int) -> int:
        """Return the token-weighted mean age at `version`, in 1/256 commits, rounded."""
        if not self.tokens:
            return 0
        age = 256 * max(0, version * self.tokens - self.token_versions)
        return (2 * age + self.tokens) // (2 * self.tokens)

    def numbers(self, version: int, algorithm: Algorithm) -> Numbers:
        """Return the numbers at close, if it were now; all zero where there is no work."""
        age = self.age_256(version)
        return Numbers(
            tokens=self.tokens,
            lr_sum=self.lr_sum,
            age_256=age,
            staleness_65535=staleness_65535(age, algorithm) if self.tokens else 0,
            steps=self.steps,
            samples=self.samples,
        )


@dataclass(slots=True)
class WorkLedger:
    """One worker's uncommitted work.

    Args:
        frozen: by round.
    """

    pending: Work = field(default_factory=Work)
    frozen: dict[str, Work] = field(default_factory=dict)

    @property
    def steps(self) -> int:
        """Local steps that no commit holds."""
        return self.pending.steps + sum(w.steps for w in self.frozen.values())

    def freeze(self, round_id: str) -> Work:
        """Move the pending work into a round that closes, and return it.

        Raises:
            ValueError: the round closed before.
        """
        if round_id in self.frozen:
            raise ValueError(f"round {round_id} is frozen already")
        self.frozen[round_id], self.pending = self.pending, Work()
        return self.frozen[round_id]

    def release(self, round_id: str, fate: str) -> None:
        """End a round: "free" makes its work pending again, "contributed" and "spent" forget it.

        A round that is not here changes nothing: its outcome may come twice after a restart.
        """
        if fate not in FATES:
            raise ValueError(f"fate {fate!r} is not one of {', '.join(FATES)}")
        work = self.frozen.pop(round_id, Work())
        if fate == "free":
            self.pending += work

    def document(self) -> "LedgerDocument":
        """Return what is stored."""
        return LedgerDocument(self.pending, dict(self.frozen))


@dataclass(frozen=True, slots=True)
class LedgerDocument:
    """A ledger on disk."""

    pending: Work
    frozen: Mapping[str, Work]

    def ledger(self) -> WorkLedger:
        """Return the ledger that was stored."""
        return WorkLedger(self.pending, dict(self.frozen))
