"""Each dashboard can be read by Grafana and by a person: nothing without title, unit, words."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.deploy.conftest import GRAFANA, ROOT, dashboards, panels
from tests.deploy.test_rules import anchors

DASHBOARDS = dashboards()
PANELS = [(name, panel) for name, d in DASHBOARDS.items() for panel in panels(d)]
every_dashboard = pytest.mark.parametrize("name", DASHBOARDS)
every_panel = pytest.mark.parametrize(
    ("name", "panel"), PANELS, ids=[f"{n}: {p['title']}" for n, p in PANELS]
)
DATASOURCE = {"type": "prometheus", "uid": "${datasource}"}


@every_panel
def test_a_panel_says_what_it_shows_in_which_unit(name: str, panel: dict[str, Any]) -> None:
    assert panel["title"]
    assert panel["description"].endswith(".")
    assert panel["fieldConfig"]["defaults"]["unit"]
    assert panel["datasource"] == DATASOURCE
    for target in panel["targets"]:
        assert target["datasource"] == DATASOURCE
        assert target["expr"]
        assert target["legendFormat"]


@every_panel
def test_a_panels_links_lead_to_a_section_of_the_runbook(name: str, panel: dict[str, Any]) -> None:
    for link in panel.get("links", ()):
        base, _, anchor = link["url"].partition("#")
        assert base == "${runbook}"
        assert anchor in anchors(ROOT / "docs" / "runbook.md")


@every_dashboard
def test_every_variable_that_a_query_names_is_declared_and_used(name: str) -> None:
    dashboard = DASHBOARDS[name]
    declared = {v["name"] for v in dashboard["templating"]["list"]}
    text = json.dumps([dashboard["panels"], dashboard["templating"]])
    used = set(re.findall(r"\$\{?([a-z]\w*)", text))
    assert declared == used
    kinds = {v["name"]: v["type"] for v in dashboard["templating"]["list"]}
    assert kinds["datasource"] == "datasource"
    assert kinds["run"] == "query"


@every_dashboard
def test_panels_have_their_own_ids_and_do_not_overlap(name: str) -> None:
    found = list(panels(DASHBOARDS[name]))
    assert len({p["id"] for p in found}) == len(found)
    taken: set[tuple[int, int]] = set()
    for p in found:
        at = p["gridPos"]
        cells = {
            (x, y)
            for x in range(at["x"], at["x"] + at["w"])
            for y in range(at["y"], at["y"] + at["h"])
        }
        assert max(x for x, _ in cells) < 24
        assert not taken & cells, p["title"]
        taken |= cells


def test_dashboards_have_their_own_names() -> None:
    assert {d["uid"] for d in DASHBOARDS.values()} == set(DASHBOARDS)
    assert len({d["title"] for d in DASHBOARDS.values()}) == len(DASHBOARDS) == 4


@every_dashboard
def test_grafanas_own_types_keep_every_field(name: str) -> None:
    """What Grafana's types do not know is lost on the way through them; so are values of others."""
    models = pytest.importorskip(
        "grafana_foundation_sdk.models.dashboard", reason="no grafana-foundation-sdk"
    )
    from grafana_foundation_sdk.cog.encoder import JSONEncoder
    from grafana_foundation_sdk.cog.plugins import register_default_plugins

    register_default_plugins()
    known = models.Dashboard.from_json(DASHBOARDS[name])
    back = json.loads(JSONEncoder().encode(known))
    assert not list(lost(DASHBOARDS[name], back))


def lost(ours: Any, theirs: Any, path: str = "") -> Iterator[str]:
    match ours, theirs:
        case dict(), dict():
            for key, value in ours.items():
                yield from lost(value, theirs.get(key, "nothing"), f"{path}.{key}")
        case list(), list():
            assert len(ours) == len(theirs)
            for i, (a, b) in enumerate(zip(ours, theirs, strict=True)):
                yield from lost(a, b, f"{path}[{i}]")
        case _:
            if ours != theirs:
                yield f"{path}: {ours!r} became {theirs!r}"


def test_provisioning_names_the_data_source_and_the_dashboards_folder() -> None:
    def read(path: Path) -> Any:
        return yaml.safe_load(path.read_text())

    (source,) = read(GRAFANA / "provisioning" / "datasources" / "prometheus.yml")["datasources"]
    assert (source["type"], source["isDefault"]) == ("prometheus", True)
    (provider,) = read(GRAFANA / "provisioning" / "dashboards" / "crosscloud.yml")["providers"]
    assert provider["type"] == "file"
    assert provider["options"]["path"]
