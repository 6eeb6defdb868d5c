"""One worker's half of masked rounds in memory: real rules, real secrets, a real encoding.

It does what `worker/rounds/participation.py` does, without processes and disks; whoever plays the
coordinator calls it message by message, and may leave one out, change it or send it twice.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field

import pytest

from common.arrays import F32
from common.documents import Answer, Numbers, Plan, Record
from common.ids import RoundId, WorkerId
from common.rounds import Rule
from common.terms import Terms
from tests.rig.rounds.small_run import NUMBERS, Run
from worker.rounds.attempt import MaskedAttempt
from worker.rounds.round import Fate, RefusedError, WorkerRound
from worker.rounds.tier import RevealedShares

NOTHING: frozenset[Rule] = frozenset()


def refused(rule: Rule) -> pytest.RaisesExc[RefusedError]:
    """An honest worker refuses, by exactly this rule."""
    return pytest.RaisesExc(RefusedError, check=lambda e: e.rule is rule)


@dataclass(kw_only=True)
class Member:
    """See the module docstring.

    Args:
        run: the chain as this worker was shown it.
        theta: returns its parameters at close.
        begin: returns its attempt at a plan.
        draw: returns random bytes.
        own_clip: its own bound on an update's length.
        unsafe: rules that it does not look at.
        plain: shards of its newest update before they were masked, data first, then side values.
        sent: data section before it was masked, of each round.
    """

    name: WorkerId
    run: Run
    theta: Callable[[], F32]
    begin: Callable[[Plan], MaskedAttempt]
    draw: Callable[[int], bytes]
    numbers: Numbers = NUMBERS
    own_clip: float = float("inf")
    unsafe: frozenset[Rule] = NOTHING
    attempt: MaskedAttempt | None = None
    residual: F32 | None = None
    plain: list[bytes] = field(default_factory=list)
    sent: dict[RoundId, bytes] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.round = WorkerRound(self.name, self.run.algorithm.colluding, unsafe=self.unsafe)

    def planned(
        self, plan: Plan, next_seq: int = 0, *, finite: bool = True
    ) -> tuple[Answer, dict[WorkerId, bytes]]:
        """Take part in a plan: return the answer, and what is sealed for others."""
        self.round.accept(plan, *self.run.head, next_seq)
        try:
            self.attempt = self.begin(plan)
        except RefusedError:
            self.round.forget(plan.round)
            raise
        most = self.run.algorithm.max_staleness
        self.round.close(self.numbers, finite=finite, max_staleness=most)
        answer, sealed = self.attempt.answer(self.numbers)
        self.round.answered(answer)
        return answer, sealed

    def named(
        self,
        plan: Plan,
        answers: Mapping[WorkerId, Answer],
        sealed: Mapping[WorkerId, bytes],
        terms: Terms | None = None,
    ) -> list[bytes]:
        """Hear U2: return the upload, shard by shard."""
        self.exposed(plan, answers, sealed)
        return self.upload(plan, answers, terms)

    def exposed(
        self, plan: Plan, answers: Mapping[WorkerId, Answer], sealed: Mapping[WorkerId, bytes]
    ) -> None:
        """Hear U2, and encode nothing yet."""
        assert self.attempt is not None
        assert self.round.name(plan.round, answers), "the same members again"
        self.attempt.named(answers, sealed)
        self.round.expose(answers, self.attempt.kappa)

    def upload(
        self, plan: Plan, answers: Mapping[WorkerId, Answer], terms: Terms | None = None
    ) -> list[bytes]:
        """Encode and mask: return the upload, shard by shard."""
        assert self.attempt is not None
        terms = terms or self.run.terms(plan, {w: a.numbers for w, a in answers.items()})
        key = self.draw(16)
        made, self.residual = self.run.encoded(terms, self.name, self.theta(), key, self.own_clip)
        self.plain = [bytes(shard) for shard in made]  # masking overwrites them
        self.sent[plan.round] = b"".join(self.plain[: terms.layout.num_data_shards])
        return [bytes(s) for s in self.attempt.protect(terms.layout, made)]

    def survived(self, survivors: Iterable[WorkerId]) -> bytes | None:
        """Hear who survived: return the signature under the list, None where none is needed."""
        assert self.attempt is not None
        return self.attempt.survived(tuple(sorted(survivors)))

    def reveal(self, listed: Mapping[WorkerId, bytes] | None = None) -> RevealedShares:
        """Hear the others' signatures: return shares."""
        assert self.attempt is not None
        revealed = self.attempt.reveal(listed or {})
        self.round.reveal()
        return revealed

    def ended(self) -> bytes | None:
        """Hear that the round ends: return a word that nothing will be revealed, if nothing was."""
        assert self.round.stage is not None
        if self.round.stage.revealed:
            return None
        assert self.attempt is not None
        return self.attempt.abandon()

    def recorded(self, record: Record) -> Fate | None:
        """Hear what became of the round."""
        fate = self.round.resolve(record)
        if fate is not None:
            self.attempt = None
        return fate
