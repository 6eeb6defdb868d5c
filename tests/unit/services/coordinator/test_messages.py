"""What goes down the line between the control process and its children comes out as it went in."""

from dataclasses import replace

import pytest

from common.errors import MalformedDocumentError
from common.ids import Digest, RoundId, WorkerId
from common.rounds import AbortReason
from coordinator.ports import (
    Compute,
    Computed,
    ComputeFailed,
    DropSpool,
    OpenSpool,
    Progressed,
    Restored,
    RestoreFailed,
    Seal,
    Sealed,
    Secrets,
    SpoolOpened,
    Uploaded,
)
from services.coordinator import bulk, commit
from services.coordinator.messages import Summed
from services.wire.child import decode_line, encode_line
from tests.unit.services.coordinator.watch.test_observer import commit_record

ROUND = RoundId("0" * 32)
A, B = WorkerId("aws"), WorkerId("gcp")
COMMIT = commit_record().commit
assert COMMIT is not None
COMPUTE = Compute(COMMIT.plan, COMMIT.numbers, COMMIT.survivors)
SECRETS = Secrets("1" * 64, {A: "2" * 64}, {B: "3" * 64})

ORDERS = {
    bulk: (OpenSpool(ROUND, (A, B), 8, 0), Seal(ROUND), DropSpool(ROUND)),
    commit: (COMPUTE, replace(COMPUTE, secrets=SECRETS, signatures={A: "ab"})),
}
ANSWERS = {
    bulk: (SpoolOpened(ROUND), Progressed(A), Uploaded(A, ROUND), Sealed(ROUND, (A, B))),
    commit: (
        Computed(ROUND, COMMIT, Digest("d")),
        *(ComputeFailed(ROUND, reason, "why") for reason in AbortReason),
        ComputeFailed(ROUND, AbortReason.BAD_UPDATE, "why", A),
        Restored(3, Digest("d"), 2),
        RestoreFailed(3, "why"),
        Summed(3, 0.5, 2.0, 0.5),
        Summed(3, 0.5, 2.0, 0.5, 0.001),
    ),
}


@pytest.mark.parametrize("child", [bulk, commit], ids=lambda child: child.__name__)
def test_the_cores_own_words_go_down_a_childs_line_and_come_back(child: object) -> None:
    module = bulk if child is bulk else commit
    for order in ORDERS[module]:
        assert decode_line(encode_line(order), module.RECEIVES) == order
    for answer in ANSWERS[module]:
        assert decode_line(encode_line(answer), module.SENDS) == answer


def test_a_reason_that_is_none_is_refused_with_those_there_are() -> None:
    line = encode_line(ComputeFailed(ROUND, AbortReason.STOPPED, "why"))
    with pytest.raises(MalformedDocumentError, match=r"reason: 'stopper' is none of .*stopped"):
        decode_line(line.replace(b"stopped", b"stopper"), commit.SENDS)
    with pytest.raises(MalformedDocumentError, match="reason: expected str, got int"):
        decode_line(line.replace(b'"stopped"', b"1"), commit.SENDS)
