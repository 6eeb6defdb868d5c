"""Which plans a coordinator can tell one worker: true ones, and those that it should refuse."""

import functools
import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import replace
from itertools import combinations
from typing import Final

from common.documents import Answer, Offer, OfferKeys, Plan
from common.ids import Digest, RoundId, WorkerId
from common.rounds import Rule
from common.secagg.transcript import signed_content
from common.thresholds import threshold
from simulator.drawn import Drawn, certificate
from simulator.explorer.given import Given, Move
from simulator.explorer.seat import Seat
from simulator.explorer.storing import interned
from simulator.explorer.world import (
    GENESIS,
    INSIDER,
    INVENTED,
    MODELS,
    STEPS,
    TIMEOUT_S,
    WORKERS,
    admits,
    bits_at,
    commit_of,
    made_up_sum,
    numbers,
    sign,
)
from worker.rounds.attempt import MaskedAttempt, MaskedMember, OfferSecrets
from worker.rounds.ports import Planned
from worker.rounds.trust import Trust

MOST_OFFERS: Final = 3
"""Of one worker, after which no round is planned with it any more."""

_ALL_RULES: Final = frozenset(Rule)


def plans(seat: Seat, given: Given) -> Iterator[Move]:
    """Yield the plans that a worker can be told: of open offers, and of others."""
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
        honest = _honest(full)
        base = MODELS.after(own.digest, commit_of(honest, {}, (), made_up_sum(honest)))
        yield _plan("plan on another base", full, version=own.version + 1, digest=base)
    for other in alike[:1]:
        yield _plan("plan of two", (own, other), threshold=2)
    yield _plan("plan with invented members", (own, *_invented(own)))
    if len(full) >= GENESIS.algorithm.min_cohort - 1:
        yield _plan("plan with a member whose keys are none", (*full, _keyless(own)))
    if others and len(alike) < len(others) and len(others) >= 2:
        yield _plan("plan across versions", (own, *others))
    first = {
        w: offer
        for w, offers in given.offers.items()
        for offer in reversed(offers)
        if w != me and (offer.version, offer.digest) == (own.version, own.digest)
    }
    former = list(first.values())
    if len(former) >= 2 and former != alike:
        yield _plan("plan with others' former offers", (own, *former))
    for spent in given.offers[me][-2:-1]:
        yield _plan("plan with a used offer", (spent, *others))
    if len(others) >= 2 and (stage := seat.conduct.part.round.stage) is not None:
        yield _plan("another plan under its id", full, round=stage.plan.round, hours=1.0)
        yield _plan("plan with its offer again", stage.plan.offers, hours=2.0)


def _honest(offers: tuple[Offer, ...]) -> Plan:
    (event,) = _plan("plan", offers).events
    assert isinstance(event, Planned)
    return event.plan


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


def invented_answers(
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
