"""A certificate authority for one federation, small enough to run with `crosscloud certs init`.

The authority signs one certificate per name. Only a coordinator's may serve (it alone has host
names and the server's key usage); all others can only dial, so a stolen worker certificate cannot
pose as the coordinator. It replaces nothing: what is there and does not fit is an error. Names are
listed before their pairs are made, so whatever ends it halfway, asking again completes it. Whoever
holds `ca.key` can admit anybody: keep it off the coordinator.
"""

import datetime
import ipaddress
import os
from collections.abc import Collection, Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from common.errors import ConfigError, CrosscloudError, NotAMemberError
from common.foreign import boundary
from services.config.addresses import checked_host
from services.config.names import check_name
from services.config.places import check_folder
from services.disk.files import storage_errors
from services.disk.small_file import read_small
from services.trust.identity import SCHEME, Identity, Role, identity_in
from services.trust.member_listing import check_organisations, list_members, listed_in
from services.trust.pins import PINS

CA_CERTIFICATE: Final = "ca.pem"
CA_KEY: Final = "ca.key"
MEMBERS: Final = "members.yaml"

_RESTORE: Final = f"restore {CA_CERTIFICATE} and {CA_KEY}, or start in an empty folder"
_OWN_FILES: Final = (CA_CERTIFICATE, CA_KEY, MEMBERS, PINS)
NOT_FOR_HOLDERS: Final = frozenset(Path(name).stem for name in _OWN_FILES)
"""Names whose files would be the authority's own."""

_MOST_DAYS: Final = 3650
CLOCK_SKEW: Final = datetime.timedelta(minutes=5)


@dataclass(frozen=True, slots=True)
class Holder:
    """Who gets a certificate.

    Args:
        hosts: DNS names and IP addresses under which a coordinator is dialled; empty for others.
    """

    role: Role
    name: str
    organisation: str
    hosts: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Authority:
    """A certificate authority: its own certificate and private key."""

    certificate: x509.Certificate
    key: ec.EllipticCurvePrivateKey

    @property
    def pem(self) -> bytes:
        """The certificate, PEM."""
        return self.certificate.public_bytes(serialization.Encoding.PEM)

    @property
    def key_pem(self) -> bytes:
        """The private key, PEM, not encrypted."""
        return private_pem(self.key)


def init_federation(
    folder: Path,
    run: str,
    holders: Sequence[Holder],
    valid_days: int = 365,
    min_cohort: int = 0,
) -> tuple[Path, ...]:
    """Make what is missing in `folder`: authority, `NAME.pem` and `NAME.key`, member list.

    Args:
        valid_days: how long new certificates are good; a new authority lives ten times as long.
        min_cohort: organisations that a sum of the masked tier needs; 0 = any number will do.

    Returns:
        The files that were written; empty when everything was there.

    Raises:
        ConfigError: a name is wrong, the folder holds another run's or another name's files, the
            list is lost, or the workers are of too few organisations.
        StorageError: a pair cannot be written; nothing is left of it.
    """
    check_name(run, "run")
    if not 1 <= valid_days <= _MOST_DAYS:
        raise ConfigError(f"valid_days {valid_days}: expected 1 to {_MOST_DAYS}")
    wanted = {h.name: (Identity(run, h.role, h.organisation, h.name), h) for h in holders}
    if len(wanted) != len(holders):
        raise ConfigError("two certificates for one name: names are unique in a run")
    for _, h in wanted.values():
        check_holder(h)
    asked = {name: identity for name, (identity, _) in wanted.items()}
    check_organisations(folder / MEMBERS, run, asked, min_cohort)
    now = datetime.datetime.now(datetime.UTC)
    authority = authority_in(folder, run, now)
    new = [pair for pair in wanted.values() if not _is_there(folder, authority, *pair)]
    is_listed = listed_in(folder / MEMBERS, run)
    identities = [identity for identity, _ in (new if is_listed else wanted.values())]
    refuse_lost_list(folder, run, authority, asked)
    written = []
    if identities:  # one that holds a certificate is never listed again: it may have been sent away
        list_members(folder / MEMBERS, identities, dry=True)
        check_folder("FOLDER", folder)
        if list_members(folder / MEMBERS, identities):
            written.append(folder / MEMBERS)
    if authority is None:
        authority = new_authority(run, now - CLOCK_SKEW, now + _days(10 * valid_days))
        written += _write_pair(folder, CA_CERTIFICATE, CA_KEY, authority.pem, authority.key_pem)
    for identity, h in new:
        certificate, key = issue(
            authority, identity, h.hosts, now - CLOCK_SKEW, now + _days(valid_days)
        )
        written += _write_pair(folder, f"{h.name}.pem", f"{h.name}.key", certificate, key)
    return tuple(written)


