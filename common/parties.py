"""Asks whose certificate one is, as both sides do before they believe a signature.

Who answers it reads files of its own: a worker its pins or the federation's CA
(`services/worker/trusted.py`), the coordinator the CA and the member list
(`services/coordinator/sessions/listed.py`). Neither asks the other.
"""

from collections.abc import Callable
from dataclasses import dataclass

from common.errors import BadKeyError, NotAMemberError
from common.ids import WorkerId
from common.secagg.signatures import IdentityPublicKey
from common.secagg.transcript import certificate_der


@dataclass(frozen=True, slots=True)
class Party:
    """Whose certificate it is.

    Args:
        organisation: the party that controls the machine.
        key: what its signatures are checked with.
        key_id: SHA-256 of the public key.
    """

    name: WorkerId
    organisation: str
    key: IdentityPublicKey
    key_id: str


Admits = Callable[[bytes], Party]
"""Return whose certificate this DER is; NotAMemberError where it is no admitted worker's."""


def own_party(worker: WorkerId, certificate: str, admits: Admits) -> Party:
    """Return who a worker is by the certificate that it sent, which must be its own.

    Args:
        certificate: base64 of its DER.

    Raises:
        NotAMemberError: nobody's who is admitted now, or another's.
    """
    try:
        party = admits(certificate_der(certificate, worker))
    except BadKeyError as e:
        raise NotAMemberError(str(e)) from None
    if party.name != worker:
        raise NotAMemberError(f"{worker} signs with the certificate of {party.name}")
    return party
