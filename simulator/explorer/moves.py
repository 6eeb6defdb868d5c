"""What a coordinator that does anything can do next to one worker, with what it has been given.

It has seen all that any worker ever sent, holds the keys of members that it invents, keeps every
file, and may tell each worker something else. What it cannot do is sign for a worker, or know a
secret that no share and no message gave it. The lies:

    plan       of the tls tier, too low a threshold, too few, invented members, one whose keys are
               none, a used offer, another base, another plan under the id of the open one
    members    without one, with another's numbers changed, with one's own changed, a share withheld
    survivors  any part of U2, too few of them; with signatures or without
    records    a sum that nobody sent, other numbers, an abort that nothing proves, a roll-back that
               nobody ordered, a version whose files are withheld
    else       a word of another version said again, End at any time, a stream that breaks, silence,
               a pace for each
"""

import functools
import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import combinations
from typing import Final

from common.documents import (
    Abort,
    Answer,
    Attestation,
    Control,
    Numbers,
    Offer,
    OfferKeys,
    Plan,
    Record,
    Rollback,
)
from common.ids import Digest, RoundId, WorkerId
from common.log_head import LogHead
from common.rounds import Rule
from common.secagg.transcript import signed_content
from common.thresholds import threshold
from simulator.explorer.facts import Abandoned, Answered, Listed, Offered, Said
from simulator.explorer.knowledge import Sum
from simulator.explorer.seat import Seat, interned
from simulator.explorer.world import (
    GENESIS,
    INSIDER,
    INVENTED,
    STEPS,
    TIMEOUT_S,
    WORKERS,
    Drawn,
    admits,
    bits_at,
    certificate,
    commit_of,
    made_up_sum,
    numbers,
    record_after,
    sign,
    true_sum,
)
from worker.rounds.attempt import MaskedAttempt, MaskedMember, OfferSecrets
from worker.rounds.ports import (
    Attested,
    Disconnected,
    Ended,
    Event,
    Named,
    Paced,
    Planned,
    Recorded,
    Signed,
    Survived,
    Ticked,
    Welcomed,
)
from worker.rounds.trust import Trust

MOST_HELD: Final = 2
"""Records on top of each other that a worker waits on: more lead to nothing else."""

MOST_OFFERS: Final = 3
"""Of one worker, after which no round is planned with it any more."""

_SILENCE_S: Final = 1e7
_ALL_RULES: Final = frozenset(Rule)


@dataclass(frozen=True)
class Move:
    """One thing that is done to one worker.

    Args:
        name: for people, and to tell moves apart.
        events: what it hears, in this order.
        served: whether files are given to it meanwhile.
        silence_s: how long nothing happened before.
        trains: it trains on instead.
        lie: of which kind; "" = a true coordinator could do it.
    """

    name: str
    events: tuple[Event, ...] = ()
    served: bool = True
    silence_s: float = 0.0
    trains: bool = False
    lie: str = ""


@dataclass(frozen=True)
class Given:
    """What the coordinator has from all workers, by worker.

    Args:
        offers: in the order in which they came.
    """

    offers: Mapping[WorkerId, tuple[Offer, ...]]
    answers: Mapping[Digest, Mapping[WorkerId, Answered]]
    lists: Mapping[Digest, tuple[tuple[WorkerId, Listed], ...]]
    abandons: Mapping[Digest, Mapping[WorkerId, Abandoned]]
    words: tuple[Attestation, ...]

    @classmethod
    def of(cls, seats: Mapping[WorkerId, Seat]) -> "Given":
        """Gather it."""
        offers: dict[WorkerId, tuple[Offer, ...]] = {}
        answers: dict[Digest, dict[WorkerId, Answered]] = {}
        lists: dict[Digest, tuple[tuple[WorkerId, Listed], ...]] = {}
        abandons: dict[Digest, dict[WorkerId, Abandoned]] = {}
        words: list[Attestation] = []
        for name, seat in seats.items():
            for fact in seat.facts.values():
                match fact:
                    case Offered(offer=offer):
                        offers[name] = (*offers.get(name, ()), offer)
                    case Answered():
                        answers.setdefault(interned(fact.plan), {})[name] = fact
                    case Listed():
                        digest = interned(fact.plan)
                        lists[digest] = (*lists.get(digest, ()), (name, fact))
                    case Abandoned():
                        abandons.setdefault(interned(fact.plan), {})[name] = fact
                    case Said(word=word):
                        words.append(word)
        return cls(offers, answers, lists, abandons, tuple(words))


