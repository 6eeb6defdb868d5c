"""Certificates whose keys never travel: a request is made where the key stays, signed elsewhere.

    at the worker      NAME.key (never leaves) + NAME.csr --> to the authority, with its fingerprint
    at the authority   NAME.csr, fingerprint compared     --> NAME.pem, and the member list

Whoever carries the request could change it; so signing wants the fingerprint that the requester
read out, and refuses another. The fingerprint is of the whole request: key, identity and hosts.
"""

import datetime
import hashlib
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from common.errors import BadKeyError, ConfigError, NotAMemberError
from common.foreign import boundary, foreign
from common.secagg import signatures
from services.config.places import check_folder
from services.disk.files import replace_file
from services.disk.small_file import read_small
from services.trust import authority as certs
from services.trust.identity import Identity, Role, identity_among
from services.trust.member_listing import list_members

_GROUP: Final = 4


@dataclass(frozen=True, slots=True)
class Shown:
    """What a certificate or a request says.

    Args:
        kind: "request" or "certificate".
        fingerprint: SHA-256 of the file's content, in groups of four hexadecimal digits.
        key: SHA-256 of the public key: what other workers pin.
        until: the certificate's end.
    """

    kind: str
    identity: Identity
    hosts: tuple[str, ...]
    fingerprint: str
    key: str
    until: datetime.datetime | None = None


def request(folder: Path, identity: Identity, hosts: tuple[str, ...]) -> tuple[Path, Shown]:
    """Write `NAME.csr`, for the key in `NAME.key`; a missing key is made.

    Raises:
        ConfigError: hosts where there may be none, or a key that cannot be read.
    """
    certs.check_holder(certs.Holder(identity.role, identity.name, identity.organisation, hosts))
    check_folder("FOLDER", folder)
    key = _key(folder / f"{identity.name}.key")
    subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, identity.name)])
    made = (
        x509.CertificateSigningRequestBuilder()
        .subject_name(subject)
        .add_extension(certs.alternative_names([identity.uri], hosts), critical=False)
        .sign(key, hashes.SHA256())
    )
    path = folder / f"{identity.name}.csr"
    replace_file(path, made.public_bytes(serialization.Encoding.PEM))
    return path, show(path)


def show(path: Path) -> Shown:
    """Return what a certificate or a request says.

    Raises:
        ConfigError: it is neither, or it names no identity of this system.
    """
    found = _read(path)
    try:
        with foreign(f"what stands in {path}", ConfigError):
            return _shown(found)
    except (BadKeyError, NotAMemberError) as e:
        raise ConfigError(f"{path}: {e}") from None


def _shown(found: x509.Certificate | x509.CertificateSigningRequest) -> Shown:
    is_request = isinstance(found, x509.CertificateSigningRequest)
    if isinstance(found, x509.Certificate) and _is_authority(found):
        raise NotAMemberError(
            "the certificate of an authority, which names nobody: give that of a holder, NAME.pem"
        )
    try:
        names = found.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        names = x509.SubjectAlternativeName([])
    uris = names.get_values_for_type(x509.UniformResourceIdentifier)
    identity = identity_among(uris, "the request" if is_request else "the certificate")
    hosts = (
        *names.get_values_for_type(x509.DNSName),
        *map(str, names.get_values_for_type(x509.IPAddress)),
    )
    digest = hashlib.sha256(found.public_bytes(serialization.Encoding.DER)).hexdigest()
    groups = (digest[i : i + _GROUP] for i in range(0, len(digest), _GROUP))
    return Shown(
        kind="request" if is_request else "certificate",
        identity=identity,
        hosts=hosts,
        fingerprint=" ".join(groups),
        key=signatures.key_id(signatures.identity_public_key(found.public_key())),
        until=found.not_valid_after_utc if isinstance(found, x509.Certificate) else None,
    )


def _is_authority(certificate: x509.Certificate) -> bool:
    """Return whether a certificate may sign others."""
    try:
        found = certificate.extensions.get_extension_for_class(x509.BasicConstraints)
    except x509.ExtensionNotFound:
        return False
    return found.value.ca


def sign(folder: Path, path: Path, fingerprint: str, valid_days: int) -> tuple[Path, Shown]:
    """Write `NAME.pem` for a request, and the name to the member list; an older one is replaced.

    Args:
        folder: of the authority and the member list.
        path: the request.
        fingerprint: that the requester says it has; spaces and case do not count.

    Raises:
        ConfigError: it is another request, of another run, or not signed by its own key.
    """
    shown, found = show(path), _read(path)
    if not isinstance(found, x509.CertificateSigningRequest):
        raise ConfigError(f"{path} is a certificate: give the .csr file")
    if _plain(fingerprint) != _plain(shown.fingerprint):
        raise ConfigError(
            f"{path} has the fingerprint {shown.fingerprint}, not the one that was given: it is "
            "another request; ask its maker to read out what `crosscloud certs show` says there"
        )
    with foreign(f"the key in {path}", ConfigError):
        key, is_own = found.public_key(), found.is_signature_valid
    if not is_own or not isinstance(key, ec.EllipticCurvePublicKey):
        raise ConfigError(f"{path} is not signed by its own elliptic-curve key: make it again")
    who = shown.identity
    certs.check_holder(certs.Holder(who.role, who.name, who.organisation, shown.hosts))
    now = datetime.datetime.now(datetime.UTC)
    authority = certs.authority_in(folder, who.run, now)
    if authority is None:
        raise ConfigError(
            f"{folder} holds no authority: sign where `crosscloud certs init` was run"
        )
    certs.refuse_lost_list(folder, who.run, authority, [who.name])
    list_members(folder / certs.MEMBERS, [who], dry=True)
    check_folder("FOLDER", folder)
    until = now + datetime.timedelta(days=valid_days)
    signed = certs.certificate_for(authority, who, shown.hosts, key, now - certs.CLOCK_SKEW, until)
    target = folder / f"{who.name}.pem"
    replace_file(target, signed)
    list_members(folder / certs.MEMBERS, [who])
    return target, show(target)


def _key(path: Path) -> ec.EllipticCurvePrivateKey:
    if not path.exists():
        made = ec.generate_private_key(ec.SECP256R1())
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "wb") as file:
            file.write(certs.private_pem(made))
        return made
    with boundary(path, "cannot be used", "move it away to get a new key"):
        found = serialization.load_pem_private_key(read_small(path), password=None)
    if not isinstance(found, ec.EllipticCurvePrivateKey):
        raise ConfigError(f"{path} is no elliptic-curve key: move it away to get a new one")
    return found


def _read(path: Path) -> x509.Certificate | x509.CertificateSigningRequest:
    try:
        content = read_small(path)
    except OSError as e:
        raise ConfigError(f"{path}: cannot be read: {e.strerror}") from None
    try:
        with foreign(str(path)):
            if b"CERTIFICATE REQUEST" in content:
                return x509.load_pem_x509_csr(content)
            return x509.load_pem_x509_certificate(content)
    except BadKeyError:
        raise ConfigError(f"{path} is neither a certificate nor a request in PEM") from None


def _plain(fingerprint: str) -> str:
    return "".join(fingerprint.replace(":", "").split()).lower()


def holder(run: str, role: Role, text: str) -> Identity:
    """Return the identity of NAME or NAME@ORGANISATION."""
    name, _, organisation = text.partition("@")
    return Identity(run, role, organisation or name, name)
