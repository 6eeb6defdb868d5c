import datetime
import errno
import os
import stat
from pathlib import Path
from typing import Any

import pytest
import yaml
from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.x509.oid import ExtendedKeyUsageOID

from common.errors import ConfigError, StorageFullError
from services.trust.authority import Holder, init_federation
from services.trust.identity import Identity, MemberList, Role, identity_in

COORDINATOR = Holder(Role.COORDINATOR, "coordinator", "acme", ("localhost", "127.0.0.1"))
AWS = Holder(Role.WORKER, "aws", "amazon")
GCP = Holder(Role.WORKER, "gcp", "google")


def load(path: Path) -> x509.Certificate:
    return x509.load_pem_x509_certificate(path.read_bytes())


def usages(certificate: x509.Certificate) -> list[x509.ObjectIdentifier]:
    return list(certificate.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value)


def test_a_certificate_carries_run_role_organisation_and_name(tmp_path: Path) -> None:
    init_federation(tmp_path, "demo", [COORDINATOR, AWS])
    assert identity_in(load(tmp_path / "aws.pem")) == Identity("demo", Role.WORKER, "amazon", "aws")
    load(tmp_path / "aws.pem").verify_directly_issued_by(load(tmp_path / "ca.pem"))


def test_only_a_coordinator_can_serve(tmp_path: Path) -> None:
    init_federation(tmp_path, "demo", [COORDINATOR, AWS])
    server, worker = load(tmp_path / "coordinator.pem"), load(tmp_path / "aws.pem")
    assert usages(server) == [ExtendedKeyUsageOID.SERVER_AUTH]
    assert usages(worker) == [ExtendedKeyUsageOID.CLIENT_AUTH]
    names = server.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert names.get_values_for_type(x509.DNSName) == ["localhost"]
    assert [str(a) for a in names.get_values_for_type(x509.IPAddress)] == ["127.0.0.1"]
    names = worker.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert not names.get_values_for_type(x509.DNSName)


def test_private_keys_are_for_their_owner_alone(tmp_path: Path) -> None:
    init_federation(tmp_path, "demo", [COORDINATOR, AWS])
    for key in tmp_path.glob("*.key"):
        assert stat.S_IMODE(key.stat().st_mode) == 0o600, key
    assert len(list(tmp_path.glob("*.key"))) == 3


def test_validity_is_what_was_asked_for(tmp_path: Path) -> None:
    init_federation(tmp_path, "demo", [COORDINATOR], valid_days=7)
    c = load(tmp_path / "coordinator.pem")
    length = c.not_valid_after_utc - c.not_valid_before_utc
    assert datetime.timedelta(days=7) <= length < datetime.timedelta(days=7, hours=1)


def test_the_member_list_names_everybody(tmp_path: Path) -> None:
    init_federation(tmp_path, "demo", [COORDINATOR, AWS])
    assert set(MemberList(tmp_path / "members.yaml", "demo").members) == {"coordinator", "aws"}


def test_a_second_time_changes_nothing(tmp_path: Path) -> None:
    init_federation(tmp_path, "demo", [COORDINATOR, AWS])
    before = {p: p.read_bytes() for p in tmp_path.iterdir()}
    assert init_federation(tmp_path, "demo", [COORDINATOR, AWS]) == ()
    assert {p: p.read_bytes() for p in tmp_path.iterdir()} == before


def test_a_new_name_is_added_and_an_operators_edit_stays(tmp_path: Path) -> None:
    init_federation(tmp_path, "demo", [COORDINATOR, AWS])
    members = tmp_path / "members.yaml"
    edited = [line for line in members.read_text().splitlines() if "aws" not in line]
    members.write_text("\n".join([*edited, "  # aws left", ""]))
    written = init_federation(tmp_path, "demo", [COORDINATOR, AWS, GCP])
    assert {p.name for p in written} == {"gcp.key", "gcp.pem", "members.yaml"}
    assert "# aws left" in members.read_text()
    names = [m["name"] for m in yaml.safe_load(members.read_text())["members"]]
    assert names == ["coordinator", "gcp"]
    load(tmp_path / "gcp.pem").verify_directly_issued_by(load(tmp_path / "ca.pem"))


