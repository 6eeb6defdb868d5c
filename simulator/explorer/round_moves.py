"""What a coordinator can tell one worker inside a round: members, survivors, signatures, an end."""

from collections.abc import Iterator, Mapping
from dataclasses import replace
from itertools import combinations

from common.documents import Answer, Numbers, Plan
from common.ids import WorkerId
from simulator.explorer.facts import ListFact
from simulator.explorer.given import Given, Move
from simulator.explorer.plans import invented_answers
from simulator.explorer.seat import Seat
from simulator.explorer.storing import interned
from worker.rounds.ports import Ended, Named, Signed, Survived


def in_a_round(seat: Seat, given: Given) -> Iterator[Move]:
    """Yield what a worker can be told of its round."""
    stage = seat.conduct.part.round.stage
    if stage is None or stage.answer is None:
        return
    plan, me = stage.plan, seat.name
    digest = interned(plan)
    answers = {w: f.answer for w, f in given.answers.get(digest, {}).items()}
    sealed = {w: f.sealed for w, f in given.answers.get(digest, {}).items()}
    for worker, (answer, shares) in invented_answers(plan).items():
        answers[worker], sealed[worker] = answer, shares
    for_me = {w: s[me] for w, s in sealed.items() if w != me and me in s}
    if me in answers and not stage.revealed:
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
    full = told("members", answers, sealed)
    yield full
    slow = f"{full.name}, encoded later"
    yield Move(slow, full.events, lie="slow encoding", slowly=True)
    for lost in others:
        fewer = {w: a for w, a in answers.items() if w != lost}
        name = "members" if len(fewer) >= plan.threshold else "too few members"
        yield told(name, fewer, sealed)
    enough = len(answers) >= plan.threshold
    for other in others[:1] if enough else ():
        changed = _other_numbers(answers[other])
        yield told(f"members, numbers of {other} changed", {**answers, other: changed}, sealed)
        held = {w: s for w, s in sealed.items() if w != other}
        yield told(f"members, share of {other} withheld", answers, held)
    if enough:
        own = _other_numbers(answers[me])
        yield told("members, its own numbers changed", {**answers, me: own}, sealed)


def _other_numbers(answer: Answer) -> Answer:
    changed: Numbers = replace(answer.numbers, tokens=10 * answer.numbers.tokens)
    return replace(answer, numbers=changed)


def _survivors(plan: Plan, me: WorkerId, u2: tuple[WorkerId, ...]) -> Iterator[Move]:
    others = [w for w in u2 if w != me]
    sizes = range(len(others), plan.threshold - 2, -1)
    lists = [tuple(sorted((me, *some))) for n in sizes for some in combinations(others, n)]
    lists.append(tuple(sorted((me, *others[:1]))))
    for survivors in dict.fromkeys(lists):
        name = f"survivors: {','.join(survivors)}"
        lie = "" if len(survivors) >= plan.threshold else "too few survivors"
        yield Move(name, (Survived(plan.round, survivors),), lie=lie)


def _signatures(plan: Plan, lists: tuple[tuple[WorkerId, ListFact], ...]) -> Iterator[Move]:
    yield Move("signatures: of nobody", (Signed(plan.round, {}),), lie="signatures")
    by_list: dict[tuple[WorkerId, ...], dict[WorkerId, bytes]] = {}
    for worker, fact in lists:
        by_list.setdefault(fact.survivors, {})[worker] = fact.signature
    for survivors, signed in by_list.items():
        who = ",".join(sorted(signed))
        yield Move(f"signatures of {','.join(survivors)}: by {who}", (Signed(plan.round, signed),))
