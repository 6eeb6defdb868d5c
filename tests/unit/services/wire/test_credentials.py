from pathlib import Path
from typing import Any

import grpc
import pytest

from common.errors import ConfigError
from services.config.settings import TlsSettings
from services.trust.genuine import Genuine
from services.trust.identity import Identity, Role
from services.trust.own import check_own
from services.wire.credentials import (
    channel_credentials,
    explain_rpc_error,
    renewed_credentials,
    server_credentials,
)
from tests.rig.certificates import NOW, RUN, authority, tls_files


def changed(tls: TlsSettings, **paths: Path) -> TlsSettings:
    return TlsSettings(**{**tls.model_dump(), **paths})


def test_a_good_certificate_tells_who_we_are(tmp_path: Path) -> None:
    tls = tls_files(tmp_path, authority())
    found = check_own(tls, RUN, (Role.WORKER,), name="aws").identity
    assert found == Identity(RUN, Role.WORKER, "acme", "aws")
    assert isinstance(channel_credentials(tls, RUN, Role.WORKER), grpc.ChannelCredentials)


def test_a_coordinator_gets_credentials_to_serve(tmp_path: Path) -> None:
    tls = tls_files(tmp_path, authority(), Role.COORDINATOR, "main", hosts=("localhost",))
    assert isinstance(server_credentials(tls, RUN), grpc.ServerCredentials)


@pytest.mark.parametrize(
    ("days", "sentence"), [((-3, -1), "expired on .*issue a new one"), ((1, 3), "not valid before")]
)
def test_a_certificate_out_of_its_time_is_refused(
    tmp_path: Path, days: tuple[int, int], sentence: str
) -> None:
    tls = tls_files(tmp_path, authority(), days=days)
    with pytest.raises(ConfigError, match=rf"aws\.pem.*{sentence}"):
        check_own(tls, RUN, (Role.WORKER,), NOW)


def test_an_expired_authority_is_named(tmp_path: Path) -> None:
    tls = tls_files(tmp_path, authority(), days=(-1, 99))
    with pytest.raises(ConfigError, match=r"ca\.pem expired"):
        check_own(tls, RUN, (Role.WORKER,), NOW.replace(year=NOW.year + 1))


def test_another_authority_is_refused(tmp_path: Path) -> None:
    tls = tls_files(tmp_path, authority(), trusts=authority())
    with pytest.raises(ConfigError, match="is not signed by"):
        check_own(tls, RUN, (Role.WORKER,))


def test_another_key_is_refused(tmp_path: Path) -> None:
    ours, theirs = (tls_files(tmp_path / n, authority()) for n in ("ours", "theirs"))
    with pytest.raises(ConfigError, match="is not the key of"):
        check_own(changed(ours, key=theirs.key), RUN, (Role.WORKER,))


@pytest.mark.parametrize(
    ("run", "role", "name", "sentence"),
    [
        ("other", Role.WORKER, "", "is for run 'demo', this is run 'other'"),
        (RUN, Role.OPERATOR, "", "role worker, this process needs operator"),
        (RUN, Role.WORKER, "gcp", "is for 'aws', the settings say 'gcp'"),
    ],
)
def test_a_certificate_for_something_else_is_refused(
    tmp_path: Path, run: str, role: Role, name: str, sentence: str
) -> None:
    with pytest.raises(ConfigError, match=sentence):
        channel_credentials(tls_files(tmp_path, authority()), run, role, name)


def test_a_worker_cannot_get_credentials_to_serve(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="needs coordinator"):
        server_credentials(tls_files(tmp_path, authority()), RUN)


def test_files_that_are_something_else_are_named(tmp_path: Path) -> None:
    tls = tls_files(tmp_path, authority())
    with pytest.raises(ConfigError, match=r"aws\.key is not a PEM certificate"):
        check_own(changed(tls, certificate=tls.key), RUN, (Role.WORKER,))
    with pytest.raises(ConfigError, match=r"aws\.pem is not a PEM private key"):
        check_own(changed(tls, key=tls.certificate), RUN, (Role.WORKER,))
    tls.key.unlink()
    with pytest.raises(ConfigError, match=r"aws\.key: cannot read the private key: No such file"):
        check_own(tls, RUN, (Role.WORKER,))


