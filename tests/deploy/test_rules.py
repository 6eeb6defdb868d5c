"""Scrape file and rules: promtool takes them, every alert is tried both ways and has its page."""

import re
import subprocess
from pathlib import Path

import pytest
import yaml

from common.rounds import ATTACKED
from tests.deploy.conftest import PROMETHEUS, ROOT, RULES, rules
from tests.rig.programs import needed

RULE_TESTS = Path(__file__).parent / "prometheus" / "alerts_test.yml"
ALERTS = [rule for rule in rules() if "alert" in rule]
by_promtool = pytest.mark.program("promtool")


def promtool(*arguments: object) -> None:
    command = (needed("promtool"), *map(str, arguments))
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


@by_promtool
def test_promtool_takes_the_rules() -> None:
    promtool("check", "rules", "--lint=all", "--lint-fatal", *RULES)


@by_promtool
def test_promtool_takes_the_scrape_file_and_it_names_every_rule_file() -> None:
    promtool("check", "config", PROMETHEUS / "prometheus.yml")
    config = yaml.safe_load((PROMETHEUS / "prometheus.yml").read_text())
    assert {PROMETHEUS / name for name in config["rule_files"]} == set(RULES)


@by_promtool
def test_every_alert_behaves_as_its_tests_say() -> None:
    promtool("test", "rules", RULE_TESTS)


def test_every_alert_has_a_test_that_fires_and_one_that_does_not() -> None:
    tried: dict[str, set[bool]] = {rule["alert"]: set() for rule in ALERTS}
    series: dict[str, int] = {}
    for case in yaml.safe_load(RULE_TESTS.read_text())["tests"]:
        for expected in case.get("alert_rule_test", ()):
            name = expected["alertname"]
            tried[name].add(bool(expected["exp_alerts"]))
            series[name] = max(series.get(name, 0), len(case["input_series"]))
    for name, outcomes in tried.items():
        assert True in outcomes, f"{name} never fires in its tests"
        # silent at another time, or for another of the series of the same case
        assert False in outcomes or series[name] > 1, f"{name} is never silent in its tests"


@pytest.mark.parametrize("rule", ALERTS, ids=lambda rule: rule["alert"])
def test_an_alert_says_how_bad_what_and_where_to_read_on(rule: dict) -> None:
    assert rule["labels"]["severity"] in {"critical", "warning"}
    said = rule["annotations"]
    assert said.keys() == {"summary", "description", "runbook_url"}
    assert all(said.values())
    page, _, anchor = said["runbook_url"].partition("#")
    assert anchor in anchors(ROOT / page)


def test_the_alert_for_attacks_names_the_rules_that_only_an_attack_breaks() -> None:
    (alert,) = (rule for rule in ALERTS if rule["alert"] == "CrosscloudAttackRefused")
    asked = re.findall(r'rule=~"([\d|]+)"', alert["expr"])
    assert asked == ["|".join(str(int(rule)) for rule in ATTACKED)] * 2


def anchors(page: Path) -> set[str]:
    """Return the anchors of a page's headings, as GitHub and GitLab make them."""
    headings = re.findall(r"^#+ (.+)$", page.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", h.lower()).strip().replace(" ", "-") for h in headings}