def moves(seat: Seat, given: Given, sums: Sequence[Sum]) -> Iterator[Move]:
    """Yield what can be done to a worker.

    Args:
        sums: what it can compute.
    """
    if seat.ended:
        return
    if not seat.conduct.connected:
        yield _welcome(seat)
        return
    yield from _plans(seat, given)
    yield from _in_a_round(seat, given)
    yield from _records(seat, given, sums)
    heard = [w for w in given.words if w.worker != seat.name]
    if heard and seat.holds:
        yield Move("words", tuple(map(Attested, heard)))
    if not seat.frozen and seat.pending and seat.steps == STEPS:
        yield Move("trains on", trains=True, lie="unequal pace")
    if seat.frozen:
        yield Move("silence", (Ticked(),), silence_s=_SILENCE_S, lie="silence")
    least = GENESIS.algorithm.min_local_steps
    yield Move("pause", (Paced(least, True, ""),), lie="unequal pace")
    broken = _welcome(seat)
    yield Move("break, welcome", (Disconnected(), *broken.events), lie="broken stream")


def _welcome(seat: Seat) -> Move:
    """A session in which it is shown what it has followed already."""
    at = seat.conduct.position if seat.conduct.begun else None
    num = 1 if at is None else at.next_seq
    return Move("welcome", (Welcomed(first_record(), num),))


@functools.cache
def first_record() -> Record:
    """Return record 0 of every log."""
    return record_after(LogHead.of(GENESIS), control=Control("resume", "eve", ""))


# Plans ------------------------------------------------------------------------------------------


def _plans(seat: Seat, given: Given) -> Iterator[Move]:
    me = seat.name
    newest = {w: offers[-1] for w, offers in given.offers.items()}
    if (own := newest.get(me)) is None or len(given.offers[me]) > MOST_OFFERS:
        return
    others = [newest[w] for w in WORKERS if w in newest and w != me]
    alike = [o for o in others if (o.version, o.digest) == (own.version, own.digest)]
    for num in range(2, len(alike) + 1):
        for some in combinations(alike, num):
            yield _plan("plan", (own, *some))
    full = (own, *alike)
    if len(full) >= GENESIS.algorithm.min_cohort:
        yield _plan("plan of tier tls", full, tier="tls")
        lower = threshold(len(full), 0, GENESIS.algorithm.min_cohort) - 1
        yield _plan("plan with a low threshold", full, threshold=lower)
    for other in alike[:1]:
        yield _plan("plan of two", (own, other), threshold=2)
    yield _plan("plan with invented members", (own, *_invented(own)))
    if len(full) >= GENESIS.algorithm.min_cohort - 1:
        yield _plan("plan with a member whose keys are none", (*full, _keyless(own)))
    if others and len(alike) < len(others) and len(others) >= 2:
        yield _plan("plan across versions", (own, *others))
    used = given.offers[me][:-1]
    for former in used[-1:]:
        yield _plan("plan with a used offer", (former, *others))
    if len(others) >= 2 and (stage := seat.conduct.part.round.stage) is not None:
        yield _plan("another plan under its id", full, round=stage.plan.round, hours=1.0)
        yield _plan("plan with its offer again", stage.plan.offers, hours=2.0)


def _plan(name: str, offers: tuple[Offer, ...], **changes: object) -> Move:
    """Return a plan; one of more words than that is a lie of its own kind."""
    ordered = tuple(sorted(offers, key=lambda o: o.worker))
    base = offers[0]
    fragment, bits = bits_at(base.digest)
    spoken = "/".join((name, *(o.nonce for o in ordered)))
    plan = Plan(
        run=GENESIS.run,
        round=RoundId(hashlib.sha256(spoken.encode()).hexdigest()[:32]),
        tier="masked",
        version=base.version,
        digest=base.digest,
        fragment=fragment,
        bits=bits,
        threshold=threshold(len(ordered), 0, GENESIS.algorithm.min_cohort),
        live_speed=sum(o.speed for o in ordered),
        num_live=len(ordered),
        hours=0.0,
        key_timeout_s=TIMEOUT_S,
        upload_timeout_s=TIMEOUT_S,
        offers=ordered,
    )
    plan = replace(plan, **changes)  # type: ignore[arg-type]
    lie = "" if name == "plan" else name
    return Move(f"{name}: {','.join(plan.roster)}", (Planned(plan),), lie=lie)


@functools.cache
def _secrets(name: str) -> OfferSecrets:
    return OfferSecrets.drawn(Drawn(f"invented {name}"))


_offers: dict[Digest, tuple[Offer, ...]] = {}


def _invented(like: Offer) -> tuple[Offer, ...]:
    """Return offers of members that the coordinator makes up, on the same version."""
    if (digest := interned(like)) not in _offers:
        _offers[digest] = _made_up(like)
    return _offers[digest]


