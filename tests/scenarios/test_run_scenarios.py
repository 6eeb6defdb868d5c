"""Replay each run/*.txt: commands, `----`, expected output. `--rewrite` updates them.

The language is that of tests/rig/rounds/run_script.py, and `SECONDS status`.
"""

import hashlib
import pathlib

import pytest

from common.errors import ProtocolError
from coordinator.ports import Effect
from coordinator.status import Status
from tests.rig.rounds.another_process import answer_in_another_process
from tests.rig.rounds.run_script import Script, begun, parsed, shown

ROOT = pathlib.Path(__file__).parents[2]
SCENARIOS = sorted((pathlib.Path(__file__).parent / "run").glob("*.txt"))


def show_status(s: Status) -> str:
    head = f"{s.state} version {s.version} {s.phase}: waiting for {s.waiting_for}"
    workers = (
        f"  {w.worker} {w.state}, on version {w.version} ({w.behind} behind), "
        f"silent {w.silent_s:.1f} s, {w.contributions} contributions"
        for w in s.workers
    )
    return "\n".join([head, *workers])


class Player:
    script: Script

    def __init__(self) -> None:
        self.told: list[Effect] = []

    def play(self, line: str) -> str:
        if line.startswith("run"):
            self.script = begun(parsed("0 " + line)[3])
            line = "0 restart"
        now_s, verb, *_ = parsed(line)
        if verb == "status":
            return show_status(self.script.run.status(now_s))
        try:
            effects = self.script.tell(line)
        except ProtocolError as e:
            return shown((), f"{type(e).__name__}: {e}")
        self.told += effects
        return shown(effects)


def played(text: str) -> tuple[Player, str]:
    player, out = Player(), []
    for block in text.strip().split("\n\n"):
        command = block.split("\n----")[0]
        lines = [x for x in command.splitlines() if not x.startswith("#")]
        got = "\n".join(player.play(x) for x in lines)
        out.append(f"{command}\n----\n{got}")
    return player, "\n\n".join(out) + "\n"


@pytest.mark.parametrize("path", SCENARIOS, ids=lambda p: p.stem)
def test_scenario(path: pathlib.Path, rewrite: bool) -> None:
    _, actual = played(path.read_text())
    if rewrite:
        path.write_text(actual)
    assert actual == path.read_text()


@pytest.mark.parametrize("path", SCENARIOS, ids=lambda p: p.stem)
def test_every_scenario_says_why_it_is_there(path: pathlib.Path) -> None:
    assert path.read_text().startswith("# ")


def digest_of_all_effects() -> str:
    total = hashlib.sha256()
    for path in SCENARIOS:
        for effect in played(path.read_text())[0].told:
            total.update(repr(effect).encode())
    return total.hexdigest()


@pytest.mark.parametrize("hash_seed", ["1", "2"])
def test_the_same_transcripts_give_the_same_bytes_in_another_process(hash_seed: str) -> None:
    there = answer_in_another_process(__name__, "digest_of_all_effects", hash_seed)
    assert there == digest_of_all_effects()
