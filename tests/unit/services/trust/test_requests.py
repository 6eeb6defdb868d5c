import datetime
from pathlib import Path

import pytest
import yaml
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from common.errors import ConfigError
from services.config.settings import TlsSettings
from services.trust import requests as cert_requests
from services.trust.authority import Holder, alternative_names, init_federation
from services.trust.identity import Identity, MemberList, Role
from services.trust.own import check_own

RUN = "demo"
ONE = "coordinator"


@pytest.fixture
def authority(tmp_path: Path) -> Path:
    folder = tmp_path / "authority"
    init_federation(folder, RUN, [Holder(Role.COORDINATOR, ONE, ONE, ("127.0.0.1",))])
    return folder


def asked(folder: Path, role: Role = Role.WORKER, text: str = "aws@acme") -> cert_requests.Shown:
    identity = cert_requests.holder(RUN, role, text)
    return cert_requests.request(folder, identity, ())[1]


def test_a_key_stays_where_it_was_made_and_its_certificate_fits(
    tmp_path: Path, authority: Path
) -> None:
    here = tmp_path / "worker"
    shown = asked(here)
    assert (here / "aws.key").stat().st_mode & 0o777 == 0o600
    (authority / "incoming.csr").write_bytes((here / "aws.csr").read_bytes())

    signed, _ = cert_requests.sign(authority, authority / "incoming.csr", shown.fingerprint, 30)

    assert not list(authority.glob("aws.key"))
    tls = TlsSettings(ca=authority / "ca.pem", certificate=signed, key=here / "aws.key")
    assert check_own(tls, RUN, (Role.WORKER,), name="aws").identity.organisation == "acme"
    assert MemberList(authority / "members.yaml", RUN).members["aws"].role is Role.WORKER


def test_a_request_with_another_fingerprint_is_not_signed_and_nothing_changes(
    tmp_path: Path, authority: Path
) -> None:
    mine, other = asked(tmp_path / "mine"), asked(tmp_path / "other")
    before = (authority / "members.yaml").read_text()
    with pytest.raises(ConfigError, match="another request"):
        cert_requests.sign(authority, tmp_path / "other" / "aws.csr", mine.fingerprint, 30)
    assert not (authority / "aws.pem").exists()
    assert (authority / "members.yaml").read_text() == before
    loud = other.fingerprint.upper().replace(" ", ":")
    cert_requests.sign(authority, tmp_path / "other" / "aws.csr", loud, 30)


def test_a_renewal_is_for_the_same_key_and_lists_nobody_twice(
    tmp_path: Path, authority: Path
) -> None:
    here = tmp_path / "worker"
    first, _ = cert_requests.sign(authority, here / "aws.csr", asked(here).fingerprint, 30)
    old = x509.load_pem_x509_certificate(first.read_bytes())
    again, shown = cert_requests.sign(authority, here / "aws.csr", asked(here).fingerprint, 60)
    new = x509.load_pem_x509_certificate(again.read_bytes())

    assert new.public_key() == old.public_key()
    assert new.not_valid_after_utc > old.not_valid_after_utc
    assert shown.until == new.not_valid_after_utc
    listed = yaml.safe_load((authority / "members.yaml").read_text())["members"]
    assert [m["name"] for m in listed] == [ONE, "aws"]


@pytest.mark.parametrize(
    ("role", "text", "sentence"),
    [
        (Role.WORKER, "coordinator@acme", "names are unique"),
        (Role.OPERATOR, "coordinator@coordinator", "names are unique"),
    ],
)
def test_a_name_that_is_taken_is_not_signed(
    tmp_path: Path, authority: Path, role: Role, text: str, sentence: str
) -> None:
    before = (authority / f"{ONE}.pem").read_bytes()
    shown = asked(tmp_path / "x", role, text)
    with pytest.raises(ConfigError, match=sentence):
        cert_requests.sign(authority, tmp_path / "x" / f"{ONE}.csr", shown.fingerprint, 30)
    assert (authority / f"{ONE}.pem").read_bytes() == before


