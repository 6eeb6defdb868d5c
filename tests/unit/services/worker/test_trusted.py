import datetime
import math
import os
from base64 import b64decode
from pathlib import Path

import pytest

from common.errors import ConfigError, NotAMemberError
from common.secagg.signatures import key_id
from services.config.settings import TrustSettings
from services.trust.authority import authority_in, issue
from services.trust.identity import Identity, Role
from services.worker.trusted import PinnedMembers, trust_of
from tests.attacks.harness import RUN, A, Certified, Registry, certified, now
from worker.rounds.trust import Trust

DAY = datetime.timedelta(days=1)
NOW = now()


@pytest.fixture
def registry(tmp_path: Path) -> Registry:
    return Registry.made(tmp_path)


def der(who: Certified) -> bytes:
    return b64decode(who.certificate)


def issued(
    registry: Registry,
    identity: Identity,
    not_before: datetime.datetime = NOW - DAY,
    not_after: datetime.datetime = NOW + DAY,
) -> bytes:
    authority = authority_in(registry.folder, RUN, now())
    assert authority is not None
    return der(certified(A, *issue(authority, identity, (), not_before, not_after)))


def test_a_pinned_member_is_who_its_certificate_says(registry: Registry) -> None:
    who = registry.of(A)
    for admits in (registry.pinned, registry.by_ca):
        party = admits(der(who))
        assert (party.name, party.organisation) == (A, "aws-inc")
        assert party.key_id == key_id(who.key.public_key())


@pytest.mark.parametrize(("name", "organisation"), [("aws", "aws-inc"), ("x", "x")])
def test_without_its_pin_a_certificate_of_the_ca_is_not_enough(
    registry: Registry, name: str, organisation: str
) -> None:
    invented = der(registry.invent(name, organisation))
    assert registry.by_ca(invented).name == name
    with pytest.raises(NotAMemberError, match=r"is not pinned: if that is right, write it into"):
        registry.pinned(invented)


@pytest.mark.parametrize(
    ("identity", "sentence"),
    [
        (Identity("other", Role.WORKER, "aws-inc", "aws"), "is no worker of run small"),
        (Identity(RUN, Role.EVALUATOR, "aws-inc", "aws"), "is no worker of run small"),
        (Identity(RUN, Role.OPERATOR, "aws-inc", "aws"), "is no worker of run small"),
    ],
)
def test_another_run_or_role_is_no_member(
    registry: Registry, identity: Identity, sentence: str
) -> None:
    for admits in (registry.pinned, registry.by_ca):
        with pytest.raises(NotAMemberError, match=sentence):
            admits(issued(registry, identity))


def test_a_certificate_is_good_only_while_it_is_valid(registry: Registry) -> None:
    identity = Identity(RUN, Role.WORKER, "aws-inc", "aws")
    for span in ((NOW - 2 * DAY, NOW - DAY), (NOW + DAY, NOW + 2 * DAY)):
        with pytest.raises(NotAMemberError, match="has expired, or is not valid yet"):
            registry.by_ca(issued(registry, identity, *span))


def test_another_authority_s_certificate_and_bytes_that_are_none_are_refused(
    registry: Registry, tmp_path: Path
) -> None:
    other = Registry.made(tmp_path / "other")
    for content in (der(other.of(A)), b"", b"\x30\x03abc", der(registry.of(A))[:-1]):
        with pytest.raises(NotAMemberError, match="not signed by the federation's CA"):
            registry.by_ca(content)


def test_an_edit_of_the_pins_counts_at_once_and_a_broken_one_is_said_once_and_changes_nothing(
    registry: Registry, caplog: pytest.LogCaptureFixture
) -> None:
    path = registry.folder / "pins.yaml"
    members = PinnedMembers(RUN, registry.folder / "ca.pem", path, now)
    aws, invented = der(registry.of(A)), registry.invent("x", "x")
    members(aws)

    edit(path, "members: [", 1)
    assert members(aws).name == members(aws).name == A
    (told,) = (r.message for r in caplog.records if r.levelname == "WARNING")
    assert told.startswith(f"pins {path}: changed and not used")
    assert "not YAML" in told

    pin = key_id(invented.key.public_key())
    edit(path, f"members: [{{name: x, organisation: x, key: '{pin}'}}]", 2)
    assert members(der(invented)).name == "x"
    with pytest.raises(NotAMemberError):
        members(aws)


def edit(path: Path, content: str, times: int) -> None:
    path.write_text(content)
    stamp = path.stat().st_mtime_ns + times * 10**9  # a second edit within one tick of the disk
    os.utime(path, ns=(stamp, stamp))


def test_at_start_pins_that_cannot_be_read_are_an_error(registry: Registry) -> None:
    path = registry.folder / "pins.yaml"
    path.write_text("members: [")
    with pytest.raises(ConfigError, match="not YAML"):
        PinnedMembers(RUN, registry.folder / "ca.pem", path, now)
    path.unlink()
    with pytest.raises(ConfigError, match="cannot read the pins"):
        PinnedMembers(RUN, registry.folder / "ca.pem", path, now)


def test_settings_become_what_the_core_insists_on() -> None:
    assert trust_of(TrustSettings()).max_clip == math.inf
    made = trust_of(TrustSettings(max_clip=2.0, max_share=0.5))
    assert made == Trust(max_clip=2.0, max_share=0.5)
