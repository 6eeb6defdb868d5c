"""Replay each worker/*.txt: lines, `----`, what the worker does. `--rewrite` updates them.

The language is that of tests/rig/rounds/worker_script.py. A block ends with a blank line.
"""

import functools
import hashlib
import pathlib
from dataclasses import replace
from typing import get_args

import pytest

from common.rounds import Rule
from tests.rig.rounds.another_process import answer_in_another_process
from tests.rig.rounds.worker_script import Met, Script, begun
from worker.rounds.participation import TAKES, RoundPhase
from worker.rounds.ports import (
    Effect,
    Encode,
    Event,
    Note,
    Planned,
    Send,
    SubmitAnswer,
    SubmitShares,
)

ROOT = pathlib.Path(__file__).parents[2]
SCENARIOS = sorted((pathlib.Path(__file__).parent / "worker").glob("*.txt"))


class Player:
    """All scripts of one file; of workers that do not look at some rules, if there are any."""

    def __init__(self, unsafe: frozenset[Rule]) -> None:
        self.scripts: list[Script] = []
        self._unsafe = unsafe

    def play(self, line: str) -> str:
        if line.startswith("run"):
            script = begun(line)
            script.unsafe |= self._unsafe
            self.scripts.append(script)
            return self.scripts[-1].begin()
        return self.scripts[-1].tell(line)


@functools.cache
def played(path: pathlib.Path, unsafe: frozenset[Rule] = frozenset()) -> tuple[Player, str]:
    player, out = Player(unsafe), []
    for block in path.read_text().strip().split("\n\n"):
        command = block.split("\n----")[0]
        lines = [x for x in command.splitlines() if not x.startswith("#")]
        got = "\n".join(player.play(x) for x in lines)
        out.append(f"{command}\n----\n{got}")
    return player, "\n\n".join(out) + "\n"


def all_scripts() -> list[Script]:
    return [script for path in SCENARIOS for script in played(path)[0].scripts]


@pytest.mark.parametrize("path", SCENARIOS, ids=lambda p: p.stem)
def test_scenario(path: pathlib.Path, rewrite: bool) -> None:
    _, actual = played(path)
    if rewrite:
        path.write_text(actual)
    assert actual == path.read_text()


@pytest.mark.parametrize("path", SCENARIOS, ids=lambda p: p.stem)
def test_every_scenario_says_why_it_is_there(path: pathlib.Path) -> None:
    assert path.read_text().startswith("# ")


def content_of(effect: Effect) -> str:
    """Return an effect, what it hides from people too, without what has no form."""
    match effect:
        case Encode():
            return repr(replace(effect, attempt=None))  # type: ignore[arg-type]
        case Send(SubmitAnswer(_, _, sealed)):
            return f"{effect!r} {sealed!r}"
        case Send(SubmitShares(_, revealed)):
            return f"{effect!r} {revealed.own!r} {revealed.mask!r}"
    return repr(effect)


def digest_of_all_effects() -> str:
    total = hashlib.sha256()
    for script in all_scripts():
        for met in script.met:
            for effect in met.effects:
                total.update(content_of(effect).encode())
    return total.hexdigest()


@pytest.mark.parametrize("hash_seed", ["1", "2"])
def test_the_same_transcripts_give_the_same_bytes_in_another_process(hash_seed: str) -> None:
    there = answer_in_another_process(__name__, "digest_of_all_effects", hash_seed)
    assert there == digest_of_all_effects()


# Nothing that the machine knows is missing here


def all_met() -> list[Met]:
    return [met for path in SCENARIOS for script in played(path)[0].scripts for met in script.met]


@pytest.mark.parametrize("phase", RoundPhase, ids=lambda p: p.value)
@pytest.mark.parametrize("message", [Planned, *TAKES], ids=lambda m: m.__name__)
def test_each_message_of_a_round_comes_in_each_phase(phase: RoundPhase, message: type) -> None:
    came = [met for met in all_met() if (met.phase, met.event) == (phase, message)]
    assert came
    if message is not Planned and phase not in TAKES[message]:
        assert {tuple(map(type, met.effects)) for met in came} == {(Note,)}, "late, and no more"


@pytest.mark.parametrize("event", get_args(Event), ids=lambda e: e.__name__)
def test_each_event_comes(event: type) -> None:
    assert any(met.event is event for met in all_met())


@pytest.mark.parametrize("effect", get_args(Effect), ids=lambda e: e.__name__)
def test_each_effect_is_shown(effect: type) -> None:
    assert any(isinstance(told, effect) for met in all_met() for told in met.effects)


@pytest.mark.parametrize("rule", Rule, ids=lambda r: r.name)
def test_each_rule_refuses_something(rule: Rule) -> None:
    assert any(rule in script.rules for script in all_scripts())


@pytest.mark.parametrize("rule", Rule, ids=lambda r: r.name)
def test_a_worker_that_does_not_look_at_a_rule_has_other_transcripts(rule: Rule) -> None:
    def differs(path: pathlib.Path) -> bool:
        try:
            return played(path, frozenset({rule}))[1] != path.read_text()
        except (AssertionError, LookupError, ValueError):
            return True  # what comes after it makes no sense then

    assert any(differs(path) for path in SCENARIOS if path.stem.startswith(f"rule_{rule:02}"))
