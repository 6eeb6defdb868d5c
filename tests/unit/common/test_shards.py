import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from common.documents import SideValues
from common.errors import BadUpdateError
from common.schema import BLOCK
from common.shards import SHARD_BYTES, PayloadLayout, pack_side_values, unpack_side_values

layouts = st.builds(
    lambda blocks, bits: PayloadLayout(blocks * BLOCK, bits),
    st.integers(1, 3000),
    st.sampled_from([4, 8, 12, 16, 32]),
)


@given(layouts)
def test_shards_cover_both_sections_once_and_nothing_else(layout: PayloadLayout) -> None:
    spans = [layout.shard(i) for i in range(layout.num_shards)]

    assert all(offset == i * SHARD_BYTES for i, (offset, _) in enumerate(spans))
    assert all(0 < length <= SHARD_BYTES for _, length in spans)
    assert sum(n for o, n in spans if o < layout.side_offset) == layout.data_bytes
    assert sum(n for o, n in spans if o >= layout.side_offset) == layout.side_bytes
    assert sum(n for _, n in spans) == layout.sent_bytes
    assert sum(spans[-1]) == layout.total_bytes
    assert layout.side_bytes % 48 == 0


@given(layouts, st.integers(0, 10))
def test_a_shard_out_of_range_is_refused(layout: PayloadLayout, beyond: int) -> None:
    for index in (-1 - beyond, layout.num_shards + beyond):
        with pytest.raises(BadUpdateError, match="this update has shards"):
            layout.shard(index)


@given(layouts)
def test_only_shards_of_side_values_have_a_place_among_the_side_values(
    layout: PayloadLayout,
) -> None:
    """The masks of side values are taken from there."""
    for index in range(layout.num_data_shards):
        with pytest.raises(BadUpdateError, match="holds no side values"):
            layout.within_side_values(index)
    assert layout.within_side_values(layout.num_data_shards).start == 0


def test_every_ring_width_cuts_at_whole_blocks() -> None:
    assert all(SHARD_BYTES % (BLOCK * bits // 8) == 0 for bits in (4, 8, 12, 16, 32))


def test_side_values_come_back_as_they_were_packed() -> None:
    layout = PayloadLayout(5 * BLOCK, 8)
    energy = np.arange(5, dtype=np.uint32) + 2**31 - 3

    content = pack_side_values(SideValues(65535, 2**40, 1), energy)
    side, unpacked = unpack_side_values(content, layout)

    assert side == SideValues(65535, 2**40, 1)
    assert np.array_equal(unpacked, energy)
    assert content[:8] == (65535).to_bytes(8, "little")


def test_side_values_of_the_wrong_length_or_with_dirty_padding_are_refused() -> None:
    layout = PayloadLayout(5 * BLOCK, 8)
    content = pack_side_values(SideValues(1, 1, 0), np.zeros(5, np.uint32))

    with pytest.raises(BadUpdateError, match="side values have"):
        unpack_side_values(content[:-1], layout)
    with pytest.raises(BadUpdateError, match="padding"):
        unpack_side_values(content[:-1] + b"\x01", layout)
