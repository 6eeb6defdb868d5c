"""Phase `unmask` of the masked tier: from the list of survivors to what takes their masks off.

    S = U2:   Survivors -> shares
    S < U2:   Survivors -> t signatures over S -> Signatures -> shares

A survivor reveals, for every member of U2, one share: of b_j for a survivor, of the mask key for a
lost one; never both kinds of one member, for both together would lay that member's update open.
With t shares each, the masks of the sum are known, and nothing else is. What was reconstructed is
checked against what each member committed to, so wrong shares are noticed before they do harm.

A survivor that is *gone* is not waited for: its process of this round has ended, and with it the
shares that it held, or it was silent for a lease, as in every other phase. A broken stream alone is
not the end: the process may be back before its lease is over, and is told again what it missed. As
soon as those that are left cannot be t any more, the round ends: until its deadline it could only
wait, and nobody's work would be free meanwhile. Whoever was silent and is heard again before that
counts as before; what a gone survivor has signed or revealed stays of use.
"""

from collections.abc import Callable, Collection, Iterator, Mapping
from itertools import combinations, islice
from typing import Final

from common.documents import Answer, Commitments, Plan
from common.errors import (
    BadShareError,
    BadSignatureError,
    BadUpdateError,
    NotAMemberError,
    UnexpectedMessageError,
)
from common.ids import WorkerId
from common.rounds import AbortReason
from common.secagg.commitments import COMMITTED_BYTES, matches
from common.secagg.keys import MaskSecretKey
from common.secagg.sealing import SEALED_BYTES
from common.secagg.shamir import Share, combine, x_coordinate
from common.secagg.transcript import (
    context,
    identity_of,
    is_signed,
    list_content,
    mask_key_of,
    plan_hash,
    signed_content,
)
from coordinator.ports import Message, Secrets, Signatures, Survivors

MAX_ATTEMPTS: Final = 64
"""Sets of shares that are tried where some of them are wrong."""

_HEX: Final = frozenset("0123456789abcdef")


def check_answer(
    plan: Plan, worker: WorkerId, answer: Answer, sealed: Mapping[WorkerId, bytes]
) -> None:
    """Refuse an answer that would only make the other members refuse.

    Raises:
        BadUpdateError: names the worker and the field.
    """
    masked = plan.masked
    others = set(plan.roster) - {worker} if masked else set()
    wrong = (
        (answer.worker != worker, f"it answers in the name of {answer.worker}"),
        (answer.plan != plan_hash(plan).hex(), "it answers another plan"),
        ((answer.commitments is not None) != masked, f"commitments in tier {plan.tier}"),
        ((answer.signature is not None) != masked, f"signature in tier {plan.tier}"),
        (sealed.keys() != others, "what it sealed is not for exactly the other members"),
        (not _commits(answer.commitments), "a commitment is not 64 hexadecimal digits"),
        (any(len(s) != SEALED_BYTES for s in sealed.values()), "a sealed share's size is wrong"),
        (masked and not _is_signed(plan, worker, answer), "its signature is wrong"),
    )
    for is_wrong, complaint in wrong:
        if is_wrong:
            raise BadUpdateError(f"{worker}: {complaint}")


def _commits(commitments: Commitments | None) -> bool:
    said = () if commitments is None else (commitments.own, commitments.common)
    return all(len(c) == 2 * COMMITTED_BYTES and not set(c) - _HEX for c in said)


def _is_signed(plan: Plan, worker: WorkerId, answer: Answer) -> bool:
    key = identity_of(plan, worker)
    return is_signed(key, "shares", signed_content(answer), answer.signature)


def _sets(shares: list[Share], size: int) -> Iterator[tuple[Share, ...]]:
    """Yield sets of shares; soon one without any given share, whichever is the wrong one."""
    around = shares + shares
    yield from (tuple(around[i : i + size]) for i in range(len(shares)))
    yield from combinations(shares, size)