@pytest.mark.parametrize(
    ("run", "holders", "sentence"),
    [
        ("other", [COORDINATOR, GCP], "authority of another run"),
        ("demo", [Holder(Role.WORKER, "aws", "google")], "never replaced"),
        ("demo", [Holder(Role.COORDINATOR, "coordinator", "acme", ("elsewhere",))], "hosts"),
        ("demo", [Holder(Role.COORDINATOR, "second", "acme")], "no hosts"),
        ("demo", [Holder(Role.WORKER, "gcp", "google", ("localhost",))], "only a coordinator"),
        ("demo", [Holder(Role.WORKER, "GCP", "google")], "lower-case"),
        ("demo", [Holder(Role.WORKER, "ca", "google")], "the authority's own"),
        ("demo", [GCP, GCP], "unique"),
    ],
)
def test_what_does_not_fit_is_refused_and_writes_nothing(
    tmp_path: Path, run: str, holders: list[Holder], sentence: str
) -> None:
    init_federation(tmp_path, "demo", [COORDINATOR, AWS])
    before = {p: p.read_bytes() for p in tmp_path.iterdir()}
    with pytest.raises(ConfigError, match=sentence):
        init_federation(tmp_path, run, holders)
    assert {p: p.read_bytes() for p in tmp_path.iterdir()} == before


@pytest.mark.parametrize("lost", ["ca.pem", "ca.key"])
def test_half_an_authority_is_not_replaced(tmp_path: Path, lost: str) -> None:
    init_federation(tmp_path, "demo", [COORDINATOR])
    (tmp_path / lost).unlink()
    with pytest.raises(ConfigError, match="authority is there but cannot be used"):
        init_federation(tmp_path, "demo", [COORDINATOR, AWS])
    assert not (tmp_path / lost).exists()


def test_a_key_without_its_certificate_is_not_replaced(tmp_path: Path) -> None:
    init_federation(tmp_path, "demo", [COORDINATOR, AWS])
    (tmp_path / "aws.pem").unlink()
    with pytest.raises(ConfigError, match=r"are no pair .*delete both"):
        init_federation(tmp_path, "demo", [COORDINATOR, AWS])


def test_a_certificate_of_an_authority_that_is_gone_is_not_kept(tmp_path: Path) -> None:
    init_federation(tmp_path, "demo", [COORDINATOR])
    for lost in ("ca.pem", "ca.key"):
        (tmp_path / lost).unlink()
    with pytest.raises(ConfigError, match="without its authority"):
        init_federation(tmp_path, "demo", [COORDINATOR])


@pytest.mark.parametrize(
    ("host", "hint"),
    [
        ("bücher.example.org", "write xn--bcher-kva.example.org"),
        ("ü" * 100, "its form in ASCII"),
        ("localhost:7443", "without a port"),
        ("https://localhost", "alone"),
        ("", "alone"),
        ("two words", "correct it"),
        ("a..example.org", "correct it"),
    ],
)
def test_what_cannot_be_dialled_is_no_host_and_nothing_is_written(
    tmp_path: Path, host: str, hint: str
) -> None:
    with pytest.raises(ConfigError, match=r"^host ") as caught:
        init_federation(tmp_path, "demo", [Holder(Role.COORDINATOR, "c", "acme", (host,))])
    assert hint in str(caught.value)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("host", ["::1", "10.0.0.7", "a_b.svc.cluster.local", "xn--bcher-kva.de"])
def test_names_and_addresses_as_they_are_dialled_are_hosts(tmp_path: Path, host: str) -> None:
    init_federation(tmp_path, "demo", [Holder(Role.COORDINATOR, "c", "acme", (host,))])


@pytest.mark.parametrize(
    "content",
    [
        b"members: [",
        b"[]",
        b"members: 7",
        b"members: [7]",
        b"members: [{role: worker}]",
        b"members: {aws: worker}",
        b"text",
        b"\xff\xfe",
        b"members:\n\t- x",
    ],
)
def test_a_broken_member_list_is_refused_before_anything_is_written(
    tmp_path: Path, content: bytes
) -> None:
    (tmp_path / "members.yaml").write_bytes(content)
    with pytest.raises(ConfigError, match=r"members\.yaml:(\d+:)? "):
        init_federation(tmp_path, "demo", [COORDINATOR, AWS])
    assert [p.name for p in tmp_path.iterdir()] == ["members.yaml"]
    assert (tmp_path / "members.yaml").read_bytes() == content


