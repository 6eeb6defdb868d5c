"""Admits signers: of offers and words workers of the member list, of evaluations its evaluators.

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
    return _listed(genuine, members, Role.WORKER)


def listed_evaluators(genuine: Genuine, members: MemberList) -> Admits:
    """Return the same of evaluators."""
    return _listed(genuine, members, Role.EVALUATOR)


def _listed(genuine: Genuine, members: MemberList, role: Role) -> Admits:
    def admits(certificate_der: bytes) -> Party:
        identity, key = genuine(certificate_der)
        members.admit(identity, role)
        return Party(WorkerId(identity.name), identity.organisation, key, key_id(key))

    return admits