@functools.cache
def _keyless_of(version: int, digest: Digest) -> Offer:
    offer = Offer(GENESIS.run, INSIDER, "0" * 16, "0" * 32, version, digest, 1, 1.0, 0, 1, 1, 0)
    nothing = "00" * 32  # of small order: every secret with it is zeros
    keys = OfferKeys(nothing, "01" + "00" * 31, certificate(INSIDER))
    unsigned = replace(offer, keys=keys)
    signature = sign(INSIDER, "offer", signed_content(unsigned))
    return replace(unsigned, signature=signature.hex())


def _keyless(like: Offer) -> Offer:
    """Return an admitted member's offer on the same version, whose keys give no secret."""
    return _keyless_of(like.version, like.digest)


def _made_up(like: Offer) -> tuple[Offer, ...]:
    return tuple(_invented_offer(w, replace(like, keys=None, signature=None)) for w in INVENTED)


def _invented_offer(name: WorkerId, like: Offer) -> Offer:
    unsigned = replace(like, worker=name, nonce=hashlib.sha256(name.encode()).hexdigest()[:32])
    signer = functools.partial(sign, str(name))
    return _secrets(name).sign(unsigned, certificate(name), signer)


_answers: dict[Digest, dict[WorkerId, tuple[Answer, Mapping[WorkerId, bytes]]]] = {}


def _invented_answers(
    plan: Plan,
) -> Mapping[WorkerId, tuple[Answer, Mapping[WorkerId, bytes]]]:
    """Return what the coordinator answers a plan with, for the members that it invented."""
    digest = interned(plan)
    if digest not in _answers:
        _answers[digest] = {}
        for name in INVENTED:
            if name in plan.roster:
                signer, drawn = functools.partial(sign, str(name)), Drawn(f"{name} in {digest}")
                trust, algorithm = Trust(), GENESIS.algorithm
                member = MaskedMember(name, algorithm, trust, admits, signer, drawn, _ALL_RULES)
                attempt = MaskedAttempt(member, plan, _secrets(name))
                _answers[digest][name] = attempt.answer(numbers(STEPS, 0))
    return _answers[digest]


# In a round -------------------------------------------------------------------------------------


def _in_a_round(seat: Seat, given: Given) -> Iterator[Move]:
    stage = seat.conduct.part.round.stage
    if stage is None or stage.answer is None:
        return
    plan, me = stage.plan, seat.name
    digest = interned(plan)
    answers = {w: f.answer for w, f in given.answers.get(digest, {}).items()}
    sealed = {w: f.sealed for w, f in given.answers.get(digest, {}).items()}
    for worker, (answer, shares) in _invented_answers(plan).items():
        answers[worker], sealed[worker] = answer, shares
    for_me = {w: s[me] for w, s in sealed.items() if w != me and me in s}
    if me in answers and not seat.conduct.part.round.stage.revealed:  # type: ignore[union-attr]
        yield from _members(plan, me, answers, for_me)
    yield Move("end", (Ended(plan.round),))
    if stage.exposed:
        u2 = tuple(sorted(stage.answers))
        yield from _survivors(plan, me, u2)
        yield from _signatures(plan, given.lists.get(digest, ()))


def _members(
    plan: Plan, me: WorkerId, answers: Mapping[WorkerId, Answer], sealed: Mapping[WorkerId, bytes]
) -> Iterator[Move]:
    def told(name: str, u2: Mapping[WorkerId, Answer], shares: Mapping[WorkerId, bytes]) -> Move:
        within = {w: s for w, s in shares.items() if w in u2}
        who = ",".join(sorted(u2))
        event = Named(plan.round, dict(sorted(u2.items())), within)
        return Move(f"{name}: {who}", (event,), lie="" if name == "members" else "members")

    others = sorted(answers.keys() - {me})
    yield told("members", answers, sealed)
    for lost in others:
        fewer = {w: a for w, a in answers.items() if w != lost}
        name = "members" if len(fewer) >= plan.threshold else "too few members"
        yield told(name, fewer, sealed)
    full = len(answers) >= plan.threshold
    for other in others[:1] if full else ():
        changed = _other_numbers(answers[other])
        yield told(f"members, numbers of {other} changed", {**answers, other: changed}, sealed)
        held = {w: s for w, s in sealed.items() if w != other}
        yield told(f"members, share of {other} withheld", answers, held)
    if full:
        own = _other_numbers(answers[me])
        yield told("members, its own numbers changed", {**answers, me: own}, sealed)


def _other_numbers(answer: Answer) -> Answer:
    changed: Numbers = replace(answer.numbers, lr_sum=10 * answer.numbers.lr_sum)
    return replace(answer, numbers=changed)


def _survivors(plan: Plan, me: WorkerId, u2: tuple[WorkerId, ...]) -> Iterator[Move]:
    lists = [u2, *(tuple(w for w in u2 if w != lost) for lost in u2 if lost != me)]
    if len(u2) > 1:
        lists.append(tuple(sorted({me, next(w for w in u2 if w != me)})))
    for survivors in dict.fromkeys(lists):
        name = f"survivors: {','.join(survivors)}"
        lie = "" if len(survivors) >= plan.threshold else "too few survivors"
        yield Move(name, (Survived(plan.round, survivors),), lie=lie)