@pytest.mark.parametrize("role", [Role.WORKER, Role.OPERATOR, Role.EVALUATOR])
@pytest.mark.parametrize("name", ["ca", "members", "pins"])
def test_a_request_named_as_the_authoritys_own_files_is_not_signed(
    tmp_path: Path, authority: Path, name: str, role: Role
) -> None:
    """Signed, its certificate would replace the authority's: nobody could come in any more."""
    before = {path.name: path.read_bytes() for path in authority.iterdir()}
    identity = cert_requests.holder(RUN, role, f"{name}@mallory")
    with pytest.raises(ConfigError, match="the authority's own"):
        cert_requests.request(tmp_path, identity, ())
    path, shown = made_elsewhere(tmp_path, identity)

    with pytest.raises(ConfigError, match="the authority's own"):
        cert_requests.sign(authority, path, shown.fingerprint, 30)

    assert {path.name: path.read_bytes() for path in authority.iterdir()} == before


def made_elsewhere(folder: Path, identity: Identity) -> tuple[Path, cert_requests.Shown]:
    """Return a request that no `crosscloud certs request` has made."""
    request = (
        x509.CertificateSigningRequestBuilder()
        .subject_name(x509.Name([]))
        .add_extension(alternative_names([identity.uri]), critical=False)
        .sign(ec.generate_private_key(ec.SECP256R1()), hashes.SHA256())
    )
    path = folder / "elsewhere.csr"
    path.write_bytes(request.public_bytes(serialization.Encoding.PEM))
    return path, cert_requests.show(path)


def test_a_request_for_another_run_is_not_signed(tmp_path: Path, authority: Path) -> None:
    identity = cert_requests.holder("other", Role.WORKER, "aws")
    path, shown = cert_requests.request(tmp_path / "x", identity, ())
    with pytest.raises(ConfigError, match="another run"):
        cert_requests.sign(authority, path, shown.fingerprint, 30)


def test_a_list_that_is_lost_is_not_made_again_of_one_name(tmp_path: Path, authority: Path) -> None:
    shown = asked(tmp_path / "x")
    (authority / "members.yaml").unlink()
    with pytest.raises(ConfigError, match="lists nobody, but coordinator hold certificates"):
        cert_requests.sign(authority, tmp_path / "x" / "aws.csr", shown.fingerprint, 30)
    assert not (authority / "aws.pem").exists()


def test_only_a_coordinator_may_ask_for_hosts(tmp_path: Path) -> None:
    worker = cert_requests.holder(RUN, Role.WORKER, "aws")
    with pytest.raises(ConfigError, match="only a coordinator"):
        cert_requests.request(tmp_path, worker, ("example.org",))
    serving = cert_requests.holder(RUN, Role.COORDINATOR, "main")
    _, shown = cert_requests.request(tmp_path, serving, ("example.org", "10.0.0.1"))
    assert shown.hosts == ("example.org", "10.0.0.1")


@pytest.mark.parametrize("content", ["", "-----BEGIN CERTIFICATE REQUEST-----\nx\n"])
def test_what_is_no_certificate_is_said_so(tmp_path: Path, content: str) -> None:
    (tmp_path / "x").write_text(content)
    with pytest.raises(ConfigError, match="neither a certificate nor a request"):
        cert_requests.show(tmp_path / "x")


def test_the_authority_s_own_certificate_is_said_to_be_it(authority: Path) -> None:
    with pytest.raises(ConfigError, match=r"ca\.pem: the certificate of an authority, .*NAME\.pem"):
        cert_requests.show(authority / "ca.pem")


def test_a_request_or_a_certificate_without_any_name_is_refused_in_our_words(
    tmp_path: Path,
) -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    request = x509.CertificateSigningRequestBuilder().subject_name(x509.Name([]))
    pem = request.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)
    (tmp_path / "f.csr").write_bytes(pem)
    with pytest.raises(
        ConfigError, match=r"f\.csr: the request carries 0 crosscloud:// identities"
    ):
        cert_requests.show(tmp_path / "f.csr")
    now = datetime.datetime.now(datetime.UTC)
    made = (
        x509.CertificateBuilder(x509.Name([]), x509.Name([]), key.public_key(), 1, now, now)
        .sign(key, hashes.SHA256())
        .public_bytes(serialization.Encoding.PEM)
    )
    (tmp_path / "f.pem").write_bytes(made)
    with pytest.raises(ConfigError, match=r"f\.pem: the certificate carries 0 crosscloud://"):
        cert_requests.show(tmp_path / "f.pem")
