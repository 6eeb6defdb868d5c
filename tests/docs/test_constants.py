"""docs/arithmetic.md shows the table of constants; `--rewrite` writes it there."""

import re
from collections.abc import Iterator

from common.constants import Range, values
from common.documents import TIERS, Stop
from services.config.presets import DEFAULT_PRESET, PRESETS
from tests.docs.pages import ROOT

PAGE = ROOT / "docs" / "arithmetic.md"
SECTION = re.compile(
    r"(?<=<!-- constants: )(.*? -->\n)(.*?)(?=<!-- end of constants -->)", re.DOTALL
)


def shown(value: object) -> str:
    return {True: "true", False: "false"}[value] if isinstance(value, bool) else str(value)


def table() -> Iterator[str]:
    """Yield the lines."""
    yield "| constant | symbol | may be | unit | default | what it is |"
    yield "|---|---|---|---|---|---|"
    usual = {path: value for path, _, value in values(PRESETS[DEFAULT_PRESET].algorithm, Stop())}
    others: dict[str, list[str]] = {path: [] for path in usual}
    for name, preset in PRESETS.items():
        for path, _, value in values(preset.algorithm, Stop()):
            if value != usual[path]:
                others[path].append(f"{name} {shown(value)}")
    for path, c, _ in values(PRESETS[DEFAULT_PRESET].algorithm, Stop()):
        default = shown(usual[path]) + f" ({', '.join(others[path])})" * bool(others[path])
        may_be = c.may_be.words if isinstance(c.may_be, Range) else c.may_be
        if isinstance(may_be, tuple):
            may_be = ", ".join(w for w in may_be if path != "algorithm.tier" or w in TIERS)
        yield f"| `{path}` | {c.symbol} | {may_be} | {c.unit} | {default} | {c.meaning} |"


def test_the_page_shows_the_table(rewrite: bool) -> None:
    text = PAGE.read_text()
    (old,) = SECTION.findall(text)
    new = "\n" + "".join(f"{line}\n" for line in table()) + "\n"
    if rewrite:
        PAGE.write_text(SECTION.sub(lambda found: found[1] + new, text))
    else:
        assert old[1] == new, "stale: run `pytest tests/docs --rewrite`"
