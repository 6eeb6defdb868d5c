"""Tells from a settings file which kind of process it is for."""

from contextlib import suppress
from pathlib import Path
from typing import Any

from cryptography import x509

from common.errors import BadKeyError, ConfigError, NotAMemberError
from common.foreign import foreign
from services.config.config_file import overridden, read_mapping
from services.config.file_kind import process_in
from services.config.settings import EvaluatorSettings
from services.disk.small_file import read_small
from services.trust.identity import Role, identity_in


def role_of(config: Path) -> Role:
    """Return what kind of process a settings file is for.

    Raises:
        ConfigError: it cannot be read.
    """
    raw = read_mapping(config).value
    if (process := process_in(raw)) in (Role.COORDINATOR, Role.OPERATOR):
        return Role(process)
    # A worker's and an evaluator's file have the same fields: their certificates tell.
    with suppress(ConfigError):  # of a variable that fits nowhere; an evaluator's loader names it
        raw = overridden(EvaluatorSettings, config, "evaluator")
    tls: Any = raw.get("tls")
    certificate = tls.get("certificate") if isinstance(tls, dict) else None
    try:
        content = read_small(config.parent / Path(str(certificate)).expanduser())
        with foreign("it"):
            return identity_in(x509.load_pem_x509_certificate(content)).role
    except (OSError, RuntimeError, ConfigError, BadKeyError, NotAMemberError):
        return Role.WORKER  # whose checks name what is wrong with it
