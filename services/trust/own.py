"""A process's own certificate, checked before it is used.

A wrong one otherwise shows as "Socket closed" on the other machine: right CA, right key, right run,
role and name, not expired.
"""

import datetime
from collections.abc import Sequence
from dataclasses import dataclass

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import serialization

from common.errors import ConfigError, NotAMemberError
from services.config.settings import TlsSettings
from services.disk.small_file import read_small
from services.trust.authority_file import (
    certificate_in,
    read_authority,
    read_certificate_file,
    trusted_pem,
)
from services.trust.identity import Identity, Role, identity_in


@dataclass(frozen=True, slots=True, repr=False)
class Checked:
    """What was checked, as bytes for gRPC: the files may change, or hold more than was looked at.

    Args:
        trusted: PEM of the federation's authority.
        key: PEM of our private key.
        certificate: PEM of our certificate, and of what else stands in its file.
    """

    identity: Identity
    trusted: bytes
    key: bytes
    certificate: bytes


def check_own(
    tls: TlsSettings,
    run: str,
    roles: Sequence[Role],
    now: datetime.datetime | None = None,
    name: str = "",
) -> Checked:
    """Return what our own files hold if the certificate is fit for `run` and `roles`.

    Raises:
        ConfigError: it is not; says which file, why, and what to do.
    """
    now = now or datetime.datetime.now(datetime.UTC)
    authority, content = read_authority(tls.ca), read_certificate_file(tls.certificate)
    certificate = certificate_in(content, tls.certificate)
    key = checked_key(tls, certificate)
    try:
        certificate.verify_directly_issued_by(authority)
    except (ValueError, TypeError, InvalidSignature):
        raise ConfigError(
            f"{tls.certificate} is not signed by {tls.ca}: take both from one federation's folder"
        ) from None
    for path, each in ((tls.ca, authority), (tls.certificate, certificate)):
        if each.not_valid_after_utc <= now:
            raise ConfigError(
                f"{path} expired on {each.not_valid_after_utc:%Y-%m-%d %H:%M} UTC: issue a new one"
            )
        if each.not_valid_before_utc > now:
            raise ConfigError(
                f"{path} is not valid before {each.not_valid_before_utc:%Y-%m-%d %H:%M} UTC: set "
                "this machine's clock or wait"
            )
    identity = _check_identity(tls, certificate, run, roles, name)
    return Checked(identity, trusted_pem(authority), key, content)


def checked_key(tls: TlsSettings, certificate: x509.Certificate) -> bytes:
    """Return our private key's PEM if it is that of our certificate.

    Raises:
        ConfigError: it is not; names the file.
    """
    try:
        content = read_small(tls.key)
        key = serialization.load_pem_private_key(content, password=None)
    except OSError as e:
        raise ConfigError(f"{tls.key}: cannot read the private key: {e.strerror}") from None
    except (ValueError, TypeError):
        raise ConfigError(
            f"{tls.key} is not a PEM private key without a password: check the setting"
        ) from None
    if key.public_key() != certificate.public_key():
        raise ConfigError(
            f"{tls.key} is not the key of {tls.certificate}: take both from one federation's folder"
        )
    return content


def _check_identity(
    tls: TlsSettings, certificate: x509.Certificate, run: str, roles: Sequence[Role], name: str
) -> Identity:
    try:
        identity = identity_in(certificate)
    except NotAMemberError as e:
        raise ConfigError(f"{tls.certificate}: {e}") from None
    if identity.run != run:
        raise ConfigError(
            f"{tls.certificate} is for run {identity.run!r}, this is run {run!r}: use that run's "
            "certificate"
        )
    if identity.role not in roles:
        raise ConfigError(
            f"{tls.certificate} is a certificate of role {identity.role}, this process needs "
            f"{' or '.join(roles)}: use another"
        )
    if name and identity.name != name:
        raise ConfigError(
            f"{tls.certificate} is for {identity.name!r}, the settings say {name!r}: correct one"
        )
    return identity
