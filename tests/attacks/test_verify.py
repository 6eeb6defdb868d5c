"""`crosscloud verify` against a coordinator that kept what it liked, and wrote what it liked.

Each run is one of real agents; what it leaves is written as a coordinator's folder, true or not.
"""

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from commands.verify.main import main
from common import canonical
from common.documents import Control, Record
from services.disk.data_store import DataStore
from services.process.exit_status import Exit
from tests.attacks.harness import A, B, C, Registry, V
from tests.attacks.test_forged_logs import Nodes, crafted, started
from tests.attacks.world import World

NAMES = (A, B, C, V)


async def vouched(world: World, about: Record, nodes: Nodes) -> None:
    """Append a record with all members' words for a commit; these nodes hear it."""
    made = world.append(control=Control("resume", "ann", ""))
    words = {w: world.word(w, about).signature or "" for w in world.names}
    world.records[-1] = replace(made, words=words)
    for node in nodes.values():
        await node.hear(world.records[-1])


async def played(world: World, num: int) -> Nodes:
    """Play the first version and some more, all vouched for in the log."""
    nodes, _ = await started(world)
    await vouched(world, world.records[-1], nodes)
    for _ in range(num):
        record = await world.stepped({w: nodes[w] for w in world.names})
        await vouched(world, record, nodes)
    return nodes


@pytest.fixture
def world(registry: Registry, tmp_path: Path) -> World:
    return World(registry, tmp_path, NAMES)


@pytest.fixture
def verify(
    world: World, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> Callable[..., dict[str, Any]]:
    """Return a function that writes the world's log and files, and what is said of them."""

    def run(pins: Path | None = None) -> dict[str, Any]:
        folder = tmp_path / "data_dir"
        shutil.rmtree(folder, ignore_errors=True)
        (folder / "log").mkdir(parents=True)
        for record in world.records:
            path = folder / "log" / f"{record.seq:012d}.json"
            path.write_bytes(canonical.encode(record))
        store = DataStore(folder / "data")
        for content in world.run.blobs.files.values():
            store.write(content)
        (folder / "genesis.json").write_bytes(canonical.encode(world.run.genesis))
        certs = world.registry.folder
        ca, pins = certs / "ca.pem", pins or certs / "pins.yaml"
        status = main(folder, ca=ca, pins=pins, as_json=True)
        said: dict[str, Any] = json.loads(capsys.readouterr().out)
        assert status == (Exit.OVER if said["proven"] else Exit.FAILED)
        assert said["proven"] == (not said["first_fault"])
        return said

    return run


async def test_what_honest_agents_made_is_proven_roll_backs_too(
    world: World, verify: Callable[..., dict[str, Any]]
) -> None:
    nodes = await played(world, num=1)
    back = world.return_to(1, world.order(1))
    for node in nodes.values():
        await node.hear(back)
    await vouched(world, await world.stepped(nodes), nodes)
    said = verify()
    assert said["proven"], said
    assert (said["version"], said["digest"]) == (4, world.records[-1].digest)
    assert said["checks"][1]["sentence"].startswith("3 sums make of version 0 version 4")


async def test_a_made_up_sum_lacks_words_and_colluders_are_too_few(
    world: World, verify: Callable[..., dict[str, Any]]
) -> None:
    nodes = await played(world, num=0)
    lie = await crafted(world, nodes, world.records)
    world.records.append(lie)
    said = verify()
    assert said["first_fault"].startswith("version 2 (record 3) has 0 of the 3 members' words")
    assert [c["check"] for c in said["checks"] if not c["ok"]] == ["words"]
    world.number, world.run.version = lie.version, replace(world.run.version, clip=1.0)
    made = world.append(control=Control("resume", "ann", ""))
    words = {w: world.word(w, lie).signature or "" for w in (A, B)}
    world.records[-1] = replace(made, digest=lie.digest, words=words)
    assert "has 2 of the 3 members' words" in verify()["first_fault"]


async def test_a_true_sum_under_another_version_s_name_is_false_though_all_words_are_there(
    world: World, verify: Callable[..., dict[str, Any]]
) -> None:
    await played(world, num=1)
    (seq,) = (r.seq for r in world.records if r.commit and r.version == 2)
    wrong = replace(
        world.records[seq], digest=canonical.digest(replace(world.run.version, commits=9))
    )
    del world.records[seq:]
    world.records.append(wrong)
    world.run.version = replace(world.run.version, commits=9)
    await vouched(world, wrong, {})
    said = verify()
    assert f"record {seq} is false: its sum makes another version 2 here" in said["first_fault"]
    assert [c["check"] for c in said["checks"] if not c["ok"]] == ["sums"]


async def test_members_are_those_that_are_pinned(
    world: World, verify: Callable[..., dict[str, Any]], tmp_path: Path
) -> None:
    await played(world, num=0)
    pins = (world.registry.folder / "pins.yaml").read_text()
    other = tmp_path / "pins.yaml"
    other.write_text(pins.replace("organisation: victim-inc", "organisation: other-inc"))
    said = verify(pins=other)
    assert "record 1: victim: victim of victim-inc with key" in said["first_fault"]
