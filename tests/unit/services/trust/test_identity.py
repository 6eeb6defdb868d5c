import errno
import logging
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from common.errors import ConfigError, NotAMemberError, NotPermittedError
from services.trust.identity import Identity, MemberList, Role, identity_of

AWS = Identity("demo", Role.WORKER, "amazon", "aws")
ANN = Identity("demo", Role.OPERATOR, "acme", "ann")
TWO = """\
members:
  - {name: aws, role: worker, organisation: amazon}
  - {name: ann, role: operator, organisation: acme}
"""
ONE = """\
members:
  - {name: ann, role: operator, organisation: acme}
"""


class Call:
    def __init__(self, *uris: bytes) -> None:
        self._uris = uris

    def auth_context(self) -> Mapping[str, tuple[bytes, ...]]:
        return {"peer_uri": self._uris, "x509_common_name": (b"aws",)} if self._uris else {}


@pytest.fixture
def path(tmp_path: Path) -> Path:
    file = tmp_path / "members.yaml"
    file.write_text(TWO)
    return file


def edit(path: Path, text: str) -> None:
    """Write with a new time stamp, however coarse the file system's clock is."""
    later_ns = path.stat().st_mtime_ns + 10**9
    path.write_text(text)
    os.utime(path, ns=(later_ns, later_ns))


def test_an_identity_comes_back_from_its_uri() -> None:
    assert AWS.uri == "crosscloud://demo/worker/amazon/aws"
    assert Identity.from_uri(AWS.uri) == AWS


@pytest.mark.parametrize(
    "uri",
    [
        "https://demo/worker/amazon/aws",
        "crosscloud://demo/worker/amazon",
        "crosscloud://demo/worker/amazon/aws/more",
        "crosscloud://demo/king/amazon/aws",
        "crosscloud://demo/worker/amazon/AWS",
        "crosscloud://demo/worker/amazon/",
        "crosscloud://demo/worker/amazon/-aws",
        "crosscloud://demo/worker/amazon/aws\n",
        "",
    ],
)
def test_what_spells_no_identity_is_refused(uri: str) -> None:
    with pytest.raises(NotAMemberError, match="names no identity"):
        Identity.from_uri(uri)


def test_a_caller_is_who_its_certificate_says() -> None:
    assert identity_of(Call(b"https://x.example/", AWS.uri.encode())) == AWS


@pytest.mark.parametrize("uris", [(), (b"spiffe://x/y",), (AWS.uri.encode(), ANN.uri.encode())])
def test_a_caller_without_exactly_one_identity_is_refused(uris: tuple[bytes, ...]) -> None:
    with pytest.raises(NotAMemberError, match="expected exactly one"):
        identity_of(Call(*uris))


def test_a_listed_name_with_the_right_role_is_admitted(path: Path) -> None:
    members = MemberList(path, "demo")
    assert members.admit(AWS, Role.WORKER) == AWS
    assert members.admit(ANN, Role.EVALUATOR, Role.OPERATOR) == ANN


@pytest.mark.parametrize(
    ("identity", "sentence"),
    [
        (Identity("demo", Role.WORKER, "amazon", "eve"), "eve is not on the member list"),
        (Identity("other", Role.WORKER, "amazon", "aws"), "run 'other'; this is run 'demo'"),
        (Identity("demo", Role.WORKER, "google", "aws"), "worker of amazon, its certificate says"),
        (Identity("demo", Role.OPERATOR, "amazon", "aws"), "certificate says operator of amazon"),
    ],
)
def test_who_is_not_on_the_list_is_refused(path: Path, identity: Identity, sentence: str) -> None:
    with pytest.raises(NotAMemberError, match=sentence):
        MemberList(path, "demo").admit(identity, Role.WORKER, Role.OPERATOR)


def test_a_listed_name_with_another_role_is_not_permitted(path: Path) -> None:
    with pytest.raises(NotPermittedError, match="aws has role worker; only operator may"):
        MemberList(path, "demo").admit(AWS, Role.OPERATOR)


def test_a_removed_name_is_refused_and_named_once(path: Path) -> None:
    members = MemberList(path, "demo")
    assert members.take_removed() == ()
    edit(path, ONE)
    with pytest.raises(NotAMemberError):
        members.admit(AWS, Role.WORKER)
    assert members.take_removed() == ("aws",)
    assert members.take_removed() == ()


