"""What a run looks like to people: a read-only picture, for `status` and the live table."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from common.documents import Algorithm, Counters, Evaluation, WorkerCounters
from common.ids import Digest, WorkerId
from common.rounds import Phase
from coordinator.backoff import Backoff
from coordinator.head import RunHead
from coordinator.membership import Member, Membership
from coordinator.offers import Offers
from coordinator.ports import RollbackAsked
from coordinator.round import Round
from coordinator.words import HeadWords


@dataclass(frozen=True, slots=True)
class WorkerStatus:
    """One worker that joined and has not left.

    Args:
        silent_s: since it was last heard.
        version: that it stands on.
        behind: how many versions that is behind the head.
        mean_staleness: commits, mean over its contributions.
        state: "training", "offered", "in round: PHASE" or "lost".
        pending_steps: local steps that no commit holds yet.
        speed: tokens per second; 0 = not measured yet.
        link_bps: upload speed in bits per second; 0 = not measured yet.
        local_steps: H_i.
        contributions: commits that name it a survivor.
    """

    worker: WorkerId
    live: bool
    silent_s: float
    version: int
    behind: int
    mean_staleness: float
    state: str
    pending_steps: int
    speed: int
    link_bps: int
    local_steps: int
    contributions: int


@dataclass(frozen=True, slots=True)
class Status:
    """The run at one instant.

    Args:
        state: "running", "paused", "stopping" or "stopped".
        elapsed_s: led so far, by every coordinator of this run.
        phase: of the open round, else "collecting_offers".
        waiting_for: a sentence: whom or what, and since when.
        waiting_s: since the open round's phase began, else since the last round ended; 0 where an
            operator holds the run, or it is over.
        num_offers: offers waiting.
        evaluation: the newest one, if any.
    """

    state: str
    version: int
    digest: Digest
    num_records: int
    progress: float
    elapsed_s: float
    phase: str
    waiting_for: str
    waiting_s: float
    num_offers: int
    num_aborts: int
    evaluation: Evaluation | None
    counters: Counters
    workers: tuple[WorkerStatus, ...]


def status_of(
    *,
    head: RunHead,
    elapsed_s: float,
    algorithm: Algorithm,
    membership: Membership,
    offers: Offers,
    open_round: Round | None,
    stopping: bool,
    rollback: RollbackAsked | None,
    words: HeadWords,
    backoff: Backoff,
    ending: bool,
    boundary_s: float,
    words_due_s: float,
    now_s: float,
) -> Status:
    """Return the picture of a run; see `Status`.

    Args:
        boundary_s: when the last round ended.
        words_due_s: after so long without a round people are told what to do about words that are
            missing; before, they are on their way.
    """
    since_s = boundary_s if open_round is None else open_round.since_s
    waits = not head.stopped and (open_round is not None or not head.paused_by)
    waiting_s = now_s - since_s if waits else 0.0
    phase = Phase.COLLECTING_OFFERS if open_round is None else open_round.phase
    return Status(
        state=_state(head, stopping=stopping),
        version=head.version,
        digest=head.digest,
        num_records=head.num_records,
        progress=head.progress,
        elapsed_s=elapsed_s,
        phase=phase.value,
        waiting_for=_waiting_for(
            head,
            membership,
            offers,
            open_round,
            rollback,
            _waiting_for_words(words, head, late=now_s >= boundary_s + words_due_s),
            backoff.sentences(now_s),
            ending=ending,
            boundary_s=boundary_s,
            now_s=now_s,
        ),
        waiting_s=waiting_s,
        num_offers=len(offers),
        num_aborts=head.num_aborts,
        evaluation=head.evaluation,
        counters=head.counters,
        workers=tuple(
            _worker(
                member,
                head=head,
                state=_worker_state(member, offers, open_round),
                local_steps=membership.local_steps(member, algorithm),
                now_s=now_s,
            )
            for member in membership.all()
        ),
    )


_WHAT: Final = {
    Phase.SHARE_KEYS: "numbers",
    Phase.COLLECT_MASKED: "uploads",
    Phase.UNMASK: "shares",
    Phase.ENDING: "word that they abandon the round",
}


def _state(head: RunHead, *, stopping: bool) -> str:
    if head.stopped:
        return "stopped"
    if stopping:
        return "stopping"
    return "paused" if head.paused_by else "running"


def _waiting_for(
    head: RunHead,
    membership: Membership,
    offers: Offers,
    open_round: Round | None,
    rollback: RollbackAsked | None,
    words: tuple[str, ...],
    failed: tuple[str, ...],
    *,
    ending: bool,
    boundary_s: float,
    now_s: float,
) -> str:
    since = f"for {now_s - boundary_s:.1f} s"
    if head.stopped:
        return f"nothing: {head.stopped}"
    if open_round is not None:
        return _waiting_for_round(open_round, now_s)
    no_round = f"no round {since}"
    if ending:
        return "; ".join((*words, "the next coordinator: this one is ending", no_round))
    if rollback is not None:
        to = f"version {rollback.version}, to which {rollback.by} rolls back"
        return f"the files of {to}; {no_round}"  # which needs nobody's word
    if head.paused_by:
        return "; ".join((*words, f"resume: paused by {head.paused_by}", no_round))
    lost = (
        f"{m.worker} was last heard {now_s - m.heard_s:.1f} s ago"
        for m in membership.all()
        if not m.live
    )
    live = [m.worker for m in membership.live()]
    waiting = _waiting_for_offers(offers, live, now_s)
    return "; ".join((*words, *failed, waiting, no_round, *lost))


def _waiting_for_round(open_round: Round, now_s: float) -> str:
    since, missing = f"for {now_s - open_round.since_s:.1f} s", open_round.waiting_for()
    unmasking = open_round.unmasking
    if open_round.phase is Phase.UNMASK and (unmasking is None or unmasking.done):
        num_updates = len(open_round.survivors)
        step = f"the sum of {num_updates} updates" if num_updates else "the seal of the spool"
        return f"{step}, {since}"
    if open_round.phase is Phase.COLLECT_MASKED and not open_round.uploads_taken:
        return f"the spool to take uploads, {since}"
    what = _WHAT[open_round.phase]
    if unmasking is not None and not unmasking.may_reveal():
        what = "signatures"
    left_s = max(0.0, open_round.deadline_s - now_s)
    return f"{what} of {', '.join(missing)}, {since}; at most {left_s:.1f} s more"


def _waiting_for_words(words: HeadWords, head: RunHead, *, late: bool) -> tuple[str, ...]:
    """Return whose words the newest version lacks: nobody stands on it before.

    Each good round waits for them for a moment: only where they are `late` is there anything to do.
    """
    if not (needed := words.needed(head)):
        return ()
    missing = ", ".join(words.missing(head))
    sentence = f"the word of {needed} of {missing} for version {head.version}, which they made"
    advice = ": where they are gone for good, roll back to a version before it"
    return (sentence + advice if late else sentence,)


def _waiting_for_offers(offers: Offers, live: Sequence[WorkerId], now_s: float) -> str:
    if not live:
        return "workers: none is live"
    missing = [w for w in live if w not in offers]
    apart = offers.apart(live)
    oldest_s, needed = offers.since_s(), offers.quorum(apart)
    since = "" if oldest_s is None else f"; the oldest waits for {now_s - oldest_s:.1f} s"
    if len(live) < needed:
        return f"more workers: {len(live)} live, {needed} needed{since}"
    if apart < needed:
        return (
            f"workers of more organisations: the {len(live)} live are of {apart}, {needed} needed "
            f"as no sum has two of one{since}"
        )
    have = f"{len(live) - len(missing)} of {len(live)} live have offered, {needed} needed"
    return f"offers of {', '.join(missing) or 'nobody'}; {have}{since}"


def _worker(
    member: Member, *, head: RunHead, state: str, local_steps: int, now_s: float
) -> WorkerStatus:
    counters = head.counters.workers.get(member.worker, WorkerCounters())
    return WorkerStatus(
        worker=member.worker,
        live=member.live,
        silent_s=now_s - member.heard_s,
        version=member.version,
        behind=head.version - member.version,
        mean_staleness=counters.age_256 / 256 / max(1, counters.contributions),
        state=state,
        pending_steps=member.pending_steps,
        speed=member.speed,
        link_bps=member.link_bps,
        local_steps=local_steps,
        contributions=counters.contributions,
    )


def _worker_state(member: Member, offers: Offers, open_round: Round | None) -> str:
    if not member.live:
        return "lost"
    if open_round is not None and member.worker in open_round.cohort.members:
        return f"in round: {open_round.phase.value}"
    return "offered" if member.worker in offers else "training"
