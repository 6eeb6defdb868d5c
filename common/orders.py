"""Checks that an operator's order is for this very roll-back, and signed by whom it says.

Whoever leads a run writes its log. That it may not choose the base of a sum at will, a worker of
the masked tier takes a roll-back only with an operator's signature, and each signature once.
"""

from common.documents import Record, Rollback
from common.errors import ProtocolError
from common.ids import Digest
from common.parties import Admits
from common.secagg.signatures import IdentityPublicKey
from common.secagg.transcript import certificate_der, is_signed, signed_content


def rollback_complaint(record: Record, genesis: Digest, last_seq: int, operators: Admits) -> str:
    """Return why a roll-back's record is no operator's; "" if it is.

    Args:
        genesis: digest of the run's genesis.
        last_seq: of the newest roll-back before it; -1 = there was none.
        operators: whose certificate it is, though it may have ended since.
    """
    rollback = record.rollback
    assert rollback is not None
    if rollback.order is None:
        return "no operator has signed it"
    try:
        party = operators(certificate_der(rollback.order.certificate, rollback.by))
    except ProtocolError as e:
        return str(e)
    return order_complaint(rollback, record.digest, genesis, record.seq, last_seq, party.key)


def order_complaint(
    rollback: Rollback,
    digest: Digest,
    genesis: Digest,
    seq: int,
    last_seq: int,
    key: IdentityPublicKey,
) -> str:
    """Return why the order in a roll-back is none; "" if it is one.

    Args:
        digest: of the version that is to be the head again.
        genesis: digest of the run's genesis.
        seq: of the roll-back's record.
        last_seq: of the newest roll-back before it; -1 = there was none.
        key: of the certificate in the order. Whose that is, is not asked here.
    """
    order = rollback.order
    if order is None:
        return "no operator has signed it"
    if not is_signed(key, "rollback", signed_content(order), order.signature):
        return "the signature of its order is wrong"
    if order.genesis != genesis:
        return f"its order is for another run, of genesis {order.genesis[:16]}..."
    if (order.version, order.digest) != (rollback.version, digest):
        return (
            f"its order is for version {order.version} {order.digest[:16]}..., the record returns "
            f"to {rollback.version} {digest[:16]}..."
        )
    if not last_seq < order.num_records <= seq:
        return (
            f"its order was signed at record {order.num_records}, and record {last_seq} is a "
            "roll-back: each order is good for once"
        )
    return ""
