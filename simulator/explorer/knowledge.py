"""What can be computed from all that workers let out, and whether that breaks a promise.

An upload is x_i under PRG(self_i) and one PRG(pair_ij) for each other j of the U2 that i was told;
all of them are bound to that U2 and its answers, so uploads can only be added up where these are
the same. self_i follows from t shares of b_i, pair_ij from t shares of the mask key of i or of j.
So members whose pair masks are unknown hang together, and a sum can be computed of exactly those
groups that hang together, whose selves are known and who have all uploaded. An invented member's
secrets, and the shares that were sealed for it, are known.

The promises are those of docs/simulation.md, (v) and (viii), and two more: a worker ends by no
error that is none of its own, and nobody's work is weighed by numbers that it did not answer with.
"""

from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import combinations

from common.documents import Numbers, Plan
from common.ids import Digest, WorkerId
from common.thresholds import abandons_needed, words_needed
from common.weight.weights import influence
from simulator.explorer.facts import (
    AbandonFact,
    AnswerFact,
    Fact,
    FailureFact,
    ListFact,
    OfferFact,
    RevealFact,
    StandFact,
    UploadFact,
    WordFact,
)
from simulator.explorer.storing import interned
from simulator.explorer.world import GENESIS, INVENTED, MODELS

_A = GENESIS.algorithm
_SLACK = 0.002


@dataclass(frozen=True)
class Sum:
    """What can be computed of one round.

    Args:
        told: U2 with its numbers.
        kappa: of the members, hexadecimal.
        group: whose updates are in it.
        pieces: of work.
    """

    plan: Plan
    told: Mapping[WorkerId, Numbers]
    kappa: str
    group: frozenset[WorkerId]
    pieces: frozenset[tuple[WorkerId, int]]


