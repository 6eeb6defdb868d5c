"""Members' words for what their round made: enough of them, and a version is believed.

    word  =  signature over (genesis, plan, member, version, digest, counters)
    a     =  floor((K + c)/2) + 1 of the K members of the plan

A member gives its word once per plan, for what it checked itself. Two sets of `a` members have an
honest one in common, so one round makes one version, whoever lies. Words stand in the log, in the
records after the one that they are about: whoever reads it later needs nobody alive.
"""

from collections.abc import Mapping
from dataclasses import replace

from common import canonical
from common.documents import Attestation, Counters, Genesis, Plan, Record
from common.errors import BadKeyError
from common.ids import Digest, WorkerId
from common.secagg import thresholds
from common.secagg.transcript import identity_of, is_signed, signed_content


def words_needed(genesis: Genesis, plan: Plan) -> int:
    """Return a; 0 in the tls tier, where the coordinator is believed."""
    if not plan.masked:
        return 0
    return thresholds.words_needed(len(plan.offers), genesis.algorithm.colluding)


def unsigned_word(
    genesis: Digest, plan: Plan, worker: WorkerId, version: int, digest: Digest, counters: Counters
) -> Attestation:
    """Return what a member of `plan` signs about the version that its round made."""
    told = canonical.digest(replace(counters, elapsed_s=0))
    return Attestation(genesis, canonical.digest(plan), worker, version, digest, told)


def word_about(genesis: Digest, record: Record, worker: WorkerId) -> Attestation:
    """Return what a member signs about the version of a commit's record."""
    assert record.commit is not None
    plan = record.commit.plan
    return unsigned_word(genesis, plan, worker, record.version, record.digest, record.counters)


def is_word(plan: Plan, word: Attestation) -> bool:
    """Return whether a member of `plan` signed this, with the key of its offer in it."""
    try:
        key = identity_of(plan, word.worker)
    except BadKeyError:
        return False
    return is_signed(key, "head", signed_content(word), word.signature)


def true_words(
    genesis: Digest,
    plan: Plan,
    version: int,
    digest: Digest,
    counters: Counters,
    signatures: Mapping[WorkerId, str],
) -> dict[WorkerId, str]:
    """Return those signatures that are their member's word for this version."""
    found = {}
    for worker, signature in signatures.items():
        word = unsigned_word(genesis, plan, worker, version, digest, counters)
        if is_word(plan, replace(word, signature=signature)):
            found[worker] = signature
    return found
