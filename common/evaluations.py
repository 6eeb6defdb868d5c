"""Checks that an evaluation is what an evaluator of this very run measured and signed.

Whoever leads a run writes its log. That it cannot make up how good a version is, and so end a run
or have an operator return to another version, an evaluation is signed where it was measured.
Whether the measurement is right only another evaluator can tell.
"""

from common.documents import Evaluation
from common.errors import ProtocolError
from common.ids import Digest
from common.parties import Admits
from common.secagg.transcript import certificate_der, is_signed, signed_content


def evaluation_complaint(evaluation: Evaluation, genesis: Digest, evaluators: Admits) -> str:
    """Return why an evaluation is no evaluator's; "" if it is.

    Args:
        genesis: digest of the run's genesis.
        evaluators: whose certificate it is.
    """
    what = f"the evaluation of version {evaluation.version}"
    if not evaluation.signature:
        return f"no evaluator has signed {what}"
    try:
        party = evaluators(certificate_der(evaluation.certificate, "the evaluator"))
    except ProtocolError as e:
        return f"{what} is no evaluator's: {e}"
    if not is_signed(party.key, "evaluation", signed_content(evaluation), evaluation.signature):
        return f"{what} is not as {party.name} has signed it"
    if evaluation.genesis != genesis:
        return f"{what} is of another run, of genesis {evaluation.genesis[:16]}..."
    return ""
