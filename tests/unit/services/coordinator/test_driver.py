import pytest

from common.documents import Counters, Record
from common.errors import StaleLeaderError
from common.ids import Digest
from coordinator.ports import Append, Ticked
from services.coordinator.driver import Driver

RECORD = Record(0, Digest("0" * 64), 0, 0, 0, Digest("0" * 64), 0.0, Counters())


class Core:
    def handle(self, event, now_s):
        return (Append(RECORD),)


class TakenLog:
    def append(self, record: Record) -> None:
        raise StaleLeaderError("another leads")


async def test_an_effect_that_fails_ends_the_driver() -> None:
    driver = Driver(
        Core(), store=None, commit_log=TakenLog(), works=None, now_s=lambda: 0.0, watch=print
    )
    for _ in range(2):  # nothing is decided after it
        with pytest.raises(StaleLeaderError):
            await driver.feed(Ticked())
    assert isinstance(driver.finished.exception(), StaleLeaderError)
