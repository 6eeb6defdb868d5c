"""The first page's table of six settings: names, defaults and bounds are the code's."""

import re
from operator import attrgetter
from pathlib import Path
from typing import Any

import pytest
import yaml

from common.errors import ConfigError
from services.config.presets import DEFAULT_PRESET, PRESETS
from services.config.settings import load_run
from tests.docs.pages import ROOT

HEADING = "\n## The six settings that matter\n"
SECTION = (ROOT / "README.md").read_text().partition(HEADING)[2].partition("\n## ")[0]
ROWS = [
    [cell.strip() for cell in line.strip("|").split("|")]
    for line in SECTION.splitlines()
    if line.startswith("| `")
]
TABLE = {row[0].strip("`"): row for row in ROWS}
"""Setting below `algorithm` -> its row: name, what, default, may be, raised, lowered, when."""

NEEDS = {("codec.bits", 4): {"max_cohort": 7}}
"""What else a value asks for; the page says so."""


def value_of(cell: str) -> Any:
    return yaml.safe_load(cell.strip("`"))


def good_and_bad(cell: str) -> tuple[list[Any], list[Any]]:
    """Return values within the bounds that a cell names, and values just beyond them."""
    cell = cell.partition("; in tier `tls` ")[0]
    if found := re.fullmatch(r"(\d+) to (\d+)", cell):
        low, high = map(int, found.groups())
        return [low, high], [low - 1, high + 1]
    if found := re.fullmatch(r"(\d+) or more", cell):
        return [int(found[1]), 1000 * int(found[1])], [int(found[1]) - 1]
    if found := re.fullmatch(r"above (\d+)", cell):
        return [int(found[1]) + 1e-9, 1e9], [int(found[1])]
    if found := re.fullmatch(r"above (\d+), at most (\d+)", cell):
        low, high = map(int, found.groups())
        return [low + 1e-9, high], [low, high + 1e-9]
    good = [value_of(word) for word in cell.split(", ")]
    return good, [x for x in (*range(40), "he", "nobody") if x not in good]


def loaded(folder: Path, path: str | None = None, value: Any = None, **more: Any) -> Any:
    """Return the algorithm of a run.yaml that sets one field below `algorithm`."""
    algorithm: dict[str, Any] = {}
    if path is not None:
        *groups, field = path.split(".")
        inner = algorithm
        for group in groups:
            inner = inner.setdefault(group, {})
        inner[field] = value
    run = {"name": "six", "stop": {"versions": 1}, "algorithm": algorithm | more}
    (folder / "run.yaml").write_text(yaml.safe_dump(run))
    return load_run(folder / "run.yaml", {}).algorithm


def test_there_are_six() -> None:
    assert len(ROWS) == len(TABLE) == 6
    assert all(len(row) == 7 and all(row) for row in ROWS)
    assert f"`{DEFAULT_PRESET}`" in SECTION


@pytest.mark.parametrize("path", [path for path in TABLE if "." in path])
def test_one_written_as_the_column_has_it_is_told_how_it_is_written(
    tmp_path: Path, path: str
) -> None:
    run = {"name": "six", "stop": {"versions": 1}, "algorithm": {path: 4}}
    (tmp_path / "run.yaml").write_text(yaml.safe_dump(run))
    group, _, name = path.partition(".")
    with pytest.raises(ConfigError, match=f"unknown key; write `{group}: {{{name}: 4}}`$"):
        load_run(tmp_path / "run.yaml", {})


def test_the_page_says_how_a_dotted_one_is_written(tmp_path: Path) -> None:
    (written,) = re.findall(r"`codec.bits` is written `(.*?)`", SECTION)
    assert loaded(tmp_path, **yaml.safe_load(written), max_cohort=7).codec.bits == 4


@pytest.mark.parametrize("path", TABLE)
def test_its_default_is_the_codes(tmp_path: Path, path: str) -> None:
    told = value_of(TABLE[path][2])
    assert attrgetter(path)(PRESETS[DEFAULT_PRESET].algorithm) == told
    assert attrgetter(path)(loaded(tmp_path)) == told


@pytest.mark.parametrize(
    ("path", "value"), [(path, x) for path, row in TABLE.items() for x in good_and_bad(row[3])[0]]
)
def test_what_it_may_be_is_taken(tmp_path: Path, path: str, value: Any) -> None:
    more = NEEDS.get((path, value), {})
    assert attrgetter(path)(loaded(tmp_path, path, value, **more)) == value


@pytest.mark.parametrize(
    ("path", "value"), [(path, x) for path, row in TABLE.items() for x in good_and_bad(row[3])[1]]
)
def test_what_it_may_not_be_is_refused(tmp_path: Path, path: str, value: Any) -> None:
    with pytest.raises(ConfigError, match=rf"algorithm\.{re.escape(path)}"):
        loaded(tmp_path, path, value, max_cohort=7 if path == "codec.bits" else 8)


@pytest.mark.parametrize(("path", "value"), NEEDS)
def test_what_it_needs_is_said_and_is_so(tmp_path: Path, path: str, value: Any) -> None:
    for field, most in NEEDS[path, value].items():
        assert f"`{field}` {most}" in " ".join(TABLE[path])
        with pytest.raises(ConfigError, match=field):
            loaded(tmp_path, path, value, **{field: most + 1})


def test_in_tier_tls_a_cohort_may_be_smaller(tmp_path: Path) -> None:
    good, bad = good_and_bad(TABLE["min_cohort"][3].partition("; in tier `tls` ")[2])
    for value in good:
        assert loaded(tmp_path, "min_cohort", value, tier="tls").min_cohort == value
    for value in bad:
        with pytest.raises(ConfigError, match=r"algorithm\.min_cohort"):
            loaded(tmp_path, "min_cohort", value, tier="tls")


def test_the_smallest_cohort_grows_with_those_who_collude(tmp_path: Path) -> None:
    assert "3 + `colluding`" in " ".join(TABLE["min_cohort"])
    assert loaded(tmp_path, "colluding", 2).min_cohort == 3 + 2
