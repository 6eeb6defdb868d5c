"""Words about the newest version, passed on as they came."""

from dataclasses import replace

import pytest

from common import canonical
from common.errors import BadUpdateError, NotAMemberError
from common.ids import Digest, WorkerId
from coordinator.attestations import Attestations
from coordinator.head import RunHead
from tests.masked_members import attestation
from tests.small_run import WORKERS, Run

AWS, AZURE, *_ = WORKERS
GENESIS = Run().genesis
HEAD = RunHead.of(GENESIS)
NEXT = replace(HEAD, version=1, digest=Digest("1" * 64))


def test_words_about_the_head_are_kept_and_those_about_an_older_version_forgotten() -> None:
    held = Attestations()
    held.add(AWS, attestation(AWS, "small", 0, HEAD.digest), HEAD)
    held.add(AZURE, attestation(AZURE, "small", 0, HEAD.digest), HEAD)
    assert [a.worker for a in held.of(HEAD)] == [AWS, AZURE]
    assert held.of(NEXT) == ()

    held.add(AZURE, attestation(AZURE, "small", 1, NEXT.digest), NEXT)

    assert held.workers == {AZURE}
    assert [a.worker for a in held.of(NEXT)] == [AZURE]


def test_a_word_passes_through_to_the_byte() -> None:
    held, word = Attestations(), attestation(AWS, "small", 0, HEAD.digest)
    held.add(AWS, word, HEAD)
    assert [canonical.encode(a) for a in held.of(HEAD)] == [canonical.encode(word)]


def test_a_word_in_another_s_name_or_about_another_version_is_refused() -> None:
    held = Attestations()
    with pytest.raises(NotAMemberError, match="in the name of azure"):
        held.add(AWS, attestation(AZURE, "small", 0, HEAD.digest), HEAD)
    for version, digest in ((1, HEAD.digest), (0, NEXT.digest)):
        with pytest.raises(BadUpdateError, match="the run stands on 0"):
            held.add(AWS, attestation(AWS, "small", version, digest), HEAD)
    assert held.workers == frozenset[WorkerId]()