def _signatures(plan: Plan, lists: tuple[tuple[WorkerId, Listed], ...]) -> Iterator[Move]:
    yield Move("signatures: of nobody", (Signed(plan.round, {}),), lie="signatures")
    by_list: dict[tuple[WorkerId, ...], dict[WorkerId, bytes]] = {}
    for worker, fact in lists:
        by_list.setdefault(fact.survivors, {})[worker] = fact.signature
    for survivors, signed in by_list.items():
        who = ",".join(sorted(signed))
        yield Move(f"signatures of {','.join(survivors)}: by {who}", (Signed(plan.round, signed),))


# The log ----------------------------------------------------------------------------------------


def _records(seat: Seat, given: Given, sums: Sequence[Sum]) -> Iterator[Move]:
    if not seat.conduct.begun or seat.holds > MOST_HELD:
        return
    head = LogHead.at(seat.log[-1])
    words = _words(seat, given)
    for name, record, lie in _next_records(seat, given, head, words, sums):
        yield Move(name, (Recorded(record),), lie=lie)
        if record.commit is not None or record.rollback is not None:
            withheld = f"{name}, its files withheld"
            kinds = "+".join(filter(None, (lie, "withheld files")))
            yield Move(withheld, (Recorded(record),), served=False, lie=kinds)


def _words(seat: Seat, given: Given) -> Mapping[WorkerId, str] | None:
    """Return the words that the next record can bear: about the newest commit of this log."""
    about = next((r for r in reversed(seat.log) if r.commit is not None), None)
    if about is None or about.commit is None:
        return None
    plan = interned(about.commit.plan)
    found = {
        w.worker: w.signature
        for w in given.words
        if (w.plan, w.version, w.digest) == (plan, about.version, about.digest) and w.signature
    }
    return found or None


def _next_records(
    seat: Seat,
    given: Given,
    head: LogHead,
    words: Mapping[WorkerId, str] | None,
    sums: Sequence[Sum],
) -> Iterator[tuple[str, Record, str]]:
    for digest, by_worker in given.answers.items():
        plan = next(iter(by_worker.values())).plan
        if (plan.version, plan.digest) == (head.version, head.digest):
            yield from _commits(plan, given, digest, head, words, sums)
        stage = seat.conduct.part.round.stage
        if stage is not None and stage.plan == plan:
            signed = {w: f.signature.hex() for w, f in given.abandons.get(digest, {}).items()}
            abort = Abort(plan.round, plan.roster, "stopped", "", signed or None)
            by = ",".join(sorted(signed)) or "nobody"
            name = f"abort of {','.join(plan.roster)}, abandoned by {by}"
            yield name, record_after(head, abort=abort, words=words), ""
    if head.version > 0 and not seat.holds:
        back = Rollback(0, 0, "eve")
        record = record_after(head, rollback=back, digest=GENESIS.version0, words=words)
        yield "roll-back to version 0", record, "forged record"
    if words and set(words) - {w for r in seat.log for w in r.words or ()}:
        told = record_after(head, control=Control("resume", "eve", ""), words=words)
        yield "words", told, ""


def _commits(
    plan: Plan,
    given: Given,
    digest: Digest,
    head: LogHead,
    words: Mapping[WorkerId, str] | None,
    sums: Sequence[Sum],
) -> Iterator[tuple[str, Record, str]]:
    told = {w: f.answer.numbers for w, f in given.answers[digest].items()}
    lists = given.lists.get(digest, ())
    if len(told) < plan.threshold:
        return
    everybody = tuple(sorted(told))
    crafted = commit_of(plan, told, everybody, made_up_sum(plan))
    name = f"commit of a made-up sum of {','.join(everybody)}"
    yield name, record_after(head, commit=crafted, words=words), "forged record"
    for found in sums:
        if interned(found.plan) != digest:
            continue
        told = dict(found.told)
        survivors = tuple(sorted(found.group | set(INVENTED) & found.told.keys()))
        signed = {w: f.signature.hex() for w, f in lists if f.survivors == survivors}
        aggregate = true_sum(plan, found.kappa, survivors)
        who = ",".join(survivors)
        made = commit_of(plan, told, survivors, aggregate, signed or None)
        yield f"commit of {who}", record_after(head, commit=made, words=words), ""
        other = {w: replace(n, lr_sum=2 * n.lr_sum) for w, n in told.items()}
        wrong = commit_of(plan, other, survivors, aggregate, signed or None)
        name = f"commit of {who} with other numbers"
        yield name, record_after(head, commit=wrong, words=words), "invented number"
