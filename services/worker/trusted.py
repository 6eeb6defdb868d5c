"""Tells whom this worker takes for a member of a sum, or an operator: from its own files alone.

A certificate has to be signed by the federation's CA and name a worker, or an operator, of this
run. With pins, it must also hold the very key that this worker's own file gives that name and
organisation: then not even whoever holds the CA's key can invent one. Files are read again when
they change.

    pins.yaml:  members: [{name, organisation, key}, ...]      key: SHA-256 of the public key,
                                                               as `crosscloud certs show` prints it
"""

import datetime
import math
from collections.abc import Callable
from pathlib import Path

from common.documents import Genesis
from common.errors import ConfigError, NotAMemberError
from common.ids import WorkerId
from common.parties import Party
from common.secagg import signatures
from common.secagg.signatures import IdentityPublicKey
from services.config.renewed import Renewed
from services.config.settings import TrustSettings
from services.trust.genuine import Genuine
from services.trust.identity import Identity, Role
from services.trust.pins import Pins, read_pins
from worker.rounds.trust import Trust


class PinnedMembers:
    """Says whose certificate it is; `PinnedMembers.__call__` is an `Admits`.

    Args:
        ca: the federation's CA certificate, PEM.
        pins: pins.yaml; None = whoever holds such a certificate of the CA.
        now: the present, for certificates' validity.
        role: of those that are admitted.

    Raises:
        ConfigError: a file is missing or wrong.
    """

    def __init__(
        self,
        run: str,
        ca: Path,
        pins: Path | None,
        now: Callable[[], datetime.datetime],
        role: Role = Role.WORKER,
    ) -> None:
        self._run = run
        self._role = role
        self._genuine = Genuine(ca, now)
        self._path = pins
        self._pins: Renewed[Pins] | None = None
        if pins is not None:
            self._pins = Renewed(f"pins {pins}", (pins,), lambda: read_pins(pins))

    def __call__(self, certificate_der: bytes) -> Party:
        """Return whose certificate this is, which is valid now.

        Raises:
            NotAMemberError: it is nobody's who is admitted, whatever the bytes are.
        """
        return self._party(*self._genuine(certificate_der))

    def ever(self, certificate_der: bytes) -> Party:
        """Return whose certificate this is or was: what its key has signed outlives it.

        Raises:
            NotAMemberError: it is nobody's who is admitted.
        """
        return self._party(*self._genuine.ever(certificate_der))

    def _party(self, identity: Identity, key: IdentityPublicKey) -> Party:
        if identity.run != self._run or identity.role is not self._role:
            raise NotAMemberError(f"{identity.uri} is no {self._role} of run {self._run}")
        key_id = signatures.key_id(key)
        if self._pins is not None:
            pinned = self._pins.read().get(identity.name)
            if pinned != (identity.organisation, key_id):
                raise NotAMemberError(
                    f"{identity.name} of {identity.organisation} with key {key_id[:16]}... is not "
                    f"pinned: if that is right, write it into {self._path}"
                )
        return Party(WorkerId(identity.name), identity.organisation, key, key_id)


def agreed(settings: TrustSettings, genesis: Genesis) -> Trust:
    """Return what this worker's own file insists on, in a run that is not weaker (rule 1).

    Raises:
        ConfigError: the run is.
    """
    trust, algorithm = trust_of(settings), genesis.algorithm
    if complaint := trust.complaint(algorithm, algorithm.tier):
        raise ConfigError(f"run {genesis.run}: {complaint}: change the one or the other")
    return trust


def trust_of(settings: TrustSettings) -> Trust:
    """Return what the core insists on."""
    values = settings.model_dump(exclude={"pins", "operators", "max_clip"})
    max_clip = math.inf if settings.max_clip is None else settings.max_clip
    return Trust(**values, max_clip=max_clip)
