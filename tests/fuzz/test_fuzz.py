"""A small run of what `make fuzz` does for long, and everything that it ever found."""

import ast
import re
from pathlib import Path

import pytest

from tests.fuzz.campaign import CORPUS, attack, known
from tests.fuzz.targets import Target, targets

ROOT = Path(__file__).parents[2]
OURS = (
    "crosscloud",
    "commands",
    "simulator",
    "common",
    "coordinator",
    "worker",
    "services",
    "benchmarks",
    "examples",
)
NUM_INPUTS = 20_000
TARGETS = targets()
PICKLING = {"pickle", "cPickle", "_pickle", "dill", "cloudpickle", "joblib", "shelve", "marshal"}


@pytest.mark.parametrize("target", TARGETS, ids=lambda t: t.name)
def test_damaged_input_is_refused_with_an_error_of_ours(target: Target) -> None:
    num = int(NUM_INPUTS * target.weight / sum(t.weight for t in TARGETS)) + 1

    found = attack(target, num, seed=1, keep=False)

    assert found.num_inputs == num
    assert found.num_refused > 0, "nothing was refused: does it read its input at all?"


@pytest.mark.parametrize("target", TARGETS, ids=lambda t: t.name)
def test_sound_input_is_read(target: Target) -> None:
    assert any(not target.refuses(content) for content in target.seeds)


@pytest.mark.parametrize("target", [t for t in TARGETS if known(t)], ids=lambda t: t.name)
def test_what_once_crashed_a_reader_is_refused(target: Target) -> None:
    assert all(target.refuses(content) for content in known(target))


def test_the_corpus_holds_only_what_a_target_reads() -> None:
    assert {p.name for p in CORPUS.iterdir()} <= {t.name for t in TARGETS}


def test_the_same_seed_makes_the_same_inputs() -> None:
    seen: list[list[bytes]] = []
    for _ in range(2):
        inputs: list[bytes] = []
        attack(Target("any", (b"abc", b'{"a":1}'), inputs.append, 1.0), 50, seed=3, keep=False)
        seen.append(inputs)
    assert seen[0] == seen[1]
    assert len(set(seen[0])) > 30


def test_a_reader_that_crashes_is_found() -> None:
    def read(content: bytes) -> None:
        if b"[" in content:
            raise RecursionError

    with pytest.raises(RecursionError):
        attack(Target("any", (b"abc",), read, 1.0), 1000, seed=1, keep=False)


IN_MEMORY = ROOT / "simulator" / "explorer" / "storing.py"
"""It takes up what the same process stored, and nothing else; and it is not shipped."""


def test_nothing_is_ever_unpickled() -> None:
    problems = [
        f"{path.relative_to(ROOT)}:{line}: {what}"
        for folder in OURS
        for path in (ROOT / folder).rglob("*.py")
        if path != IN_MEMORY
        for line, what in unpickled(path.read_text())
    ]
    assert not problems, problems


@pytest.mark.parametrize(
    "source",
    [
        "import pickle",
        "from dill import loads",
        "np.load(path)",
        "np.load(path, allow_pickle=True)",
        "torch.load(path, weights_only=True)",
        "np.lib.npyio.NpzFile(file)",
        "pandas.read_pickle(path)",
        "yaml.load(text, Loader)",
        "yaml.unsafe_load(text)",
    ],
)
def test_the_rule_against_unpickling_finds_what_it_forbids(source: str) -> None:
    assert unpickled(source)


def unpickled(source: str) -> list[tuple[int, str]]:
    """Return where a source could build objects out of bytes."""
    found = []
    for place in ast.walk(ast.parse(source)):
        match place:
            case ast.Import(names=names):
                modules = {n.name.partition(".")[0] for n in names}
            case ast.ImportFrom(module=str(module)):
                modules = {module.partition(".")[0]}
            case ast.Call():
                modules = set()
                if _may_unpickle(place):
                    found.append((place.lineno, ast.unparse(place)[:60]))
            case _:
                continue
        found += [(place.lineno, m) for m in modules & PICKLING]
    return found


def _may_unpickle(call: ast.Call) -> bool:
    name = ast.unparse(call.func)
    plain = any(
        k.arg == "allow_pickle" and isinstance(k.value, ast.Constant) and k.value.value is False
        for k in call.keywords
    )
    if re.fullmatch(r"(np|numpy)\.load|.*\bNpzFile|.*\bread_array", name):
        return not plain
    return bool(re.fullmatch(r"torch\.load|.*read_pickle|yaml\.(unsafe_|full_)?load", name))