class Unmasking:
    """See the module docstring.

    Args:
        answers: of U2.
        survivors: S, sorted.
    """

    def __init__(
        self, plan: Plan, answers: Mapping[WorkerId, Answer], survivors: tuple[WorkerId, ...]
    ) -> None:
        self._plan = plan
        self._answers = answers
        self._survivors = survivors
        self._lost = tuple(sorted(set(answers) - set(survivors)))
        self._list = list_content(plan, tuple(sorted(answers)), survivors)
        self._signatures: dict[WorkerId, bytes] = {}
        self._own: dict[WorkerId, Mapping[WorkerId, bytes]] = {}
        self._mask: dict[WorkerId, Mapping[WorkerId, bytes]] = {}
        self._refused: dict[WorkerId, str] = {}
        self._num_tried = 0
        self.done = False

    @property
    def signed(self) -> dict[WorkerId, str] | None:
        """Who signed S, where that was needed."""
        return {w: s.hex() for w, s in self._signatures.items()} if self._lost else None

    def may_reveal(self) -> bool:
        """Return whether the survivors need no signatures, or have enough."""
        return not self._lost or len(self._signatures) >= self._plan.threshold

    @property
    def revealed(self) -> bool:
        """Whether so many revealed their shares that too few are left to abandon the round."""
        return len(self._own) >= self._plan.threshold

    def hopeless(self, gone: Collection[WorkerId]) -> bool:
        """Return whether no share that may still come can help.

        Args:
            gone: who is not waited for any more.
        """
        to_come = self._to_come(gone)
        if self.revealed:
            return not to_come
        return len(self._own) + len(to_come) < self._plan.threshold

    def complaint(self, gone: Collection[WorkerId]) -> tuple[AbortReason, str]:
        """Return why there is nothing to unmask with."""
        missing = "".join(f"; {w} {why}" for w, why in sorted(self._refused.items()))
        missing += "".join(f"; {w} is gone" for w in sorted(gone) if w in self._silent())
        if self.revealed:
            return AbortReason.BAD_SHARES, (
                f"the shares of {', '.join(sorted(self._own))} do not fit together{missing}"
            )
        what, had = "revealed shares", len(self._own)
        if not self.may_reveal():
            what, had = "signed the survivors", len(self._signatures)
        detail = f"members that {what}: {had}, needed: {self._plan.threshold}"
        return AbortReason.BELOW_THRESHOLD, detail + missing

    def waiting_for(self, gone: Collection[WorkerId]) -> tuple[WorkerId, ...]:
        """Return whose shares, or first whose signatures, are still out."""
        had = self._own.keys() if self.may_reveal() else self._signatures.keys()
        return tuple(w for w in self._to_come(gone) if w not in had)

    def _to_come(self, gone: Collection[WorkerId]) -> tuple[WorkerId, ...]:
        """Return who has not revealed its shares, and still may."""
        return tuple(w for w in self._silent() if w not in gone)

    def _silent(self) -> tuple[WorkerId, ...]:
        """Return who has neither revealed its shares nor refused to."""
        said = self._own.keys() | self._refused.keys()
        return tuple(w for w in self._survivors if w not in said)

    def missed(self, worker: WorkerId) -> tuple[Message, ...]:
        """Return what a survivor may not have had."""
        if worker not in self._survivors or worker in self._own:
            return ()
        told: tuple[Message, ...] = (Survivors(self._plan.round, self._survivors),)
        if self._lost and self.may_reveal():
            told += (Signatures(self._plan.round, dict(self._signatures)),)
        return told

    def sign(self, worker: WorkerId, signature: bytes) -> Message | None:
        """A survivor signed S; return what to tell all of them once it is enough.

        Raises:
            NotAMemberError: it is no survivor.
            UnexpectedMessageError: S is U2: nothing is to be signed.
            BadSignatureError: the signature is not its own.
        """
        self._check_survivor(worker)
        if not self._lost:
            raise UnexpectedMessageError("every member survived: no list is to be signed")
        if not is_signed(identity_of(self._plan, worker), "list", self._list, signature.hex()):
            raise BadSignatureError(f"{worker}: its signature of the survivors is wrong")
        if self.may_reveal():
            return None  # those that are there are enough, and were sent
        self._signatures[worker] = signature
        if not self.may_reveal():
            return None
        return Signatures(self._plan.round, dict(self._signatures))

    def reveal(
        self, worker: WorkerId, own: Mapping[WorkerId, bytes], mask: Mapping[WorkerId, bytes]
    ) -> None:
        """A survivor revealed its shares.

        Raises:
            NotAMemberError: it is no survivor.
            UnexpectedMessageError: too early, or it revealed others before.
            BadUpdateError: not exactly one share of each member of U2.
            BadShareError: what is no share.
        """
        self._check_survivor(worker)
        if not self.may_reveal():
            raise UnexpectedMessageError(f"{worker} reveals before the survivors are signed")
        if own.keys() != set(self._survivors) or mask.keys() != set(self._lost):
            raise BadUpdateError(f"{worker}: its shares are not one of each member, of one kind")
        x = x_coordinate(worker, self._plan.roster)
        for share in (*own.values(), *mask.values()):
            Share.from_bytes(x, share)  # raises
        if worker in self._own and (self._own[worker], self._mask[worker]) != (own, mask):
            raise UnexpectedMessageError(f"{worker} has already revealed other shares")
        self._own[worker], self._mask[worker] = own, mask

    def refuse(self, worker: WorkerId, why: str) -> None:
        """A survivor will not reveal anything; its upload stays in the sum."""
        self._check_survivor(worker)
        if worker in self._own:
            raise UnexpectedMessageError(f"{worker} cannot refuse once it has revealed its shares")
        self._refused[worker] = why

    def secrets(self) -> Secrets | None:
        """Return what takes the masks off the sum; None while it is not there.

        Shares that did not fit are tried again once there are more of them.
        """
        if not self.revealed or len(self._own) == self._num_tried:
            return None
        self._num_tried = len(self._own)
        own = {j: self._combined(self._own, j, self._is_own(j)) for j in self._survivors}
        lost = {j: self._combined(self._mask, j, self._is_mask_key(j)) for j in self._lost}
        if None in own.values() or None in lost.values():
            return None
        self.done = True
        return Secrets(
            context=context(self._plan, self._answers).hex(),
            own={j: secret.hex() for j, secret in own.items() if secret is not None},
            lost={j: secret.hex() for j, secret in lost.items() if secret is not None},
        )

    def _combined(
        self,
        revealed: Mapping[WorkerId, Mapping[WorkerId, bytes]],
        of: WorkerId,
        is_right: Callable[[bytes], bool],
    ) -> bytes | None:
        shares = [
            Share.from_bytes(x_coordinate(by, self._plan.roster), given[of])
            for by, given in sorted(revealed.items())
        ]
        for some in islice(_sets(shares, self._plan.threshold), MAX_ATTEMPTS):
            try:
                secret = combine(some, self._plan.threshold)
            except BadShareError:
                continue
            if is_right(secret):
                return secret
        return None

    def _is_own(self, worker: WorkerId) -> Callable[[bytes], bool]:
        commitments = self._answers[worker].commitments
        assert commitments is not None  # `check_answer` saw to it
        committed = bytes.fromhex(commitments.own)
        return lambda secret: matches(committed, "commit-self", secret)

    def _is_mask_key(self, worker: WorkerId) -> Callable[[bytes], bool]:
        public = mask_key_of(self._plan, worker)
        return lambda secret: MaskSecretKey(secret).public == public

    def _check_survivor(self, worker: WorkerId) -> None:
        if worker not in self._survivors:
            raise NotAMemberError(f"{worker} is no survivor of round {self._plan.round}")
