"""A cut of a real link between network namespaces, counted by the operating system."""

from collections.abc import Iterator

import pytest

from benchmarks.cut_upload import CutUploads, cut_uploads
from tests import narrow_link, toxiproxy

RATE_BPS = 20_000_000
NUM_VALUES = 40_000_000  # one byte each: a lost shard is 2.5 %
CUT_S = 5.0
MOST = 1.05

pytestmark = pytest.mark.skipif(bool(narrow_link.why_not()), reason=narrow_link.why_not())


@pytest.fixture(scope="module")
def uploads(tmp_path_factory: pytest.TempPathFactory) -> Iterator[CutUploads]:
    folder = tmp_path_factory.mktemp("narrow") / "link"
    resets = not toxiproxy.why_not()
    with cut_uploads(folder, NUM_VALUES, RATE_BPS, resets=resets) as made:
        yield made


def test_a_link_that_goes_dark_for_a_while_costs_hardly_a_byte(uploads: CutUploads) -> None:
    assert uploads.cut(CUT_S).ratio <= MOST


@pytest.mark.skipif(bool(toxiproxy.why_not()), reason=toxiproxy.why_not())
def test_a_link_that_is_reset_costs_the_shard_that_was_on_its_way(uploads: CutUploads) -> None:
    assert uploads.reset(CUT_S).ratio <= MOST
