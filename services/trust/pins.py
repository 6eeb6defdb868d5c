"""Pinned keys: which key each worker holds, as one worker's own operator has written it down.

    members: [{name, organisation, key}, ...]      key: SHA-256 of the public key, hexadecimal, as
                                                   `crosscloud certs show` prints it

A certificate's rotation keeps its key, so pins outlive certificates; a new key is a new pin.
"""

from collections.abc import Iterable
from pathlib import Path
from typing import Final

from cryptography import x509

from common.errors import ConfigError
from common.foreign import foreign
from common.secagg import signatures
from services.config import yaml_file
from services.config.members_file import read_entries
from services.config.names import check_name
from services.trust.authority_file import read_certificate_file
from services.trust.identity import identity_in

PINS: Final = "pins.yaml"

Pins = dict[str, tuple[str, str]]
"""name -> (organisation, key id)."""

_FIELDS: Final = ("name", "organisation", "key")


def pin_workers(path: Path, certificates: Iterable[Path]) -> None:
    """Write the keys of some certificates down."""
    members = []
    for pem in certificates:
        content = read_certificate_file(pem)
        with foreign(f"{pem}: the certificate", ConfigError):
            certificate = x509.load_pem_x509_certificate(content)
            i = identity_in(certificate)
            key = signatures.key_id(signatures.identity_public_key(certificate.public_key()))
        members.append({"name": i.name, "organisation": i.organisation, "key": key})
    head = "# Who may be in a sum with this worker, and which key each holds.\n"
    path.write_text(head + yaml_file.dump({"members": members}), encoding="utf-8")


def read_pins(path: Path) -> Pins:
    """Return what is written down.

    Raises:
        ConfigError: the file is missing or wrong.
    """
    pins: Pins = {}
    for entry in read_entries(path, "the pins", _FIELDS):
        where = entry.where
        name, organisation, key = (entry.fields[field] for field in _FIELDS)
        try:
            check_name(name, "name")
            check_name(organisation, "organisation")
        except ConfigError as e:
            raise ConfigError(f"{where}: {e}") from None
        if len(key) != 64 or set(key) - set("0123456789abcdef"):
            raise ConfigError(
                f"{where}: key {key[:20]!r} is not 64 hexadecimal digits; `crosscloud certs show` "
                "prints it"
            )
        if name in pins:
            raise ConfigError(f"{where}: {name!r} stands twice; delete one")
        pins[name] = (organisation, key)
    return pins
