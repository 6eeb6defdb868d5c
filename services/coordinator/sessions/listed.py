"""Admits signers of offers and words: workers of the member list, and nobody else.

It relays nothing that every honest member would have to refuse. A session is let in only as the
list has it, so a certificate that fits the list is that of its session's identity.
"""

from common.ids import WorkerId
from common.parties import Admits, Party
from common.secagg.signatures import key_id
from services.trust.genuine import Genuine
from services.trust.identity import MemberList, Role


def listed_workers(genuine: Genuine, members: MemberList) -> Admits:
    """Return what says whose certificate it is; NotAMemberError where it is no listed worker's."""

    def admits(certificate_der: bytes) -> Party:
        identity, key = genuine(certificate_der)
        members.admit(identity, Role.WORKER)
        return Party(WorkerId(identity.name), identity.organisation, key, key_id(key))

    return admits
