"""A good settings file through somebody's hands: what is left is what it says, or a sentence."""

import copy
import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from common import canonical
from common.documents import Genesis
from common.errors import ConfigError
from common.ids import Digest
from common.schema import ModelSchema
from services.config.settings import RunSettings, load_run

ODD_NAMES = ("001", "no", "null", "1e3", "true", "on", "2024-01-01", "0x1f", "y", "1-2", "0")
NAMES = st.from_regex(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?", fullmatch=True)

FULL_RUN: dict[str, Any] = {
    "name": "demo",
    "seed": 7,
    "preset": "async_diloco",
    "learner": "huggingface",
    "settings": {
        "model": {"model_type": "llama", "rms_norm_eps": 1e-06, "hidden_size": 32},
        "batch": 12,
        "betas": [0.9, 0.95],
        "clip": 1.0,
    },
    "algorithm": {"local_steps": 20, "codec": {"bits": 8}, "schedule": {"peak": 0.002}},
    "stop": {"versions": 20, "hours": 1.5},
}
VALUES = st.sampled_from(
    [
        *(*ODD_NAMES, "", "~", "1e-6", "1_000", "-1", "0", "1e999", ".nan", ".inf", "-.5", "0777"),
        *("12:30:00", "2024-01-01", "'12'", '"no"', "[]", "[1, a]", "{}", "{a: 1}", "!!int 3"),
        *("*x", "&x 1", "<<", "::", "[::1]", "|", "@a", "%a", "a: b", "a #b", "é"),
        "redis://:S3cret/x@h:1",
    ]
)
NUMBERS = st.sampled_from(["1e-6", "1_000", "2e1", "0x10", "7", ".5", "1.0e-6", "5.", "+3", "0o17"])
EDITS = st.sampled_from(
    [*["number"] * 8, *["value"] * 4, "repeat", "misspell", "drop", "line", "indent", "tab"]
)


@st.composite
def edited(draw: st.DrawFn) -> str:
    """Return a good file in which one to three lines went through somebody's hands."""
    lines = yaml.safe_dump(copy.deepcopy(FULL_RUN), sort_keys=False).splitlines()
    for _ in range(draw(st.integers(1, 3))):
        at = draw(st.integers(0, len(lines) - 1))
        line = lines[at]
        edit = draw(EDITS)
        while edit in ("number", "value") and line[-1:] in ":":  # what is under it hangs on
            at = (at + 1) % len(lines)
            line = lines[at]
        match edit:
            case "repeat":
                lines.insert(draw(st.integers(0, len(lines))), line)
            case "misspell":
                where = draw(st.integers(0, max(0, len(line) - 1)))
                lines[at] = (
                    line[:where] + draw(st.sampled_from(["", "x", "-", "_"])) + line[where + 1 :]
                )
            case "number":
                lines[at] = f"{line.partition(':')[0]}: {draw(NUMBERS)}"
            case "value":
                lines[at] = f"{line.partition(':')[0]}: {draw(VALUES)}"
            case "drop":
                del lines[at]
                if not lines:
                    break
            case "indent":
                lines[at] = draw(st.sampled_from(["  ", " ", "    "])) + line
            case "line":
                lines.insert(at, f"{draw(NAMES)}: {draw(VALUES)}")
            case "tab":
                lines[at] = f"\t{line}"
    return "\n".join(lines) + "\n"


def read(path: Path, text: str) -> RunSettings | str:
    """Return the settings, or the sentence that refuses them."""
    path.write_text(text)
    try:
        return load_run(path, {})
    except ConfigError as e:
        return str(e).replace(str(path), "a.yaml")


def means(text: Any, found: Any) -> bool:
    """Return whether a value is what stands in the file, by a reader that takes all for text."""
    if isinstance(text, int | float):
        text = str(text)
    match found:
        case dict():
            return text.keys() == found.keys() and all(means(text[k], v) for k, v in found.items())
        case list() | tuple():
            return len(text) == len(found) and all(map(means, text, found))
        case bool():
            return str(text).lower() in (
                ("true", "yes", "on", "y") if found else ("false", "no", "off", "n")
            )
        case None:
            return text in ("", "~", "null")
        case int() | float() if re.match("[-+]?0[xo]", text):
            return found == int(text, 0)
        case int() | float():
            same = float(re.sub(r"^([-+]?)\.(inf|nan)$", r"\1\2", text.replace("_", "")))
            return found == same
    return found == text


def test_the_file_that_is_edited_is_a_good_one(tmp_path: Path) -> None:
    found = read(tmp_path / "a.yaml", yaml.safe_dump(FULL_RUN))
    assert isinstance(found, RunSettings), found
    assert means(FULL_RUN["settings"], found.settings)


@given(edited())
@example("name: a\n" * 2)
@settings(max_examples=400, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_a_good_file_that_was_edited_is_what_it_says_or_a_sentence_with_its_line(
    tmp_path: Path, text: str
) -> None:
    found = read(tmp_path / "a.yaml", text)
    if isinstance(found, str):
        missing = r"a\.yaml: (name|stop): missing; add it"
        no_line = r"a\.yaml: algorithm\.|a\.yaml: (not YAML|expected)"
        assert re.match(rf"a\.yaml:\d+: \S|{missing}|{no_line}", found), found
        assert "S3cret" not in found
        return
    said = yaml.load(text, Loader=yaml.BaseLoader)
    assert means(said["name"], found.name)
    assert means(said.get("settings", {}), found.settings)
    for key in said.get("stop", {}):
        assert means(said["stop"][key], getattr(found.stop, key))
    if isinstance(said.get("algorithm"), dict) and "local_steps" in said["algorithm"]:
        assert means(said["algorithm"]["local_steps"], found.algorithm.local_steps)
    top = [line.partition(":")[0] for line in text.splitlines() if line[:1].isalnum()]
    assert len(top) == len(set(top)), "a key that stands twice was taken"
    genesis = Genesis(
        found.name,
        found.seed,
        found.learner,
        found.settings,
        ModelSchema(()),
        Digest("0" * 64),
        found.algorithm,
        found.stop,
    )
    assert canonical.decode(canonical.encode(genesis), Genesis).settings == found.settings


@pytest.mark.parametrize("num_lines", range(1, 24))
def test_a_file_that_ends_too_early_is_one_that_says_so_or_less(
    tmp_path: Path, num_lines: int
) -> None:
    lines = yaml.safe_dump(FULL_RUN, sort_keys=False).splitlines()[:num_lines]
    found = read(tmp_path / "a.yaml", "\n".join(lines))
    assert isinstance(found, RunSettings) or found.startswith("a.yaml")
