"""The federation's CA certificate in a file: one, and what was checked is all that is trusted.

TLS libraries trust every certificate in the bytes that they are given, under each of three labels
and past what they cannot read. So none is ever given the file: each gets the one certificate that
was read here, encoded anew.
"""

import re
from pathlib import Path
from typing import Final

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from common.errors import BadKeyError, ConfigError
from common.foreign import foreign
from services.disk.small_file import read_small

_BEGIN: Final = re.compile(rb"-----BEGIN ([A-Z0-9]+ )?CERTIFICATE-----")
"""CERTIFICATE, X509 CERTIFICATE, TRUSTED CERTIFICATE: what OpenSSL takes for one."""


def read_authority(path: Path) -> x509.Certificate:
    """Return the one certificate in the CA's file.

    Raises:
        ConfigError: it cannot be read, is none, or holds several.
    """
    content = read_certificate_file(path)
    if (num_there := len(_BEGIN.findall(content))) > 1:
        raise ConfigError(
            f"{path} holds {num_there} certificates: a federation has one authority, and whoever "
            "another one signs would come in; leave its own alone in the file"
        )
    return certificate_in(content, path)


def trusted_pem(authority: x509.Certificate) -> bytes:
    """Return what a TLS library is given to trust this authority and nobody else."""
    return authority.public_bytes(Encoding.PEM)


def read_certificate_file(path: Path) -> bytes:
    """Return a certificate file's bytes.

    Raises:
        ConfigError: it cannot be read.
    """
    try:
        return read_small(path)
    except OSError as e:
        raise ConfigError(f"{path}: cannot read the certificate: {e.strerror}") from None


def certificate_in(content: bytes, path: Path) -> x509.Certificate:
    """Return the first certificate in a file's bytes.

    Args:
        path: of the file, for the sentence.

    Raises:
        ConfigError: there is none.
    """
    try:
        with foreign(str(path)):
            return x509.load_pem_x509_certificate(content)
    except BadKeyError:
        raise ConfigError(f"{path} is not a PEM certificate: check the setting") from None
