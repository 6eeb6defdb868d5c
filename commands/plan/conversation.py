"""The small messages of one committed round, made by the code that sends them, and their sizes.

Every member is played with real keys; what it says depends on who is in the round and hardly on the
model. Losses, refusals and roll-backs are not in it.
"""

import datetime
import secrets
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from common import canonical
from common.documents import (
    Algorithm,
    Commit,
    Counters,
    Evaluation,
    Genesis,
    Numbers,
    Offer,
    Plan,
    Record,
    SideValues,
    WorkerCounters,
)
from common.ids import Digest, RoundId, WorkerId
from common.rate import lr_sum_bounds
from common.thresholds import round_threshold
from coordinator.ports import Members as Listed
from coordinator.ports import Pace, Survivors
from protos.v1 import session_pb2
from services.config.settings import TlsSettings
from services.coordinator.sessions.convert import response_of
from services.trust.authority import CA_CERTIFICATE, Holder, init_federation
from services.trust.identity import Role
from services.trust.signing import Signer
from services.wire.traffic import Direction
from services.worker.convert import request_of
from services.worker.trusted import PinnedMembers
from worker.rounds.attempt import MaskedMember
from worker.rounds.masked_tier import MaskedTier
from worker.rounds.ports import SubmitAnswer, SubmitShares
from worker.rounds.tier import Attempt, Tier
from worker.rounds.tls_tier import TlsTier
from worker.rounds.trust import Trust

Sizes = tuple[tuple[Direction, int], ...]
"""Messages: which way, and how many bytes before anything is put around them."""

_DIGEST: Final = Digest("ab" * 32)
_ROUND: Final = RoundId("cd" * 16)
_OF_PEAK: Final = 0.7712345678901234
_SPEED: Final = 51_234
_LINK_BPS: Final = 93_456_789
_VERSION: Final = 1200
_CERTIFICATE: Final = "M" * 648
_SIGNATURE: Final = "a" * 142
"""Both of the P-256 identity that `crosscloud certs` gives an evaluator; names differ by a few."""


@dataclass(frozen=True, slots=True)
class Conversation:
    """What one worker says and hears on its control stream.

    Args:
        round: once per committed round.
        heartbeat: once per heartbeat.
        record_bytes: of the records of a version, which the log keeps: of its commit and, where
            there is an evaluator, of its evaluation.
    """

    round: Sizes
    heartbeat: Sizes
    record_bytes: int


def conversation(
    genesis: Genesis, names: tuple[str, ...], num_workers: int, *, evaluator: bool
) -> Conversation:
    """Play the messages of a round.

    Args:
        names: of its members.
        num_workers: of the federation: so many have their counters in each record.
        evaluator: whether one measures the version: every worker hears what it found.
    """
    workers = tuple(sorted(WorkerId(n) for n in names))
    with tempfile.TemporaryDirectory(prefix="crosscloud-") as folder:
        tiers = _tiers(genesis, workers, Path(folder))
        return _play(genesis, tiers, num_workers, evaluator=evaluator)


def _play(
    genesis: Genesis,
    tiers: Mapping[WorkerId, Tier],
    num_workers: int,
    *,
    evaluator: bool,
) -> Conversation:
    algorithm, me = genesis.algorithm, next(iter(tiers))
    numbers = _numbers(algorithm)
    offers = {w: tier.sign_offer(_offer(genesis, w)) for w, tier in tiers.items()}
    plan = _plan(genesis, tuple(offers.values()))
    attempts = {w: tier.begin(plan) for w, tier in tiers.items()}
    said = {w: attempt.answer(numbers) for w, attempt in attempts.items()}
    answers = {w: answer for w, (answer, _) in said.items()}
    sealed = {w: shares[me] for w, (_, shares) in said.items() if me in shares}
    attempts[me].named(answers, sealed)
    commit = Commit(
        plan=plan,
        numbers=dict.fromkeys(tiers, numbers),
        survivors=tuple(tiers),
        side_values=SideValues(65535 * len(tiers), 3 * 2**20 * len(tiers), 0),
        aggregate=_DIGEST,
        aggregate_bytes=genesis.schema.length,
    )
    committed = _record(num_workers, commit=commit)
    words = [t.word(committed) for t in tiers.values()] if algorithm.masked else []
    said_words = {word.worker: word.signature or "" for word in words} or None
    if evaluator:  # its record holds the words for the version, else the next commit's
        measured = (3.1234567890123456, 0.41234567, 22.7234567, 245_760)
        found = Evaluation(_DIGEST, _VERSION, _DIGEST, *measured, _CERTIFICATE, _SIGNATURE)
        evaluated = replace(_record(num_workers, evaluation=found), words=said_words)
        records = [canonical.encode(committed), canonical.encode(evaluated)]
    else:
        records = [canonical.encode(replace(committed, words=said_words))]
    sent = [request_of(offers[me]), request_of(SubmitAnswer(_ROUND, *said[me]))]
    received = [response_of(plan), response_of(Listed(_ROUND, answers, sealed))]
    received += [_outcome(record) for record in records]
    spoken, heard = _unmasking(attempts[me], tuple(tiers)) if algorithm.masked else ([], [])
    sent, received = [*sent, *spoken], [*received, *heard]
    sent += [request_of(word) for word in words if word.worker == me]
    received += [response_of(word) for word in words if word.worker != me]
    return Conversation(
        round=(*_sizes("sent", sent), *_sizes("received", received)),
        heartbeat=(
            ("sent", _heartbeat().ByteSize()),
            ("received", response_of(Pace(20, False, 2500, "")).ByteSize()),
        ),
        record_bytes=sum(map(len, records)),
    )


