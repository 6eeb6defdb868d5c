"""One move, and what a coordinator has been given by all workers: moves are made of it."""

from collections.abc import Mapping
from dataclasses import dataclass

from common.documents import Attestation, Offer
from common.ids import Digest, WorkerId
from simulator.explorer.facts import AbandonFact, AnswerFact, ListFact, OfferFact, WordFact
from simulator.explorer.seat import Seat
from simulator.explorer.storing import interned
from worker.rounds.ports import Event


@dataclass(frozen=True)
class Move:
    """One thing that is done to one worker.

    Args:
        name: for people, and to tell moves apart.
        events: what it hears, in this order.
        served: whether files are given to it meanwhile.
        silence_s: how long nothing happened before.
        trains: it trains on instead.
        slowly: what it encodes meanwhile is not done by then.
        lie: of which kind; "" = a true coordinator could do it.
    """

    name: str
    events: tuple[Event, ...] = ()
    served: bool = True
    silence_s: float = 0.0
    trains: bool = False
    slowly: bool = False
    lie: str = ""


@dataclass(frozen=True)
class Given:
    """What the coordinator has from all workers, by worker.

    Args:
        offers: in the order in which they came.
    """

    offers: Mapping[WorkerId, tuple[Offer, ...]]
    answers: Mapping[Digest, Mapping[WorkerId, AnswerFact]]
    lists: Mapping[Digest, tuple[tuple[WorkerId, ListFact], ...]]
    abandons: Mapping[Digest, Mapping[WorkerId, AbandonFact]]
    words: tuple[Attestation, ...]

    @classmethod
    def of(cls, seats: Mapping[WorkerId, Seat]) -> "Given":
        """Gather it."""
        offers: dict[WorkerId, tuple[Offer, ...]] = {}
        answers: dict[Digest, dict[WorkerId, AnswerFact]] = {}
        lists: dict[Digest, tuple[tuple[WorkerId, ListFact], ...]] = {}
        abandons: dict[Digest, dict[WorkerId, AbandonFact]] = {}
        words: list[Attestation] = []
        for name, seat in seats.items():
            for fact in seat.facts.values():
                match fact:
                    case OfferFact(offer=offer):
                        offers[name] = (*offers.get(name, ()), offer)
                    case AnswerFact():
                        answers.setdefault(interned(fact.plan), {})[name] = fact
                    case ListFact():
                        digest = interned(fact.plan)
                        lists[digest] = (*lists.get(digest, ()), (name, fact))
                    case AbandonFact():
                        abandons.setdefault(interned(fact.plan), {})[name] = fact
                    case WordFact(word=word):
                        words.append(word)
        return cls(offers, answers, lists, abandons, tuple(words))
