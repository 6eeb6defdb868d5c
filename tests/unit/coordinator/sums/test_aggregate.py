from collections.abc import Callable

import numpy as np
import pytest

from common.documents import SideValues
from common.errors import BadUpdateError
from common.ids import WorkerId
from common.shards import PayloadLayout, pack_side_values, unpack_energy, unpack_side_values
from coordinator.sums.aggregate import aggregate
from tests.rig.rounds.small_run import SMALL, WORKERS, Run, bytes_of, random_vector, with_codec


def spooled(bits: int, kind: str = "dense") -> tuple[Run, dict[WorkerId, bytes]]:
    run = Run(with_codec(kind, bits))
    terms = run.terms(run.plan())
    payloads = {
        w: run.payload(terms, w, run.theta() - random_vector(SMALL, i, 0.01), seed=i)[0]
        for i, w in enumerate(WORKERS)
    }
    return run, payloads


def summed(run: Run, payloads: dict[WorkerId, bytes]) -> tuple[SideValues, bytes]:
    content = bytearray()
    uploads = {w: bytes_of(p) for w, p in payloads.items()}
    return aggregate(run.terms(run.plan()), uploads, content.extend), bytes(content)


def test_the_aggregate_is_the_integer_sum_and_the_side_values_add_up() -> None:
    run, payloads = spooled(8)
    layout = PayloadLayout(SMALL.length, 8)

    side, content = summed(run, payloads)

    data = [np.frombuffer(p, np.int8, layout.data_bytes).astype(int) for p in payloads.values()]
    assert len(content) == layout.aggregate_bytes(4)
    found = np.frombuffer(content, np.int8, layout.data_bytes)
    assert found.tolist() == np.sum(data, axis=0).tolist()
    energy = [unpack_side_values(p[layout.side_offset :], layout)[1] for p in payloads.values()]
    assert unpack_energy(content[layout.data_bytes :]).tolist() == np.sum(energy, axis=0).tolist()
    assert side == SideValues(4 * 65535, 4 * 2**20, 0)


def test_the_order_in_which_uploads_are_named_changes_nothing() -> None:
    for kind, bits in (("dense", 8), ("float32", 32)):
        run, payloads = spooled(bits, kind)

        assert summed(run, dict(reversed(payloads.items()))) == summed(run, payloads)


def side_values_changed(
    change: Callable[[SideValues, np.ndarray], tuple[SideValues, np.ndarray]],
) -> Callable:
    def tamper(payload: bytes, layout: PayloadLayout) -> bytes:
        side, energy = unpack_side_values(payload[layout.side_offset :], layout)
        return payload[: layout.side_offset] + pack_side_values(*change(side, energy))

    return tamper


@pytest.mark.parametrize(
    ("tamper", "message"),
    [
        (lambda p, _: b"\x20" + p[1:], r"gcp: values from -?\d+ to 32, beyond \+-31"),
        (lambda p, _: b"\x80" + p[1:], "gcp: values from -128"),
        (lambda p, _: p[:-1], "gcp: side values have"),
        (lambda p, _: p[:100], "gcp: side values have 0 bytes"),
        (lambda p, _: p[:-1] + b"\x01", "gcp: the padding"),
        (
            side_values_changed(lambda n, z: (SideValues(n.v - 1, n.loss_2_20, n.clipped), z)),
            "gcp: V is 65534",
        ),
        (side_values_changed(lambda n, z: (SideValues(n.v, 2**63, n.clipped), z)), "gcp: loss is"),
        (
            side_values_changed(lambda n, z: (SideValues(n.v, n.loss_2_20, 1), z)),
            "gcp: clipped is 1",
        ),
        (side_values_changed(lambda n, z: (n, z + np.uint32(2**30))), "gcp: a block's energy"),
    ],
)
def test_what_no_honest_member_sends_is_refused_by_name(tamper: Callable, message: str) -> None:
    run, payloads = spooled(8)
    payloads[WorkerId("gcp")] = tamper(payloads[WorkerId("gcp")], PayloadLayout(SMALL.length, 8))

    with pytest.raises(BadUpdateError, match=message) as caught:
        summed(run, payloads)
    assert caught.value.worker == "gcp"


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_a_float32_update_that_is_not_finite_is_refused_by_name(value: float) -> None:
    run, payloads = spooled(32, "float32")
    worker = WorkerId("azure")
    payloads[worker] = np.float32(value).tobytes() + payloads[worker][4:]

    with pytest.raises(BadUpdateError, match="azure: NaN"):
        summed(run, payloads)


def test_data_that_ends_early_is_refused_by_name() -> None:
    run, payloads = spooled(8)
    layout = PayloadLayout(SMALL.length, 8)

    def short(offset: int, length: int) -> bytes:
        content = payloads[WORKERS[1]][offset : offset + length]
        return content if offset >= layout.side_offset else content[:-1]

    uploads = {w: bytes_of(p) for w, p in payloads.items()} | {WORKERS[1]: short}
    with pytest.raises(BadUpdateError, match=r"azure: \d+ bytes, must be"):
        aggregate(run.terms(run.plan()), uploads, bytearray().extend)