class Knowledge:
    """All facts of a state, by what they are about.

    Args:
        most_share: how much of a sum every worker's own file lets one member be.
    """

    def __init__(self, facts: Mapping[WorkerId, Mapping[str, Fact]], most_share: float) -> None:
        self._most_share = most_share
        self.uploads: list[tuple[WorkerId, UploadFact]] = []
        self.answers: dict[Digest, dict[WorkerId, AnswerFact]] = defaultdict(dict)
        self.own: dict[tuple[Digest, WorkerId], set[WorkerId]] = defaultdict(set)
        self.mask: dict[tuple[Digest, WorkerId], set[WorkerId]] = defaultdict(set)
        self.lists: dict[Digest, dict[tuple[WorkerId, ...], set[WorkerId]]] = defaultdict(dict)
        self.answered_lists: dict[tuple[Digest, WorkerId], set[tuple[WorkerId, ...]]]
        self.answered_lists = defaultdict(set)
        self.kinds: dict[tuple[Digest, WorkerId, WorkerId], set[str]] = defaultdict(set)
        self.abandoned: dict[Digest, set[WorkerId]] = defaultdict(set)
        self.words: dict[tuple[int, Digest], set[WorkerId]] = defaultdict(set)
        self.word_of: dict[tuple[Digest, WorkerId], set[tuple[int, Digest]]] = defaultdict(set)
        self.stands: dict[tuple[int, Digest], str] = {}
        self.failed: list[str] = []
        self.plans: dict[Digest, Plan] = {}
        self.used: dict[tuple[WorkerId, str], set[Digest]] = defaultdict(set)
        for worker, told in facts.items():
            for fact in told.values():
                self._take(worker, fact)

    def _take(self, worker: WorkerId, fact: Fact) -> None:
        match fact:
            case OfferFact(offer=o):
                self.stands.setdefault((o.version, o.digest), f"{worker} offers on")
            case AnswerFact(plan=plan):
                digest = interned(plan)
                self.answers[digest][worker] = fact
                self.plans[digest] = plan
                (nonce,) = (o.nonce for o in plan.offers if o.worker == worker)
                self.used[worker, nonce].add(digest)
            case UploadFact():
                self.uploads.append((worker, fact))
            case ListFact(plan=plan, survivors=survivors):
                digest = interned(plan)
                self.lists[digest].setdefault(survivors, set()).add(worker)
                self.answered_lists[digest, worker].add(survivors)
            case RevealFact(plan=plan, own=own, mask=mask):
                digest = interned(plan)
                for kind, shares in (("own", own), ("mask", mask)):
                    for of in shares:
                        (self.own if kind == "own" else self.mask)[digest, of].add(worker)
                        self.kinds[digest, worker, of].add(kind)
                self.answered_lists[digest, worker].add(tuple(sorted(own)))
            case AbandonFact(plan=plan):
                self.abandoned[interned(plan)].add(worker)
            case WordFact(word=word):
                self.words[word.version, word.digest].add(worker)
                self.word_of[word.plan, worker].add((word.version, word.digest))
            case StandFact(version=version, digest=digest):
                self.stands.setdefault((version, digest), f"{worker} trains on")
            case FailureFact(sentence=sentence):
                self.failed.append(f"{worker} ends by an error that is none of its own: {sentence}")

    # What can be computed -------------------------------------------------------------------------

    def sums(self) -> list[Sum]:
        """Return every sum that can be computed, of the fewest members each."""
        rounds: dict[tuple[Digest, str], dict[WorkerId, UploadFact]] = defaultdict(dict)
        for worker, upload in self.uploads:
            rounds[interned(upload.plan), upload.kappa][worker] = upload
        return [s for (digest, _), round_ in rounds.items() for s in self._sums(digest, round_)]

    def _sums(self, digest: Digest, uploads: Mapping[WorkerId, UploadFact]) -> Iterator[Sum]:
        first = next(iter(uploads.values()))
        plan, honest = first.plan, [w for w in first.told if w not in INVENTED]
        open_keys = {w for w in honest if self._mask_key_is_known(plan, w)}
        closed = frozenset(w for w in honest if w not in open_keys)
        groups = [frozenset({w}) for w in open_keys] + ([closed] if closed else [])
        for group in groups:
            if group <= uploads.keys() and all(self._self_is_known(digest, plan, w) for w in group):
                pieces = {(w, piece) for w in group for piece in uploads[w].pieces}
                yield Sum(plan, first.told, first.kappa, group, frozenset(pieces))

    def _self_is_known(self, digest: Digest, plan: Plan, of: WorkerId) -> bool:
        held = len(self.own[digest, of]) + self._num_invented(digest, plan, of)
        return held >= plan.threshold

    def _mask_key_is_known(self, plan: Plan, of: WorkerId) -> bool:
        """A key that was offered once and is in two plans is known by the shares of either."""
        nonce = next(o.nonce for o in plan.offers if o.worker == of)
        for digest, other in self.plans.items():
            if any((o.worker, o.nonce) == (of, nonce) for o in other.offers):
                held = len(self.mask[digest, of]) + self._num_invented(digest, other, of)
                if held >= other.threshold:
                    return True
        return False

    def _num_invented(self, digest: Digest, plan: Plan, of: WorkerId) -> int:
        if of not in self.answers[digest]:
            return 0
        return len(set(INVENTED) & set(plan.roster))

    # What was promised ----------------------------------------------------------------------------

    def broken(self, sums: list[Sum]) -> str:
        """Return which promise is broken; "" if none is."""
        for complaint in self._complaints(sums):
            return complaint
        return ""

    def _complaints(self, sums: list[Sum]) -> Iterator[str]:
        yield from self.failed
        yield from self._of_sums(sums)
        yield from self._of_uploads()
        yield from self._of_unmasking()
        yield from self._of_versions()

    def _of_sums(self, sums: list[Sum]) -> Iterator[str]:
        fewest = _A.min_cohort - _A.colluding
        for s in sums:
            names = " + ".join(sorted(s.group))
            if len(s.group) < fewest:
                yield f"(v) {names} alone can be computed"
            v = influence(s.told, _A, s.plan.threshold)
            total = sum(v[w] for w in s.group)
            for w in sorted(s.group):
                if v[w] > (self._most_share + _SLACK) * total:
                    yield f"(v) {w} is {v[w] / total:.2f} of what can be computed of {names}"
            bases = {self.answers[interned(s.plan)][w].base for w in s.group}
            if len(bases) > 1:
                yield f"(v) the members of {names} stood on {len(bases)} versions"
        for one, other in combinations(sums, 2):
            if one.pieces & other.pieces:
                both = ", ".join(f"{w}'s work" for w, _ in sorted(one.pieces & other.pieces))
                yield f"(v) {both} is in two sums that can be computed"

    def _of_uploads(self) -> Iterator[str]:
        for (worker, _), plans in self.used.items():
            if len(plans) > 1:
                yield f"(v) {worker} answers two plans with the keys of one offer"
        for worker, upload in self.uploads:
            answers = self.answers[interned(upload.plan)]
            for other, numbers in upload.told.items():
                if other in answers and answers[other].answer.numbers != numbers:
                    yield f"(v) {worker} weighs its work by numbers that {other} did not send"
            if answers[worker].base != (upload.plan.version, upload.plan.digest):
                yield f"(v) {worker} uploads work to a round on another version than its own"
            if answers[worker].answer.numbers.age_256 > 256 * _A.max_staleness:
                yield f"(v) {worker} uploads work that is too old"
        for (worker, one), (other, two) in combinations(self.uploads, 2):
            if worker != other or not one.pieces & two.pieces:
                continue
            if not (self._is_freed(worker, one.plan) or self._is_freed(worker, two.plan)):
                yield f"(v) {worker} uploads work again, and nothing proves that it stays hidden"
            if (one.plan, one.kappa) == (two.plan, two.kappa):
                yield f"(v) {worker} sends two payloads under one mask"

    def _is_freed(self, worker: WorkerId, plan: Plan) -> bool:
        """Return whether enough members have said that a worker stays hidden in a round."""
        digest, num = interned(plan), len(plan.offers)
        if len(self.abandoned[digest]) >= abandons_needed(num, _A.colluding, plan.threshold):
            return True
        without = (by for s, by in self.lists[digest].items() if worker not in s)
        return any(len(by) >= plan.threshold for by in without)

    def _of_unmasking(self) -> Iterator[str]:
        for (digest, worker), lists in self.answered_lists.items():
            if len(lists) > 1:
                yield f"(v) {worker} answers two lists of survivors"
            revealed = any(by == worker and told == digest for told, by, _ in self.kinds)
            if revealed and worker in self.abandoned[digest]:
                yield f"(v) {worker} abandons a round and reveals shares of it"
        for (_, worker, of), kinds in self.kinds.items():
            if len(kinds) > 1:
                yield f"(v) {worker} reveals both kinds of share of {of}"

    def _of_versions(self) -> Iterator[str]:
        for (_, worker), said in self.word_of.items():
            if len(said) > 1:
                yield f"(viii) {worker} vouches for two versions of one round"
            for version, digest in said:
                yield from self._made_of(f"{worker} vouches for", version, digest)
        for (version, digest), who in self.stands.items():
            if (version, digest) == (0, GENESIS.version0):
                continue
            yield from self._made_of(who, version, digest)
            made = MODELS.made.get(digest)
            needed = 1 if made is None else words_needed(len(made.plan.offers), _A.colluding)
            if len(self.words[version, digest]) < needed:
                num = len(self.words[version, digest])
                yield f"(viii) {who} version {version} on {num} words, {needed} are needed"

    def _made_of(self, who: str, version: int, digest: Digest) -> Iterator[str]:
        """Complain of a version that is not what its members sent, weighed as they answered."""
        if (made := MODELS.made.get(digest)) is None:
            yield f"(viii) {who} version {version}, which no round made"
            return
        answers = self.answers[interned(made.plan)]
        for worker, numbers in made.numbers.items():
            if worker in answers and answers[worker].answer.numbers != numbers:
                yield f"(viii) {who} version {version}, of numbers that {worker} did not send"