@pytest.mark.parametrize("name", ["ca.pem", "ca.key", "aws.pem", "aws.key"])
@pytest.mark.parametrize("content", [b"", b"text", b"\xff" * 100])
def test_files_that_are_no_keys_or_certificates_are_refused_by_name(
    tmp_path: Path, name: str, content: bytes
) -> None:
    init_federation(tmp_path, "demo", [COORDINATOR, AWS])
    (tmp_path / name).write_bytes(content)
    with pytest.raises(ConfigError, match=r"restore ca|delete both"):
        init_federation(tmp_path, "demo", [COORDINATOR, AWS])


def test_a_key_with_a_password_is_refused_with_what_to_do(tmp_path: Path) -> None:
    init_federation(tmp_path, "demo", [COORDINATOR])
    key = serialization.load_pem_private_key((tmp_path / "ca.key").read_bytes(), None)
    locked = serialization.BestAvailableEncryption(b"secret")
    (tmp_path / "ca.key").write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, locked)
    )
    with pytest.raises(ConfigError, match=r"cannot be used: .*; restore ca\.pem"):
        init_federation(tmp_path, "demo", [COORDINATOR, AWS])


def of(*workers: str) -> list[Holder]:
    parted = (w.split("@") for w in workers)
    return [COORDINATOR, *(Holder(Role.WORKER, name, party) for name, party in parted)]


ACME_TWICE = ("aws@acme", "gcp@acme", "azure@initech")


def test_workers_of_too_few_organisations_are_refused_and_nothing_is_written(
    tmp_path: Path,
) -> None:
    folder = tmp_path / "certs"
    with pytest.raises(ConfigError, match="3 workers of 2 organisations"):
        init_federation(folder, "demo", of(*ACME_TWICE), min_cohort=3)
    assert not folder.exists()


@pytest.mark.parametrize(
    ("workers", "min_cohort"),
    [
        (ACME_TWICE, 2),
        (ACME_TWICE, 0),
        ((*ACME_TWICE, "onprem@hooli"), 3),
        (("aws@acme", "gcp@acme"), 3),  # more will come, from requests
        ((), 3),
    ],
)
def test_what_can_work_or_is_not_complete_passes(
    tmp_path: Path, workers: tuple[str, ...], min_cohort: int
) -> None:
    assert init_federation(tmp_path, "demo", of(*workers), min_cohort=min_cohort)


def test_whom_the_list_has_already_counts(tmp_path: Path) -> None:
    init_federation(tmp_path, "demo", of("aws@acme", "gcp@acme"), min_cohort=3)
    with pytest.raises(ConfigError, match="3 workers of 2 organisations"):
        init_federation(tmp_path, "demo", of("azure@initech"), min_cohort=3)
    init_federation(tmp_path, "demo", of("azure@initech", "onprem@hooli"), min_cohort=3)


def test_no_certificate_outlives_its_authority(tmp_path: Path) -> None:
    init_federation(tmp_path, "demo", [COORDINATOR], valid_days=1)  # an authority of ten days
    init_federation(tmp_path, "demo", [COORDINATOR, AWS], valid_days=365)
    until = load(tmp_path / "ca.pem").not_valid_after_utc
    assert load(tmp_path / "aws.pem").not_valid_after_utc == until
    assert load(tmp_path / "coordinator.pem").not_valid_after_utc < until


# Halfway -----------------------------------------------------------------------------------------


def names_in(folder: Path) -> list[str]:
    return list(MemberList(folder / "members.yaml", "demo").members)