def test_details_that_say_nothing_known_are_passed_on() -> None:
    assert explain_rpc_error("the moon is full") == "the call failed: the moon is full"


@pytest.mark.parametrize(
    "details",
    [
        "Socket closed",
        "Stream removed (recvmsg:Connection reset by peer (104))",
        "failed to connect to all addresses; last error: recvmsg:Connection reset by peer",
        "Broken pipe",
    ],
)
def test_a_connection_that_was_closed_may_be_a_coordinator_that_ended(details: str) -> None:
    said = explain_rpc_error(details, "127.0.0.1:1")
    assert "it ended, or it does not accept our certificate" in said


@pytest.mark.parametrize(
    "details",
    ["Connection refused", "address lookup failed", "No route to host", "Network is unreachable"],
)
def test_who_cannot_be_reached_is_named_where_it_is_known(details: str) -> None:
    assert "127.0.0.1:17443" in explain_rpc_error(details, "127.0.0.1:17443")
    assert "{" not in explain_rpc_error(details)


def test_a_failing_call_is_explained_by_our_own_certificate_where_that_has_expired(
    tmp_path: Path,
) -> None:
    ours = authority()
    tls = tls_files(tmp_path, ours)
    credentials = renewed_credentials(tls, RUN, Role.WORKER, "aws")
    said = explain_rpc_error("Socket closed", "127.0.0.1:1", credentials)
    assert "its own log names the reason" in said
    tls_files(tmp_path, ours, days=(-2, -1))
    said = explain_rpc_error("Socket closed", "127.0.0.1:1", credentials)
    assert said.startswith(f"{tls.certificate} expired on ")


@pytest.mark.parametrize("label", [b"CERTIFICATE", b"X509 CERTIFICATE", b"TRUSTED CERTIFICATE"])
@pytest.mark.parametrize("other_first", [False, True])
def test_a_file_of_two_authorities_is_refused_by_that_name(
    tmp_path: Path, label: bytes, *, other_first: bool
) -> None:
    ours, other = authority(), authority()
    tls = tls_files(tmp_path, ours)
    second = other.pem.replace(b"CERTIFICATE", label)
    both = (second, ours.pem) if other_first else (ours.pem, second)
    tls.ca.write_bytes(b"".join(both))
    with pytest.raises(ConfigError, match=r"ca\.pem holds 2 certificates: .* one authority"):
        check_own(tls, RUN, (Role.WORKER,))
    with pytest.raises(ConfigError, match=r"ca\.pem holds 2 certificates: .* one authority"):
        Genuine(tls.ca, lambda: NOW)


def test_what_was_checked_is_what_grpc_trusts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """gRPC reads past what it does not know: it never gets the file."""
    ours, given = authority(), list[bytes]()
    worker = tls_files(tmp_path / "w", ours)
    coordinator = tls_files(tmp_path / "c", ours, Role.COORDINATOR, "main", hosts=("localhost",))
    for tls in (worker, coordinator):
        content = ours.pem.replace(b"CERTIFICATE", b"X509 CERTIFICATE")
        tls.ca.write_bytes(b"what stands around it\n" + content + b"and after")
    make, configure = grpc.ssl_channel_credentials, grpc.ssl_server_certificate_configuration

    def dialled_with(ca: bytes, *own: bytes) -> grpc.ChannelCredentials:
        given.append(ca)
        return make(ca, *own)

    def served_with(own: Any, ca: bytes) -> grpc.ServerCertificateConfiguration:
        given.append(ca)
        return configure(own, ca)

    with monkeypatch.context() as patched:
        patched.setattr(grpc, "ssl_channel_credentials", dialled_with)
        patched.setattr(grpc, "ssl_server_certificate_configuration", served_with)
        channel_credentials(worker, RUN, Role.WORKER)
        server_credentials(coordinator, RUN)
    assert given == [ours.pem, ours.pem]
