"""From the list of survivors to what takes the masks off their sum, and nothing else.

The server's part of rounds 3 and 4 in figure 4 of Bonawitz et al. 2017.
"""

from dataclasses import replace

import pytest
from typing_extensions import override

from common.documents import Answer, Plan
from common.errors import BadShareError, BadSignatureError, BadUpdateError, NotAMemberError
from common.errors import UnexpectedMessageError as Unexpected
from common.ids import WorkerId
from common.rounds import AbortReason
from common.secagg.commitments import matches
from common.secagg.transcript import mask_key_of
from coordinator.ports import Signatures, Survivors
from coordinator.unmask import Unmasking, check_answer
from tests.rig.rounds.masked_members import MASKED, Cloud, changed
from tests.rig.rounds.masked_round import plan_of
from tests.rig.rounds.small_run import NUMBERS, Run
from worker.rounds.tier import RevealedShares

WORKERS = tuple(WorkerId(w) for w in ("aws", "azure", "gcp", "hetzner", "onprem"))
S = WORKERS[:4]
"""The survivors, unless a test says otherwise: t is 3, onprem is lost."""


class Cohort:
    """Members that answered and were named."""

    def __init__(self, workers: tuple[WorkerId, ...] = WORKERS) -> None:
        clouds = {w: Cloud(w) for w in workers}
        run = Run(MASKED, workers=workers, speeds=(1,) * len(workers))
        self.plan: Plan = plan_of(run, clouds)
        self.attempts = {w: clouds[w].attempt(self.plan) for w in workers}
        said = {w: a.answer(NUMBERS) for w, a in self.attempts.items()}
        self.answers: dict[WorkerId, Answer] = {w: answer for w, (answer, _) in said.items()}
        self.sealed = {w: sealed for w, (_, sealed) in said.items()}
        for me, attempt in self.attempts.items():
            attempt.named(self.answers, {w: s[me] for w, s in self.sealed.items() if w != me})

    def unmasking(self, survivors: tuple[WorkerId, ...] = S) -> Unmasking:
        return Unmasking(self.plan, self.answers, survivors)

    def sign(self, u: Unmasking, *workers: WorkerId) -> dict[WorkerId, bytes]:
        told = None
        for w in workers:
            signature = self.attempts[w].survived(S)
            assert signature is not None
            told = u.sign(w, signature) or told
        assert isinstance(told, Signatures)
        return dict(told.signatures)

    def revealed(self, worker: WorkerId, signatures: dict[WorkerId, bytes]) -> RevealedShares:
        self.attempts[worker].survived(S if signatures else WORKERS)
        return self.attempts[worker].reveal(signatures)


@pytest.fixture
def cohort() -> Cohort:
    return Cohort()


def test_t_of_k_shares_give_what_each_member_committed_to(cohort: Cohort) -> None:
    u = cohort.unmasking()
    signatures = cohort.sign(u, *S[:3])
    for w in S[1:3]:
        given = cohort.revealed(w, signatures)
        u.reveal(w, given.own, given.mask)
        assert u.secrets() is None
    given = cohort.revealed(S[3], signatures)
    u.reveal(S[3], given.own, given.mask)

    secrets = u.secrets()

    assert secrets is not None
    assert u.done
    assert (secrets.own.keys(), secrets.lost.keys()) == (set(S), {"onprem"})
    for worker, b in secrets.own.items():
        commitments = cohort.answers[worker].commitments
        assert commitments is not None
        assert matches(bytes.fromhex(commitments.own), "commit-self", bytes.fromhex(b))
    assert secrets.lost[WORKERS[4]] not in secrets.own.values()
    assert mask_key_of(cohort.plan, WORKERS[4])


def test_a_wrong_share_is_noticed_and_the_next_right_one_mends_it(cohort: Cohort) -> None:
    u = cohort.unmasking()
    signatures = cohort.sign(u, *S[:3])
    for w in S[:3]:
        given = cohort.revealed(w, signatures)
        u.reveal(w, changed(given.own) if w == S[0] else given.own, given.mask)
    assert u.secrets() is None
    assert u.complaint(())[0] is AbortReason.BAD_SHARES

    given = cohort.revealed(S[3], signatures)
    u.reveal(S[3], given.own, given.mask)

    assert u.secrets() is not None


@pytest.mark.parametrize("wrong", [0, 15])
def test_one_member_s_wrong_shares_do_not_end_a_round_of_many(wrong: int) -> None:
    workers = tuple(WorkerId(f"w{i:02}") for i in range(16))
    cohort = Cohort(workers)
    u = cohort.unmasking(workers)
    for i, w in enumerate(workers):
        cohort.attempts[w].survived(workers)
        given = cohort.attempts[w].reveal({})
        u.reveal(w, changed(given.own) if i == wrong else given.own, given.mask)

    assert u.secrets() is not None


def test_where_everybody_survived_nothing_is_signed(cohort: Cohort) -> None:
    u = cohort.unmasking(WORKERS)

    assert u.signed is None
    assert u.missed(S[0]) == (Survivors(cohort.plan.round, WORKERS),)
    with pytest.raises(Unexpected, match="no list is to be signed"):
        u.sign(S[0], b"")
    given = cohort.revealed(S[0], {})
    u.reveal(S[0], given.own, given.mask)
    assert u.missed(S[0]) == ()


def test_no_share_is_taken_before_enough_survivors_signed(cohort: Cohort) -> None:
    u = cohort.unmasking()
    with pytest.raises(Unexpected, match="before the survivors are signed"):
        u.reveal(S[0], {}, {})
    assert u.complaint(()) == (
        AbortReason.BELOW_THRESHOLD,
        "members that signed the survivors: 0, needed: 3",
    )

    signature = cohort.attempts[S[0]].survived(S)
    assert signature is not None
    for worker, error in ((S[1], BadSignatureError), (WORKERS[4], NotAMemberError)):
        with pytest.raises(error):
            u.sign(worker, signature)
    assert u.sign(S[0], signature) is None
    assert u.waiting_for(()) == S[1:]