@pytest.mark.parametrize("content", [None, "", "members:\n"])
def test_a_list_that_is_lost_is_made_again_of_all_who_are_asked_for(
    tmp_path: Path, content: str | None
) -> None:
    init_federation(tmp_path, "demo", [COORDINATOR, AWS])
    (tmp_path / "members.yaml").unlink()
    if content is not None:
        (tmp_path / "members.yaml").write_text(content)
    assert init_federation(tmp_path, "demo", [COORDINATOR, AWS]) == (tmp_path / "members.yaml",)
    assert names_in(tmp_path) == ["coordinator", "aws"]


def test_a_new_name_does_not_stand_alone_on_a_list_that_was_lost(tmp_path: Path) -> None:
    init_federation(tmp_path, "demo", [COORDINATOR, AWS])
    (tmp_path / "members.yaml").unlink()
    before = {p: p.read_bytes() for p in tmp_path.iterdir()}
    with pytest.raises(ConfigError, match=r"members\.yaml lists nobody, but aws, coordinator hold"):
        init_federation(tmp_path, "demo", [GCP])
    assert {p: p.read_bytes() for p in tmp_path.iterdir()} == before
    init_federation(tmp_path, "demo", [COORDINATOR, AWS, GCP])
    assert names_in(tmp_path) == ["coordinator", "aws", "gcp"]


@pytest.mark.parametrize("pair", range(3))
@pytest.mark.parametrize("ending", [".key", ".pem"])
def test_a_disk_that_is_full_leaves_no_half_and_the_next_time_completes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, pair: int, ending: str
) -> None:
    full = tmp_path / (("ca", "coordinator", "aws")[pair] + ending)
    opened, fdopened = os.open, os.fdopen
    descriptors = set()

    def noted(path: Any, *args: Any, **kwargs: Any) -> int:
        found = opened(path, *args, **kwargs)
        if str(path) == str(full):
            descriptors.add(found)
        return found

    def filling(descriptor: int, *args: Any, **kwargs: Any) -> Any:
        if descriptor in descriptors:
            os.close(descriptor)
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return fdopened(descriptor, *args, **kwargs)

    with monkeypatch.context() as patched:
        patched.setattr(os, "open", noted)
        patched.setattr(os, "fdopen", filling)
        with pytest.raises(StorageFullError, match=rf"cannot write .*{full.name}"):
            init_federation(tmp_path, "demo", [COORDINATOR, AWS])
    assert not full.exists()
    assert not full.with_suffix(".pem" if ending == ".key" else ".key").exists()
    init_federation(tmp_path, "demo", [COORDINATOR, AWS])
    assert names_in(tmp_path) == ["coordinator", "aws"]
    assert init_federation(tmp_path, "demo", [COORDINATOR, AWS]) == ()


def test_a_new_name_is_listed_also_where_the_list_could_not_be_written_at_first(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    init_federation(tmp_path, "demo", [COORDINATOR])

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patched:
        patched.setattr(os, "replace", full)
        with pytest.raises(StorageFullError, match=r"cannot write .*members"):
            init_federation(tmp_path, "demo", [COORDINATOR, AWS])
    init_federation(tmp_path, "demo", [COORDINATOR, AWS])
    assert names_in(tmp_path) == ["coordinator", "aws"]
    assert (tmp_path / "aws.pem").exists()


@pytest.mark.parametrize("name", ["aws.key", "aws.pem", "ca.key", "ca.pem"])
def test_a_link_that_leads_nowhere_is_refused_by_name_and_nothing_is_written(
    tmp_path: Path, name: str
) -> None:
    folder = tmp_path / "certs"
    folder.mkdir()
    (folder / name).symlink_to(tmp_path / "nowhere")
    with pytest.raises(ConfigError, match=rf"{name}|restore ca"):
        init_federation(folder, "demo", [COORDINATOR, AWS])
    assert [p.name for p in folder.iterdir()] == [name]


def test_a_key_of_another_certificate_is_no_pair(tmp_path: Path) -> None:
    init_federation(tmp_path, "demo", [COORDINATOR, AWS, GCP])
    (tmp_path / "aws.key").write_bytes((tmp_path / "gcp.key").read_bytes())
    with pytest.raises(ConfigError, match=r"aws\.key is another's key; delete both"):
        init_federation(tmp_path, "demo", [COORDINATOR, AWS, GCP])
