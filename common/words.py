"""Counts members' words for what their round made: enough of them, and a version is believed.

    word  =  signature over (genesis, plan, member, version, digest, state of the run)
    a     =  floor((K + c)/2) + 1 of the K members of the plan

A member gives its word once per plan, for what it checked itself. Two sets of `a` members have an
honest one in common, so one round makes one version, whoever lies. Words stand in the log, in the
records after the one that they are about: whoever reads it later needs nobody alive.
"""

from collections.abc import Mapping
from dataclasses import replace

from common import canonical, thresholds
from common.documents import Attestation, Genesis, Origin, Plan, Record, RunState
from common.errors import BadKeyError
from common.ids import Digest, WorkerId
from common.secagg.transcript import identity_of, is_signed, signed_content


def agreement(genesis: Genesis, plan: Plan) -> int:
    """Return a, how many words are enough; 0 in the tls tier: there the coordinator is believed.

    The tier is the run's: what a plan says of itself is the coordinator's word.
    """
    if not genesis.algorithm.masked:
        return 0
    return thresholds.words_needed(len(plan.offers), genesis.algorithm.colluding)


def run_state(record: Record) -> Digest:
    """Return what a word says of the run, besides the version."""
    counters = replace(record.counters, elapsed_s=0)
    return canonical.digest(RunState(counters, record.progress, record.rolled_back))


def word_about(genesis: Digest, record: Record, worker: WorkerId) -> Attestation:
    """Return what a member signs about the version of a commit's record."""
    assert record.commit is not None
    plan = canonical.digest(record.commit.plan)
    return Attestation(genesis, plan, worker, record.version, record.digest, run_state(record))


def is_word(plan: Plan, word: Attestation) -> bool:
    """Return whether a member of `plan` signed this, with the key of its offer in it."""
    try:
        key = identity_of(plan, word.worker)
    except BadKeyError:
        return False
    return is_signed(key, "head", signed_content(word), word.signature)


def true_words(
    plan: Plan, about: Attestation, signatures: Mapping[WorkerId, str]
) -> dict[WorkerId, str]:
    """Return the signatures that are their member's word; `about` is anybody's unsigned one."""
    return {
        worker: signature
        for worker, signature in signatures.items()
        if is_word(plan, replace(about, worker=worker, signature=signature))
    }


def origin_agrees(genesis: Genesis, digest: Digest, origin: Origin) -> bool:
    """Return whether enough members of the round that made a state said so."""
    plan = origin.plan
    said = Attestation(
        canonical.digest(genesis),
        canonical.digest(plan),
        WorkerId(""),
        origin.version,
        digest,
        origin.state,
    )
    return len(true_words(plan, said, origin.words)) >= agreement(genesis, plan)