def test_a_name_that_came_back_is_not_named_as_removed(path: Path) -> None:
    members = MemberList(path, "demo")
    edit(path, ONE)
    assert "aws" not in members.members
    edit(path, TWO)
    assert members.take_removed() == ()
    assert members.admit(AWS, Role.WORKER)


def test_a_name_that_changed_hands_is_named_as_removed(path: Path) -> None:
    members = MemberList(path, "demo")
    edit(path, TWO.replace("amazon", "google"))
    assert members.take_removed() == ("aws",)


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("members: [", "not YAML"),
        ("members: [2026-13-01]", r"members\[0\]: expected the keys name, role, organisation"),
        ("", "expected one key"),
        ("members: 3", "members.yaml:1: members: expected a list"),
        ("members:", "nobody is listed"),
        ("members: []", "nobody is listed"),
        (TWO + TWO, "'members' stands twice, lines 1 and 4; delete one"),
        (TWO + "members:\n", "'members' stands twice, lines 1 and 4"),
        (TWO + "'members': []\n", "'members' stands twice, lines 1 and 4"),
        (
            TWO.replace("role: worker", "role: worker, role: operator"),
            "'role' stands twice, line 2",
        ),
        (TWO + "--- {}\n", "another document"),
        ("names: []", "expected one key"),
        ("members: [{name: aws}]", r"members.yaml:1: members\[0\]: role: missing; add it"),
        ("members: [{name: aws, role: king, organisation: x}]", "role 'king': expected coord"),
        ("members: [{name: A, role: worker, organisation: x}]", r"members\[0\]: name 'A'"),
        (TWO + "  - {name: aws, role: worker, organisation: x}", "'aws' stands twice"),
    ],
)
def test_a_broken_edit_keeps_the_last_good_list_and_says_so(
    path: Path, caplog: pytest.LogCaptureFixture, text: str, sentence: str
) -> None:
    members = MemberList(path, "demo")
    edit(path, text)
    with caplog.at_level(logging.WARNING):
        assert members.admit(AWS, Role.WORKER) == AWS
        assert members.admit(ANN, Role.OPERATOR) == ANN
    assert len(caplog.records) == 1
    assert "the last good one (2 names) stays" in caplog.text
    assert members.take_removed() == ()
    assert re.search(sentence, caplog.text)
    edit(path, ONE)
    assert members.take_removed() == ("aws",)


def test_each_broken_edit_is_read_once_and_said_and_a_good_one_with_its_names(
    path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    members, really, num_read = MemberList(path, "demo"), Path.open, 0

    def counted(*args: Any, **kwargs: Any) -> Any:
        nonlocal num_read
        num_read += 1
        return really(*args, **kwargs)

    with caplog.at_level(logging.INFO):
        for num_edits, text in enumerate(("members: 3", "members: 4"), start=1):
            edit(path, text)
            with monkeypatch.context() as m:
                m.setattr(Path, "open", counted)
                for _ in range(3):
                    assert members.admit(AWS, Role.WORKER) == AWS
            assert num_read == len(caplog.records) == num_edits
        edit(path, ONE)
        assert list(members.members) == ["ann"]
    assert caplog.records[0].message == caplog.records[1].message
    assert caplog.records[-1].message.endswith("read again (1 names)")


def test_a_list_that_vanishes_keeps_its_last_content(
    path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    members = MemberList(path, "demo")
    path.unlink()
    assert members.admit(AWS, Role.WORKER) == AWS
    assert "cannot read the member list" in caplog.text


def test_an_edit_that_no_descriptor_is_there_for_counts_as_soon_as_one_is(
    path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    members = MemberList(path, "demo")
    edit(path, ONE)

    def none_left(*_: object, **__: object) -> str:
        raise OSError(errno.EMFILE, "Too many open files")

    with monkeypatch.context() as m:
        m.setattr(Path, "open", none_left)
        assert members.admit(AWS, Role.WORKER) == AWS
        assert not caplog.records
    with pytest.raises(NotAMemberError):
        members.admit(AWS, Role.WORKER)
    assert members.take_removed() == ("aws",)


def test_at_start_a_missing_list_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot read the member list"):
        MemberList(tmp_path / "none.yaml", "demo")
