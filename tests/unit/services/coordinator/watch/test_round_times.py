import json
from pathlib import Path

import pytest

from services.coordinator.watch.round_times import RoundTimes
from tests.rig.rounds.run_script import Script, begun, outcome_of, parsed

SCENARIOS = Path(__file__).parents[4] / "scenarios" / "run"
FOUR = ("aws", "azure", "gcp", "onprem")


class Watched:
    """The core under a script, with every effect carried out at the time of its command."""

    def __init__(self, options: str) -> None:
        self.script: Script = begun(parsed(f"0 {options}")[3])
        self.now_s = 0.0
        self.times = RoundTimes(lambda: self.now_s)
        self.tell("0 restart")

    def tell(self, *lines: str) -> None:
        for line in lines:
            self.now_s = parsed(line)[0]
            for effect in self.script.tell(line):
                self.times.effect(effect)


def committed(watched: Watched) -> None:
    watched.tell(*(f"0 join {w}" for w in FOUR), *(f"1 offer {w}" for w in FOUR))
    watched.tell(*(f"2 numbers {w} age_256=128" for w in FOUR))
    watched.tell(*(f"5 uploaded {w}" for w in FOUR), f"6 sealed {','.join(FOUR)}", "8 computed")


def test_a_committed_round_says_its_phases_who_was_in_it_and_how_stale_they_were() -> None:
    watched = Watched("run")
    committed(watched)
    (ended,) = watched.times.take()
    assert ended["phases_s"] == {
        "share_keys": 1,
        "collect_masked": 3,
        "unmask": 1,
        "commit": 2,
    }
    assert (ended["outcome"], ended["version"], ended["lost"]) == ("committed", 1, [])
    assert ended["staleness"] == dict.fromkeys(FOUR, 0.5)
    assert ended["closed_s"] == pytest.approx(1.0)


def test_a_round_is_told_once_and_as_json() -> None:
    watched = Watched("run")
    committed(watched)
    taken = watched.times.take()
    assert json.loads(json.dumps(taken)) == taken
    assert watched.times.take() == []


def test_who_is_not_in_the_sum_is_lost() -> None:
    watched = Watched("run")
    watched.tell(*(f"0 join {w}" for w in FOUR), *(f"1 offer {w}" for w in FOUR))
    watched.tell(*(f"2 numbers {w}" for w in FOUR), *(f"3 uploaded {w}" for w in FOUR[:3]))
    watched.tell("4 leave onprem", f"5 sealed {','.join(FOUR[:3])}", "6 computed")
    (ended,) = watched.times.take()
    assert ended["lost"] == ["onprem"]
    assert set(ended["staleness"]) == set(FOUR[:3])


@pytest.mark.parametrize("path", sorted(SCENARIOS.glob("*.txt")), ids=lambda p: p.stem)
def test_every_outcome_in_the_log_is_told_exactly_once(path: Path) -> None:
    lines = [
        line
        for block in path.read_text().split("\n\n")
        for line in block.split("----")[0].splitlines()
        if line and not line.startswith("#")
    ]
    watched = Watched(lines[0])
    for line in lines[1:]:
        if "status" in line:
            continue
        try:
            watched.tell(line)
        except Exception:
            continue
    outcomes = [o for record in watched.script.log if (o := outcome_of(record)) is not None]
    told = watched.times.take()
    assert [t["round"] for t in told] == outcomes
    assert all(s >= 0 for t in told for s in t["phases_s"].values())
