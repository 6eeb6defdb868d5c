import socket
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from common.errors import BusyError
from common.ids import RoundId, WorkerId
from coordinator.ports import Uploaded
from services.coordinator.bulk import BulkService, Outbox
from services.coordinator.kept.spool import Spool
from services.disk.data_store import DataStore
from services.wire import framing
from services.wire.child import Line
from simulator.identities import WORKERS, identities

ROUND = RoundId("5e" * 16)
MEMBER = WorkerId(WORKERS[0])
PAYLOAD = bytes(range(100))


class OneShard:
    """A layout."""

    num_shards = 1
    sent_bytes = len(PAYLOAD)

    def shard(self, index: int) -> tuple[int, int]:
        return (0, len(PAYLOAD))


@pytest.fixture
def lines() -> Iterator[tuple[Line, Line]]:
    """Control's end of the line, and ours."""
    control, ours = (Line(end.detach(), (Uploaded,)) for end in socket.socketpair())
    yield control, ours
    control.close()
    ours.close()


@pytest.fixture
def spool(tmp_path: Path) -> Spool:
    spool = Spool(tmp_path / "spool")
    spool.open_round(ROUND, (MEMBER,), OneShard())
    return spool


def push(spool: Spool, line: Line, tmp_path: Path) -> list[int]:
    """Upload the one shard; return what is missing then."""
    service = BulkService(spool, DataStore(tmp_path / "data"), identities().listed, Outbox(line))
    uri = identities().listed.members[MEMBER].uri.encode()
    context: Any = SimpleNamespace(
        auth_context=lambda: {"peer_uri": (uri,)}, peer=lambda: MEMBER, cancel=lambda: None
    )
    shard = framing.shard(bytes.fromhex(ROUND), 0, memoryview(PAYLOAD))
    return list(service.push_shards(iter([shard]), context).missing)


def test_control_hears_of_an_upload_that_is_whole(
    spool: Spool, lines: tuple[Line, Line], tmp_path: Path
) -> None:
    control, ours = lines
    assert push(spool, ours, tmp_path) == []
    assert control.receive() == Uploaded(MEMBER, ROUND)


def test_a_control_that_ended_meanwhile_is_no_bug_and_no_shard_is_lost(
    spool: Spool, lines: tuple[Line, Line], tmp_path: Path
) -> None:
    control, ours = lines
    control.close()
    with pytest.raises(BusyError, match="this coordinator is ending: dial again"):
        push(spool, ours, tmp_path)
    assert spool.missing(ROUND, MEMBER) == ()
