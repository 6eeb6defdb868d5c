"""Words about the newest version: kept, counted, passed on, and put into the log once."""

from dataclasses import replace

import pytest

from common import canonical
from common.documents import Attestation, Control, Record
from common.errors import BadSignatureError
from common.ids import Digest, WorkerId
from common.words import run_state
from coordinator.head import RunHead
from coordinator.words import HeadWords, origin_of
from tests.rig.rounds.masked_members import word
from tests.rig.rounds.run_script import Script
from tests.unit.coordinator.test_run import masked_round_in

AWS, AZURE, GCP, ONPREM = (WorkerId(w) for w in ("aws", "azure", "gcp", "onprem"))


@pytest.fixture
def script() -> Script:
    """A run whose first version is committed; four took part in its round."""
    script = masked_round_in("computing")
    script.tell("6.6 computed")
    assert script.log[-1].commit is not None
    return script


@pytest.fixture
def head(script: Script) -> RunHead:
    head = RunHead.of(script.genesis)
    for record in script.log:
        head = head.after(record)
    return head


def said(script: Script, name: str, **changes: object) -> Attestation:
    return word(name, canonical.digest(script.genesis), script.log[-1], **changes)


def following(record: Record, **changes: object) -> Record:
    body = replace(record, seq=record.seq + 1, previous=canonical.digest(record), commit=None)
    return replace(body, **{"control": Control("pause", "ann", ""), **changes})  # type: ignore[arg-type]


def test_words_are_counted_until_they_are_enough(script: Script, head: RunHead) -> None:
    words = HeadWords(script.genesis)
    assert (words.needed(head), words.missing(head)) == (3, (AWS, AZURE, GCP))
    assert words.add(said(script, "aws"), head)
    assert not words.add(said(script, "aws"), head)
    assert (words.needed(head), words.missing(head)) == (2, (AZURE, GCP))
    assert words.add(said(script, "gcp"), head)
    assert words.add(said(script, "azure"), head)
    assert words.needed(head) == 0
    assert [w.worker for w in words.all(head)] == [AWS, AZURE, GCP]


def test_a_word_about_anything_else_changes_nothing(script: Script, head: RunHead) -> None:
    words = HeadWords(script.genesis)
    nowhere = Digest("1" * 64)
    for changes in (
        {"version": 2},
        {"digest": nowhere},
        {"plan": nowhere},
        {"genesis": nowhere},
        {"state": nowhere},
        {"worker": WorkerId("nobody")},
    ):
        assert not words.add(said(script, "aws", **changes), head)
    assert not words.add(said(script, "aws"), RunHead.of(script.genesis))
    with pytest.raises(BadSignatureError):
        words.add(said(script, "aws", worker=AZURE), head)
    assert words.all(head) == ()


def test_each_word_goes_into_the_log_once(script: Script, head: RunHead) -> None:
    words = HeadWords(script.genesis)
    assert words.unrecorded(head) is None
    words.add(said(script, "gcp"), head)
    words.add(said(script, "aws"), head)
    new = words.unrecorded(head)
    assert new is not None
    assert list(new) == [AWS, GCP]
    head = head.after(following(script.log[-1], words=new))
    assert words.unrecorded(head) is None
    assert not words.add(said(script, "aws"), head)
    assert words.needed(head) == 1
    again = HeadWords(script.genesis)  # a coordinator that is started again has the log
    assert [w.worker for w in again.all(head)] == [AWS, GCP]


def test_where_a_version_comes_from_stands_in_the_log_with_its_words(script: Script) -> None:
    made = script.log[-1]
    assert made.commit is not None
    aws, gcp = (said(script, w).signature or "" for w in ("aws", "gcp"))
    first = following(made, words={AWS: aws})
    second = replace(made, seq=made.seq + 2, version=2, words={GCP: gcp})
    late = following(second, words={AZURE: "of another version"})
    found = origin_of([made, first, second, late])
    assert found is not None
    assert (found.plan, found.version, found.state) == (made.commit.plan, 1, run_state(made))
    assert found.words == {AWS: aws, GCP: gcp}
    assert origin_of([script.log[0]]) is None
