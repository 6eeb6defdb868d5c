import random
import threading

import pytest

from common.errors import StaleLeaderError, StorageError
from coordinator.ports import Put, Table
from coordinator.saved_round import OPEN
from services.coordinator.live.resilient_store import OpenStore, ResilientStore, wait_for_lease
from simulator.memory_store import MemoryServer, MemoryStore

LEASE_S = 3.0
ROUND = (Put(Table.ROUND, OPEN, b"plan"),)
MEMBER = (Put(Table.MEMBERS, "aws", b"session"),)


class Unreliable(MemoryStore):
    """Does not answer so many times; may have made the change all the same."""

    silent = 0
    late = False

    async def apply(self, changes):
        if self.silent:
            self.silent -= 1
            if self.late:  # made, and the answer lost
                before = self._op_seq
                await super().apply(changes)
                self._op_seq = before
            raise StorageError("no answer")
        await super().apply(changes)


class Bench:
    def __init__(self) -> None:
        self.now_s = 0.0
        self.server = MemoryServer()
        self.store = self.open("mine")
        assert self.store.lease.acquire(LEASE_S)
        self.log_is_ours = True
        self.paused_s: list[float] = []
        self.revived = 0
        self.said: list[str] = []
        self.resilient = ResilientStore(
            OpenStore(self.store, self.revive),
            LEASE_S,
            lambda: self.log_is_ours,
            sleep=self.sleep,
            now_s=lambda: self.now_s,
        )

    def open(self, owner: str) -> Unreliable:
        return Unreliable(self.server, owner, lambda: self.now_s)

    def empty(self) -> None:
        """Leave the server nothing, as one that was restarted without a disk."""
        MemoryServer.__init__(self.server)

    def revive(self) -> None:
        self.revived += 1

    async def sleep(self, seconds: float) -> None:
        self.said.append(self.resilient.outage())
        self.paused_s.append(seconds)


@pytest.mark.parametrize("late", [False, True])
async def test_a_store_that_does_not_answer_is_asked_until_it_does_and_changes_once(late) -> None:
    bench = Bench()
    await bench.resilient.load()
    bench.store.silent, bench.store.late = 8, late
    await bench.resilient.apply(ROUND)
    await bench.resilient.apply(MEMBER)
    assert bench.server.tables[Table.ROUND] == {OPEN: b"plan"}
    assert bench.server.op_seq == 2
    assert (len(bench.paused_s), bench.revived) == (8, 8)


async def test_a_store_that_does_not_answer_is_asked_every_two_seconds_at_the_latest(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(random, "uniform", lambda _, most: most)
    bench = Bench()
    bench.store.silent = 8
    await bench.resilient.load()
    await bench.resilient.apply(ROUND)
    assert bench.paused_s[0] < 0.2
    assert bench.paused_s[-4:] == [pytest.approx(2.0)] * 4


async def test_an_emptied_store_is_rebuilt_from_what_it_had_answered_for() -> None:
    bench = Bench()
    await bench.resilient.load()
    await bench.resilient.apply(ROUND)
    bench.empty()
    await bench.resilient.apply(MEMBER)
    assert bench.server.tables[Table.ROUND] == {OPEN: b"plan"}
    assert bench.server.tables[Table.MEMBERS] == {"aws": b"session"}
    assert bench.server.leader == "mine"


async def test_what_a_former_leader_left_survives_the_emptying_too() -> None:
    bench = Bench()
    await bench.store.apply(ROUND)
    await bench.resilient.load()
    bench.empty()
    await bench.resilient.apply(MEMBER)
    assert bench.server.tables[Table.ROUND] == {OPEN: b"plan"}


async def test_a_lease_that_ran_out_is_taken_again_if_nobody_has_it() -> None:
    bench = Bench()
    await bench.resilient.load()
    bench.now_s += 2 * LEASE_S
    await bench.resilient.apply(ROUND)
    assert bench.server.tables[Table.ROUND] == {OPEN: b"plan"}


async def test_another_leader_ends_this_one_and_nothing_changes() -> None:
    bench = Bench()
    await bench.resilient.load()
    bench.now_s += 2 * LEASE_S
    assert bench.open("other").lease.acquire(LEASE_S)
    with pytest.raises(StaleLeaderError):
        await bench.resilient.apply(ROUND)
    with pytest.raises(StaleLeaderError, match="another coordinator leads"):
        bench.resilient.hold_lease(_Once())
    assert bench.server.tables[Table.ROUND] == {}


async def test_a_log_with_another_leader_s_record_ends_this_one_although_the_lease_is_free() -> (
    None
):
    bench = Bench()
    await bench.resilient.load()
    bench.now_s += 2 * LEASE_S
    bench.log_is_ours = False
    with pytest.raises(StaleLeaderError):
        await bench.resilient.apply(ROUND)
    assert bench.server.tables[Table.ROUND] == {}


def test_the_lease_is_held_through_an_emptied_store() -> None:
    bench = Bench()
    bench.empty()
    bench.resilient.hold_lease(_Once())
    assert bench.server.leader == "mine"


class _Once(threading.Event):
    """Lets one turn pass, without waiting."""

    turns = 0

    def wait(self, timeout=None):
        self.turns += 1
        return self.turns > 1


async def test_an_outage_says_what_fails_since_when_and_what_waits_and_is_over_with_it() -> None:
    bench = Bench()
    await bench.resilient.load()
    assert bench.resilient.outage() == ""
    bench.store.silent = 3
    await bench.resilient.apply(ROUND)
    held_up = "nothing is decided or sent until it has saved what was decided last"
    assert bench.said == [f"no answer, for 0.0 s; {held_up}"] * 3
    assert bench.resilient.outage() == ""


def test_a_lease_that_cannot_be_prolonged_is_an_outage_too() -> None:
    bench = Bench()

    def refuse(ttl_s: float) -> bool:
        raise StorageError("no answer")

    bench.store.lease.renew = refuse  # type: ignore[method-assign]
    bench.resilient.hold_lease(_Once())
    assert bench.resilient.outage() == "no answer, for 0.0 s; the lease cannot be prolonged"


async def test_a_waiting_coordinator_outlasts_a_store_that_does_not_answer() -> None:
    server, asked = MemoryServer(), []

    class Away(MemoryStore):
        """Its lease does not answer three times."""

        def acquire(self, ttl_s):
            asked.append(ttl_s)
            if len(asked) <= 3:
                raise StorageError("no answer")
            return super().lease.acquire(ttl_s)

        @property
        def lease(self):
            return self

    await wait_for_lease(Away(server, "mine", lambda: 0.0), ttl_s=0.01)
    assert (len(asked), server.leader) == (4, "mine")
