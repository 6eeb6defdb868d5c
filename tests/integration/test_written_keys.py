"""Whoever can write the coordinator's keys in Redis loses it a round, and nothing else."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from redis import Redis

from commands.demo.layout import COORDINATOR
from common import canonical
from common.documents import Plan, Record
from common.ids import Digest, RoundId
from coordinator.round import SavedRound
from services.coordinator.live.embedded_valkey import EmbeddedValkey
from tests.integration.conftest import LoneCoordinator, Make


@pytest.fixture
def server(tmp_path: Path) -> Iterator[EmbeddedValkey]:
    with EmbeddedValkey(tmp_path / "valkey") as server:
        yield server


def plan(run: str, round_: str) -> Plan:
    digest = Digest("a" * 64)
    return Plan(run, RoundId(round_), "tls", 0, digest, 0, 8, 1, 1, 1, 0.0, 1.0, 1.0, ())


def records(coordinator: LoneCoordinator) -> list[Record]:
    log = coordinator.folder / "coordinator" / "log"
    return [canonical.decode(p.read_bytes(), Record) for p in sorted(log.glob("*.json"))]


def files(folder: Path) -> list[Path]:
    return sorted(p for p in folder.rglob("*") if p.is_file())


@pytest.mark.parametrize(
    ("where", "num_records"),
    [
        ("outside", -1),
        ("outside", 10**6),
        pytest.param("log", 10**6, marks=pytest.mark.long("refused as one that leads outside")),
        ("no hexadecimal digits", 0),
    ],
)
def test_a_round_s_name_that_somebody_wrote_deletes_no_folder(
    make_coordinator: Make, server: EmbeddedValkey, tmp_path: Path, where: str, num_records: int
) -> None:
    coordinator = make_coordinator(start=False)
    run, victim = coordinator.genesis.run, tmp_path / "home"
    victim.mkdir()
    (victim / "thesis").write_text("years of work")
    coordinator.edit(COORDINATOR, redis_url=server.url)
    name = {"outside": str(victim), "log": "../log", "no hexadecimal digits": "r1"}[where]
    saved = SavedRound(num_records, plan(run, name), "unmask", {}, ())
    with Redis.from_url(server.url) as client:
        client.hset(f"crosscloud:{{{run}}}:round", "open", canonical.encode(saved))
        coordinator.start()
        coordinator.stop()
        assert files(victim) == [victim / "thesis"]
        assert [r.takeover is not None for r in records(coordinator)] == [True]
        assert not client.hexists(f"crosscloud:{{{run}}}:round", "open")
    assert coordinator.process is not None
    said = coordinator.layout.log(COORDINATOR).read_text()
    assert "round[open] counts as lost" in said
    assert "Traceback" not in said


def test_keys_that_are_none_of_ours_do_not_keep_a_coordinator_from_leading(
    make_coordinator: Make, server: EmbeddedValkey
) -> None:
    coordinator = make_coordinator(start=False)
    coordinator.edit(COORDINATOR, redis_url=server.url)
    key = f"crosscloud:{{{coordinator.genesis.run}}}"
    with Redis.from_url(server.url) as client:
        client.set(f"{key}:round", "a table of another type")
        client.hset(f"{key}:members", b"\xff: no text", b"x")
        client.hset(f"{key}:op", "seq", "no count")
        coordinator.start()
        coordinator.stop()
        assert not client.exists(f"{key}:round", f"{key}:members")
    assert [r.takeover is not None for r in records(coordinator)] == [True]
    said = coordinator.layout.log(COORDINATOR).read_text()
    assert said.count("counts as lost") == 2
    assert "Traceback" not in said
