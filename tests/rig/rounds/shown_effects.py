"""A worker's effects as lines for people: what is in them that a reader has to see."""

import re
from collections.abc import Iterable, Mapping
from typing import assert_never

from common.documents import Attestation, Offer, Record
from common.ids import WorkerId
from worker.rounds.ports import (
    Abandon,
    BeginTraining,
    Believed,
    CancelUpload,
    Check,
    Effect,
    Encode,
    Finish,
    FollowRecords,
    ForgetState,
    Freeze,
    JudgePlan,
    Message,
    MoveTo,
    Note,
    Push,
    Redial,
    Refuse,
    RetryHead,
    SaveState,
    Send,
    SetBounds,
    Settle,
    StartAt,
    SubmitAnswer,
    SubmitShares,
    SubmitSignature,
    WriteStage,
)
from worker.rounds.round import Stage


def named_rounds(text: str) -> str:
    """Return a text with rounds' ids as r1, r2, ..."""
    return re.sub(r"\b0{6}([0-9a-f]{2})(?:0{24})?\b", lambda m: f"r{int(m[1], 16)}", text)


def shown(effect: Effect) -> str:
    """Return an effect as a line."""
    match effect:
        case Send(message):
            return f"send {_message(message)}"
        case Redial():
            return "redial"
        case JudgePlan(plan):
            return f"judge plan {plan.round}"
        case Freeze(round_):
            return f"freeze {round_}"
        case WriteStage(stage):
            return f"write stage {_stage(stage)}"
        case Encode(plan, numbers):
            return f"encode {plan.round} of {','.join(numbers)}"
        case Push(round_):
            return f"push {round_}"
        case CancelUpload():
            return "cancel upload"
        case Settle(round_, fate):
            return f"settle {round_} {fate.value}"
        case Check(record):
            return f"check sum and step of {_record(record)}"
        case StartAt(record):
            return f"start at {_record(record)}"
        case FollowRecords(records):
            first, last = records[0], records[-1]
            among = "" if first is last else f"#{first.seq} to "
            return f"follow {among}{_record(last)}"
        case RetryHead(num_records):
            return f"retry head, the log has {num_records} records"
        case BeginTraining(resume):
            return f"begin training from the {resume or 'base'}"
        case SetBounds(bounds):
            paused = ", paused" if bounds.paused else ""
            return f"bounds {bounds.local_steps} steps, {bounds.rounds_ahead} ahead{paused}"
        case MoveTo(at, contributed, rolled_back):
            work = f" with the work of {contributed}" if contributed else ""
            return f"move to version {at.version}{work}{', no local work' * rolled_back}"
        case SaveState():
            return f"save {_save(effect)}"
        case ForgetState():
            return "forget state"
        case Finish():
            return "finish"
        case Note(sentence, _, is_warning):
            return f"{'warn' if is_warning else 'note'}: {sentence}"
        case Believed(after_s):
            return f"believed after {after_s:g} s"
        case _:
            assert_never(effect)


def _message(message: Message) -> str:
    match message:
        case Offer():
            return f"offer {message.nonce} on version {message.version}: {message.steps} steps"
        case SubmitAnswer(round_, answer, sealed):
            shares = f", sealed for {_names(sealed)}" if sealed else ""
            return f"answer {round_} {answer.numbers.steps} steps{shares}"
        case Refuse(round_, rule, sentence):
            return f"refuse {round_} by rule {rule}: {sentence}"
        case SubmitSignature(round_):
            return f"signature {round_}"
        case SubmitShares(round_, revealed):
            mask = f", mask keys of {_names(revealed.mask)}" if revealed.mask else ""
            return f"shares {round_} own masks of {_names(revealed.own)}{mask}"
        case Abandon(round_):
            return f"abandon {round_}"
        case Attestation():
            return f"word {message.worker} for version {message.version}"
        case _:
            assert_never(message)


def _stage(stage: Stage) -> str:
    facts = {
        "answered": stage.answer is not None,
        "exposed": stage.exposed,
        "revealed": stage.revealed,
        "vouched": stage.word is not None,
    }
    return " ".join((stage.plan.round, *(name for name, holds in facts.items() if holds)))


def _save(s: SaveState) -> str:
    known = ",".join(sorted(s.known.versions, key=int))
    words = f" words {','.join(w.worker for w in s.words)}" if s.words else ""
    missed = f" missed {s.missed.versions}" if s.missed.versions else ""
    behind = f" behind {s.position.log.version}" if s.position.behind else ""
    next_seq = s.position.next_seq
    return f"version {s.position.version}{behind}, next #{next_seq}, known {known}{words}{missed}"


def _record(r: Record) -> str:
    if r.commit is not None:
        return f"#{r.seq} commit {r.commit.plan.round} version {r.version}"
    if r.rollback is not None:
        return f"#{r.seq} roll-back to {r.rollback.version}, version {r.version}"
    if r.control is not None:
        return f"#{r.seq} {r.control.action} version {r.version}"
    kinds = ("takeover", "abort", "evaluation")
    (kind,) = (k for k in kinds if getattr(r, k) is not None)
    return f"#{r.seq} {kind} version {r.version}"


def _names(workers: Mapping[WorkerId, object] | Iterable[WorkerId]) -> str:
    return ",".join(sorted(workers))
