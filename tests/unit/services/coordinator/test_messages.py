import pytest

from common import canonical
from common.ids import Digest
from services.coordinator.messages import VersionComputed
from tests.unit.services.coordinator.watch.test_observer import commit_record


@pytest.mark.parametrize("saturation", [None, 0.001])
def test_an_answer_with_and_without_a_saturation_reaches_the_control_process(
    saturation: float | None,
) -> None:
    commit = commit_record().commit
    assert commit is not None
    answer = VersionComputed(commit, Digest("d"), 0.5, 2.0, 0.5, saturation)

    assert canonical.decode(canonical.encode(answer), VersionComputed) == answer