def _unmasking(
    attempt: Attempt, survivors: tuple[WorkerId, ...]
) -> tuple[list[session_pb2.ConnectRequest], list[session_pb2.ConnectResponse]]:
    """Return what a member says and hears while the masks come off, where nobody was lost."""
    attempt.survived(survivors)
    told = response_of(Survivors(_ROUND, survivors))
    return [request_of(SubmitShares(_ROUND, attempt.reveal({})))], [told]


def _sizes(
    direction: Direction,
    messages: list[session_pb2.ConnectRequest] | list[session_pb2.ConnectResponse],
) -> Sizes:
    return tuple((direction, message.ByteSize()) for message in messages)


def _outcome(record: bytes) -> session_pb2.ConnectResponse:
    return session_pb2.ConnectResponse(outcome=session_pb2.Outcome(record=record))


def _tiers(genesis: Genesis, workers: tuple[WorkerId, ...], folder: Path) -> dict[WorkerId, Tier]:
    a = genesis.algorithm
    if not a.masked:
        return {w: TlsTier(w) for w in workers}
    init_federation(folder, genesis.run, [Holder(Role.WORKER, w, w) for w in workers])
    now = datetime.datetime.now(datetime.UTC)
    ca = folder / CA_CERTIFICATE
    admits = PinnedMembers(genesis.run, ca, None, lambda: now)
    operators = PinnedMembers(genesis.run, ca, None, lambda: now, Role.OPERATOR)
    trust = Trust(a.tier, a.colluding, a.min_cohort, a.max_share, a.max_staleness)
    tiers: dict[WorkerId, Tier] = {}
    for worker in workers:
        files = {"certificate": folder / f"{worker}.pem", "key": folder / f"{worker}.key"}
        own = Signer(TlsSettings(ca=ca, **files))
        member = MaskedMember(worker, a, trust, admits, own.sign, secrets.token_bytes)
        tiers[worker] = MaskedTier(
            member, genesis, own.certificate, admitted=admits, operators=operators
        )
    return tiers


def _offer(genesis: Genesis, worker: WorkerId) -> Offer:
    numbers = _numbers(genesis.algorithm)
    return Offer(
        run=genesis.run,
        worker=worker,
        boot="ab" * 8,
        nonce="cd" * 16,
        version=_VERSION,
        digest=_DIGEST,
        tokens=numbers.tokens,
        lr_sum=numbers.lr_sum,
        age_256=numbers.age_256,
        steps=numbers.steps,
        speed=_SPEED,
        link_bps=_LINK_BPS,
    )


def _numbers(algorithm: Algorithm) -> Numbers:
    steps = algorithm.local_steps
    lowest, highest = lr_sum_bounds(steps, algorithm.schedule)
    lr_sum = max(lowest, _OF_PEAK * highest)
    age_256 = min(180, int(256 * algorithm.max_staleness))
    return Numbers(1536 * steps, lr_sum, age_256, 50_123, steps, 12 * steps)


def _plan(genesis: Genesis, offers: tuple[Offer, ...]) -> Plan:
    a, num = genesis.algorithm, len(offers)
    return Plan(
        run=genesis.run,
        round=_ROUND,
        tier=a.tier,
        version=_VERSION,
        digest=_DIGEST,
        fragment=0,
        bits=a.codec.bits,
        threshold=round_threshold(num, a),
        live_speed=_SPEED * num,
        num_live=num,
        hours=12.345678901234567,
        key_timeout_s=15.0,
        upload_timeout_s=600.0,
        offers=offers,
    )


def _record(
    num_workers: int,
    commit: Commit | None = None,
    evaluation: Evaluation | None = None,
) -> Record:
    totals = {
        f"cloud-{i:02}": WorkerCounters(1200, 10**8, 10**5, 12_345) for i in range(num_workers)
    }
    return Record(
        seq=2500,
        previous=_DIGEST,
        epoch=0,
        time_s=1_800_000_000,
        version=_VERSION + 1,
        digest=_DIGEST,
        progress=0.30000001192092896,
        counters=Counters(10**9, 10**6, 256 * 10**5, 43_210, 10**11, 4 * 10**11, totals),
        commit=commit,
        evaluation=evaluation,
    )


def _heartbeat() -> session_pb2.Heartbeat:
    kinds = {"control": 10**7, "update": 10**11, "aggregate": 10**11, "version": 10**10}
    return session_pb2.Heartbeat(
        speed=_SPEED,
        link_bps=_LINK_BPS,
        version=_VERSION,
        steps_total=10**5,
        tokens_total=10**8,
        pending_steps=20,
        steps_per_s=4.5,
        idle_share=0.02,
        bytes_sent=kinds,
        bytes_received=kinds,
        float32_sent={"update": 10**11},
        float32_received={"aggregate": 10**11, "version": 10**10},
        resident_bytes=2 * 10**10,
        merges_total=_VERSION,
        offer_nonce="cd" * 16,
    )