def new_authority(
    run: str, not_before: datetime.datetime, not_after: datetime.datetime
) -> Authority:
    """Return a self-signed authority for `run`."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, f"crosscloud {run} CA")])
    certificate = (
        _builder(name, name, key.public_key(), not_before, not_after)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_key_usage(signs_certificates=True), critical=True)
        .add_extension(alternative_names([_authority_uri(run)]), critical=False)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .sign(key, hashes.SHA256())
    )
    return Authority(certificate, key)


def issue(
    authority: Authority,
    identity: Identity,
    hosts: Iterable[str],
    not_before: datetime.datetime,
    not_after: datetime.datetime,
) -> tuple[bytes, bytes]:
    """Return (certificate, private key), both PEM, for `identity`."""
    key = ec.generate_private_key(ec.SECP256R1())
    certificate = certificate_for(
        authority, identity, hosts, key.public_key(), not_before, not_after
    )
    return certificate, private_pem(key)


def certificate_for(
    authority: Authority,
    identity: Identity,
    hosts: Iterable[str],
    key: ec.EllipticCurvePublicKey,
    not_before: datetime.datetime,
    not_after: datetime.datetime,
) -> bytes:
    """Return a certificate, PEM, for the holder of `key`; it never outlives its authority."""
    not_after = min(not_after, authority.certificate.not_valid_after_utc)
    serves = identity.role is Role.COORDINATOR
    usage = ExtendedKeyUsageOID.SERVER_AUTH if serves else ExtendedKeyUsageOID.CLIENT_AUTH
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, identity.name)])
    signer = authority.key.public_key()
    certificate = (
        _builder(subject, authority.certificate.subject, key, not_before, not_after)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_key_usage(signs_certificates=False), critical=True)
        .add_extension(x509.ExtendedKeyUsage([usage]), critical=False)
        .add_extension(alternative_names([identity.uri], hosts), critical=False)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(signer), critical=False)
        .sign(authority.key, hashes.SHA256())
    )
    return certificate.public_bytes(serialization.Encoding.PEM)


def authority_in(folder: Path, run: str, now: datetime.datetime) -> Authority | None:
    """Return the authority that `folder` holds, fit for `run`; None where it holds none."""
    certificate_path, key_path = folder / CA_CERTIFICATE, folder / CA_KEY
    if not os.path.lexists(certificate_path) and not os.path.lexists(key_path):
        return None
    with boundary(folder, "an authority is there but cannot be used", _RESTORE):
        certificate = x509.load_pem_x509_certificate(read_small(certificate_path))
        key = serialization.load_pem_private_key(read_small(key_path), password=None)
        uris = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    if not isinstance(key, ec.EllipticCurvePrivateKey) or (
        key.public_key() != certificate.public_key()
    ):
        raise ConfigError(f"{key_path} is not the key of {certificate_path}: restore the pair")
    if _authority_uri(run) not in uris.get_values_for_type(x509.UniformResourceIdentifier):
        raise ConfigError(
            f"{certificate_path} is the authority of another run than {run!r}: one folder holds "
            "one run; choose another folder"
        )
    if certificate.not_valid_after_utc <= now:
        raise ConfigError(
            f"{certificate_path} expired on {certificate.not_valid_after_utc:%Y-%m-%d}: make a new "
            "federation in an empty folder"
        )
    return Authority(certificate, key)


def refuse_lost_list(
    folder: Path, run: str, authority: Authority | None, asked: Collection[str]
) -> None:
    """Let pass a folder whose list is there, or none of whose certificates the new list would miss.

    Args:
        asked: names that the new list will have.

    Raises:
        ConfigError: names the holders: which of them were sent away is not known any more.
    """
    if authority is None or listed_in(folder / MEMBERS, run):
        return
    missed = sorted({i.name for i in _certified(folder, authority)} - set(asked))
    if missed:
        raise ConfigError(
            f"{folder / MEMBERS} lists nobody, but {', '.join(missed)} hold certificates: restore "
            "it; or run `crosscloud certs init` with --worker for each that shall come in, and the "
            "others' files moved away (sign those again whose keys are elsewhere)"
        )


def _certified(folder: Path, authority: Authority) -> Iterator[Identity]:
    for path in folder.glob("*.pem"):
        with suppress(OSError, ValueError, TypeError, InvalidSignature, CrosscloudError):
            certificate = x509.load_pem_x509_certificate(read_small(path))
            certificate.verify_directly_issued_by(authority.certificate)
            if path.name != CA_CERTIFICATE:
                yield identity_in(certificate)


def _is_there(
    folder: Path, authority: Authority | None, identity: Identity, holder: Holder
) -> bool:
    certificate_path, key_path = folder / f"{holder.name}.pem", folder / f"{holder.name}.key"
    if not os.path.lexists(certificate_path) and not os.path.lexists(key_path):
        return False
    if authority is None:
        raise ConfigError(f"{certificate_path} is there without its authority: {_RESTORE}")
    doing = f"it and {key_path.name} are there but are no pair of this authority"
    with boundary(certificate_path, doing, "delete both to get new ones"):
        certificate = x509.load_pem_x509_certificate(read_small(certificate_path))
        key = serialization.load_pem_private_key(read_small(key_path), password=None)
        if key.public_key() != certificate.public_key():
            raise ValueError(f"{key_path.name} is another's key")
        try:
            found = identity_in(certificate)
        except NotAMemberError as e:
            raise ValueError(e) from None
        certificate.verify_directly_issued_by(authority.certificate)
        names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    if found != identity or set(names) != set(alternative_names([identity.uri], holder.hosts)):
        raise ConfigError(
            f"{certificate_path} is for {found.uri} with other names or hosts than asked for: "
            "it is never replaced; delete it and its key to get a new one"
        )
    return True


def _write_pair(
    folder: Path, certificate_name: str, key_name: str, certificate: bytes, key: bytes
) -> list[Path]:
    pair = [(folder / key_name, key, 0o600), (folder / certificate_name, certificate, 0o666)]
    made: list[Path] = []
    try:
        for path, content, mode in pair:
            with storage_errors(f"cannot write {path}"):
                descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
                made.append(path)
                with os.fdopen(descriptor, "wb") as f:
                    f.write(content)
    except BaseException:  # half a pair would have to be deleted by hand
        for path in made:
            path.unlink(missing_ok=True)
        raise
    return made


def _builder(
    subject: x509.Name,
    issuer: x509.Name,
    key: ec.EllipticCurvePublicKey,
    not_before: datetime.datetime,
    not_after: datetime.datetime,
) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(not_before)
        .not_valid_after(not_after)
    )


def _key_usage(*, signs_certificates: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not signs_certificates,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=signs_certificates,
        crl_sign=signs_certificates,
        encipher_only=False,
        decipher_only=False,
    )


def alternative_names(
    uris: Iterable[str], hosts: Iterable[str] = ()
) -> x509.SubjectAlternativeName:
    """Return the extension with these URIs, DNS names and IP addresses."""
    names: list[x509.GeneralName] = [x509.UniformResourceIdentifier(uri) for uri in uris]
    for host in map(_checked_host, hosts):
        try:
            names.append(x509.IPAddress(ipaddress.ip_address(host)))
        except ValueError:
            names.append(x509.DNSName(host))
    return x509.SubjectAlternativeName(names)


def check_holder(holder: Holder) -> None:
    """Let pass whoever may get a certificate: `NAME.pem`, `NAME.key` and `NAME.csr` are its files.

    Raises:
        ConfigError: its files would be the authority's own; a coordinator without hosts, another
            role with some, or one that is none.
    """
    if holder.name in NOT_FOR_HOLDERS:
        raise ConfigError(
            f"{holder.role} {holder.name!r}: files of that name are the authority's own "
            f"({', '.join(sorted(_OWN_FILES))}): choose another name"
        )
    for host in holder.hosts:
        _checked_host(host)
    if holder.role is Role.COORDINATOR and not holder.hosts:
        raise ConfigError(
            f"coordinator {holder.name!r} has no hosts: give the DNS names or IP addresses under "
            "which workers dial it"
        )
    if holder.role is not Role.COORDINATOR and holder.hosts:
        raise ConfigError(f"{holder.role} {holder.name!r} has hosts: only a coordinator may serve")


def _checked_host(host: str) -> str:
    star = "*." if host.startswith("*.") else ""
    try:
        return star + checked_host(host.removeprefix(star))
    except ValueError as e:
        raise ConfigError(f"host {host!r}: {e}") from None


def _authority_uri(run: str) -> str:
    return f"{SCHEME}://{run}"


def private_pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    """Return a private key, PEM, not encrypted."""
    return key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )


def _days(days: int) -> datetime.timedelta:
    return datetime.timedelta(days=days)
