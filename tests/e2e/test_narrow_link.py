"""A cut of a real link between network namespaces, counted by the operating system."""

from collections.abc import Iterator

import pytest

from benchmarks.cut_upload import CutUploads, cut_uploads
from tests.rig.links import narrow_link
from tests.rig.programs import find

RATE_BPS = 20_000_000
NUM_VALUES = 40_000_000  # one byte each: a lost shard is 2.5 %
CUT_S = 5.0
MOST = 1.05

pytestmark = [
    pytest.mark.program("ip", "tc"),
    pytest.mark.skipif(bool(narrow_link.why_not()), reason=narrow_link.why_not()),
]


@pytest.fixture(scope="module")
def uploads(tmp_path_factory: pytest.TempPathFactory) -> Iterator[CutUploads]:
    folder = tmp_path_factory.mktemp("narrow") / "link"
    resets = find("toxiproxy-server") is not None
    with cut_uploads(folder, NUM_VALUES, RATE_BPS, resets=resets) as made:
        yield made


def test_a_link_that_goes_dark_for_a_while_costs_hardly_a_byte(uploads: CutUploads) -> None:
    assert uploads.cut(CUT_S).ratio <= MOST


@pytest.mark.program("toxiproxy-server")
def test_a_link_that_is_reset_costs_the_shard_that_was_on_its_way(uploads: CutUploads) -> None:
    assert uploads.reset(CUT_S).ratio <= MOST