def test_shares_of_both_kinds_too_few_or_another_size_are_refused(cohort: Cohort) -> None:
    u = cohort.unmasking()
    signatures = cohort.sign(u, *S[:3])
    given = cohort.revealed(S[0], signatures)
    both = {**given.own, **given.mask}
    for own, mask, error in (
        (both, given.mask, BadUpdateError),
        (given.own, both, BadUpdateError),
        ({S[0]: given.own[S[0]]}, given.mask, BadUpdateError),
        (given.own, {}, BadUpdateError),
        ({**given.own, S[1]: b"short"}, given.mask, BadShareError),
        ({**given.own, S[1]: b"\xff" * 33}, given.mask, BadShareError),
    ):
        with pytest.raises(error):
            u.reveal(S[0], own, mask)
    assert u.waiting_for(()) == S


def test_whoever_refuses_is_not_waited_for_and_too_few_are_hopeless(cohort: Cohort) -> None:
    u = cohort.unmasking()
    u.refuse(S[0], "refused by rule 11")
    assert u.waiting_for(()) == S[1:]
    assert not u.hopeless(())
    u.refuse(S[1], "refused by rule 11")
    assert u.hopeless(())
    assert "aws refused by rule 11; azure refused by rule 11" in u.complaint(())[1]


def test_whoever_is_gone_is_not_waited_for_and_too_few_that_are_left_are_hopeless(
    cohort: Cohort,
) -> None:
    u = cohort.unmasking(WORKERS)
    given = cohort.revealed(S[0], {})
    u.reveal(S[0], given.own, given.mask)
    assert u.waiting_for(WORKERS[:3]) == WORKERS[3:]
    assert not u.hopeless(WORKERS[:3])  # the first has revealed: being gone undoes nothing
    assert u.hopeless(WORKERS[:4])
    assert u.complaint(WORKERS[:3]) == (
        AbortReason.BELOW_THRESHOLD,
        "members that revealed shares: 1, needed: 3; azure is gone; gcp is gone",
    )
    u.refuse(WORKERS[4], "refused by rule 11")
    assert u.hopeless(WORKERS[:3])
    assert not u.hopeless(())  # whoever is back counts again


def test_a_signature_outlives_its_signer_and_a_share_has_to_come_from_somebody_left(
    cohort: Cohort,
) -> None:
    u = cohort.unmasking()
    cohort.sign(u, *S[:3])
    assert not u.hopeless(S[:1])  # the other three can reveal, signed or not
    assert u.waiting_for(S[:1]) == S[1:]
    assert u.hopeless(S[:2])


def test_shares_that_do_not_fit_are_hopeless_once_nobody_is_left_to_reveal(cohort: Cohort) -> None:
    u = cohort.unmasking()
    signatures = cohort.sign(u, *S[:3])
    for w in S[:3]:
        given = cohort.revealed(w, signatures)
        u.reveal(w, changed(given.own), given.mask)
    assert u.secrets() is None
    assert not u.hopeless(S[:3])
    assert u.hopeless(S[3:])
    assert u.complaint(S[3:]) == (
        AbortReason.BAD_SHARES,
        "the shares of aws, azure, gcp do not fit together; hetzner is gone",
    )


class Counted(dict[WorkerId, bytes]):
    """Shares that count how often one of them is read."""

    reads = 0

    @override
    def __getitem__(self, worker: WorkerId) -> bytes:
        self.reads += 1
        return super().__getitem__(worker)


def test_shares_that_did_not_fit_are_tried_again_only_with_another_and_give_the_same(
    cohort: Cohort,
) -> None:
    asked_often, asked_once = cohort.unmasking(), cohort.unmasking()
    signatures = cohort.sign(asked_often, *S[:3])
    cohort.sign(asked_once, *S[:3])
    shares = Counted()
    for w in S:
        given = cohort.revealed(w, signatures)
        own = changed(given.own) if w == S[0] else given.own
        asked_once.reveal(w, own, given.mask)
        asked_often.reveal(w, own, shares := Counted(given.mask))
        for _ in range(3):
            before = shares.reads
            secrets = asked_often.secrets()
            if secrets is not None:
                break
            assert shares.reads == before or before == 0
            asked_often.reveal(w, own, shares)  # once more: that changes nothing

    assert secrets is not None
    assert secrets == asked_once.secrets()


def test_an_answer_that_would_make_the_others_refuse_is_refused(cohort: Cohort) -> None:
    worker = S[0]
    answer, sealed = cohort.answers[worker], cohort.sealed[worker]
    check_answer(cohort.plan, worker, answer, sealed)
    assert answer.commitments is not None
    no_digest = replace(answer.commitments, own="z" * 64)
    for wrong, content in (
        (replace(answer, worker=S[1]), sealed),
        (replace(answer, plan=cohort.plan.digest), sealed),
        (replace(answer, commitments=None), sealed),
        (replace(answer, commitments=no_digest), sealed),
        (replace(answer, signature=None), sealed),
        (replace(answer, numbers=replace(NUMBERS, tokens=1)), sealed),
        (answer, {w: s for w, s in sealed.items() if w != S[1]}),
        (answer, {**sealed, worker: sealed[S[1]]}),
        (answer, {**sealed, S[1]: b"short"}),
    ):
        with pytest.raises(BadUpdateError, match="aws: "):
            check_answer(cohort.plan, worker, wrong, content)
