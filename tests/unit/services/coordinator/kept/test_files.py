import ast
from pathlib import Path

from services.coordinator.kept.files import CoordinatorFiles

ROOT = Path(__file__).parents[5]
READERS = ("services", "commands", "simulator", "benchmarks", "tests/rig")
SPOKEN_OF = {"log", "spool", "totals.json", "metrics.jsonl", "result.json"}


def named_by_hand(source: str) -> set[str]:
    """Return the names of a coordinator's files that are joined to a path as literals."""
    return {
        place.right.value
        for place in ast.walk(ast.parse(source))
        if isinstance(place, ast.BinOp) and isinstance(place.op, ast.Div)
        if isinstance(place.right, ast.Constant) and place.right.value in SPOKEN_OF
    }


def test_whoever_opens_a_coordinator_s_file_asks_for_its_name() -> None:
    own = ROOT / "services/coordinator/kept/files.py"
    sources = {path for folder in READERS for path in (ROOT / folder).rglob("*.py")} - {own}
    found = {str(p.relative_to(ROOT)): named_by_hand(p.read_text()) for p in sources}

    assert named_by_hand(own.read_text()) == {"spool", "totals.json"}  # others are constants
    assert {path: names for path, names in found.items() if names} == {}


def test_each_name_is_another_one() -> None:
    files = CoordinatorFiles(Path("d"))
    paths = (
        files.log, files.data, files.spool, files.valkey, files.totals, files.metrics, files.result
    )  # fmt: skip
    assert len(set(paths)) == len(paths)
    assert {path.parent for path in paths} == {files.folder}
