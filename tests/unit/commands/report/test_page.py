import base64
import hashlib
import itertools
import re
from html.parser import HTMLParser
from pathlib import Path

import pytest

from commands.report.page import page
from commands.report.run_folder import genesis_hash, read_run
from common.constants import CONSTANTS
from common.documents import TIERS
from services.observe.privacy import PRIVACY, STATEMENTS
from tests.rig.rounds.made_up_run import change_result, made_up_genesis, write_run

HOSTILE = (
    "<script>alert(1)</script>",
    '"><img src=x onerror=alert(2)>',
    "</style><svg onload=alert(3)>",
    "]]>&lt;b&gt;&#60;i&#62;",
    "\u202eeman ruoy\x00\x1b[31m",
    "a" * 5000,
)
VOID = {"meta", "link"}


class Reader(HTMLParser):
    """Tags, texts and sections as a browser would find them."""

    def __init__(self, text: str) -> None:
        super().__init__(convert_charrefs=True)
        self.tags: list[tuple[str, dict[str, str]]] = []
        self.open: list[str] = []
        self.sections: dict[str, str] = {}
        self._section = ""
        self.feed(text)
        assert self.open == []

    def handle_starttag(self, tag, attributes):
        self.tags.append((tag, {k: v or "" for k, v in attributes}))
        if tag == "section":
            self._section = dict(attributes)["id"]
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag
        if tag == "section":
            self._section = ""

    def handle_data(self, data):
        if self._section:
            self.sections[self._section] = self.sections.get(self._section, "") + data + " "


def made(folder: Path, price: float = 0.09) -> Reader:
    return Reader(page(read_run(folder), price))


@pytest.fixture
def folder(tmp_path):
    return write_run(tmp_path / "demo")


def test_every_part_is_there(folder):
    found = made(folder).sections
    assert list(found) == [
        "summary",
        "learning",
        "rounds",
        "workers",
        "bytes",
        "cost",
        "privacy",
        "final",
        "configuration",
    ]
    assert not [name for name, text in found.items() if "left out: " in text]


def test_the_headline_says_the_results_figures(folder):
    text = made(folder).sections["summary"]
    result = read_run(folder).result
    for figure in ("18", "2 rounds aborted", f"{result.loss_nats:.3f}", "from 5.300 nats"):
        assert figure in text
    assert "saved 73%" in text


def test_curves_go_over_time_and_over_bytes(folder):
    reader = made(folder)
    charts = [a["aria-label"] for _, a in reader.tags if a.get("role") == "img"]
    for measure in ("Validation loss, nats per token", "Perplexity", "Accuracy, of next tokens"):
        for over in ("time", "bytes"):
            (said,) = [c for c in charts if c.startswith(f"{measure}, over {over}: ")]
            assert "(version 0)" in said
            assert "(version 18)" in said


def test_rounds_say_outcome_phases_and_why_some_were_aborted(folder):
    text = made(folder).sections["rounds"]
    assert "20 rounds closed: 2 rounds ended without one" in text
    for phase in ("share_keys", "collect_masked", "unmask", "commit", "ending"):
        assert phase in text
    assert "below_threshold" in text
    assert "members left: 2, needed: 3" in text


def test_workers_say_how_often_each_contributed_and_how_stale(folder):
    reader = made(folder)
    charts = [a["aria-label"] for _, a in reader.tags if a.get("role") == "img"]
    assert "aws: in 18 of 20 rounds." in charts
    assert "onprem: in 14 of 20 rounds." in charts
    assert any(c.startswith("Mean staleness in versions: aws 0.1") for c in charts)


def test_bytes_are_told_by_kind_by_worker_and_against_fedavg(folder):
    text = made(folder).sections["bytes"]
    assert "73% fewer than float32 FedAvg" in text
    for kind in ("updates", "sums", "whole versions", "control"):
        assert kind in text
    assert "72.0 MB 216.0 kB" in text  # updates, up and down: 18 versions of 4 workers
    assert "288.0 MB 75%" in text  # what they stand for, and what was saved
    assert "Bytes by worker and kind" in text


def test_cost_follows_the_price(folder):
    moved = read_run(folder).result.bytes_moved
    assert f"${moved / 1e9 * 50:.2f}" in made(folder, 50.0).sections["cost"]
    assert "$0.00" in made(folder, 0.0).sections["cost"]


@pytest.mark.parametrize("tier", TIERS)
def test_privacy_is_told_for_every_tier(tmp_path, tier):
    reader = made(write_run(tmp_path / tier, tier=tier))
    text = reader.sections["privacy"]
    for sentence in (*STATEMENTS[tier].seen, *STATEMENTS[tier].unseen, *STATEMENTS[tier].others):
        assert sentence in text
    loud = [a for tag, a in reader.tags if a.get("class") in ("warning", "badge loud")]
    assert len(loud) == (0 if STATEMENTS[tier].private else 2)
    assert tier in PRIVACY


def test_an_unknown_tier_is_loud_and_promises_nothing(folder):
    change_result(folder, privacy_tier="<b>quantum</b>")
    reader = made(folder)
    assert "is not one that this version of the report knows" in reader.sections["privacy"]
    assert [a for _, a in reader.tags if a.get("class") == "warning"]


def test_every_constant_that_can_be_set_is_told_with_its_meaning(folder):
    text = made(folder).sections["configuration"]
    assert genesis_hash(made_up_genesis("demo")) in text
    for path, constant in CONSTANTS.items():
        assert path in text or constant.later
        assert (constant.sentence in text) == (not constant.later)
    assert "model.hidden_size" in text


def test_an_old_run_says_what_is_left_out_and_why(tmp_path):
    found = made(write_run(tmp_path / "demo", old=True)).sections
    left = {name for name, text in found.items() if "left out: " in text}
    assert left == {"rounds", "workers", "bytes", "configuration"}
    assert "the coordinator that wrote it did not record them yet" in found["rounds"]
    assert "Constants and the genesis hash are left out" in found["configuration"]


def test_a_run_in_which_nothing_happened_has_a_page(tmp_path):
    folder = write_run(tmp_path / "demo", num_rounds=0, workers=())
    nothing = {"loss_nats": None, "perplexity": None, "accuracy": None, "evaluated_version": None}
    change_result(folder, **nothing, bytes_up=0, bytes_down=0, bytes_by_kind={}, versions=0)
    (folder / "metrics.jsonl").write_text("")
    found = made(folder).sections
    for part in ("learning", "rounds", "workers", "bytes", "final"):
        assert "left out: " in found[part]


@pytest.mark.parametrize("num_rounds", [1, 2, 101, 1000])
def test_any_number_of_rounds_gives_a_page_of_bounded_size(tmp_path, num_rounds):
    text = page(read_run(write_run(tmp_path / "demo", num_rounds=num_rounds)), 0.09)
    assert len(text) < 400_000
    Reader(text)


def test_two_hundred_workers_have_a_page(tmp_path):
    names = [f"worker-{i:03}" for i in range(200)]
    found = made(write_run(tmp_path / "demo", workers=names)).sections
    assert "the first 40 of 200 workers" in found["workers"]
    assert "worker-199" in found["final"]


@pytest.mark.parametrize("old", [False, True])
def test_hostile_names_stay_text(tmp_path, old):
    folder = write_run(tmp_path / "demo", workers=HOSTILE, run=HOSTILE[0], old=old)
    text = page(read_run(folder), 0.09)
    text.encode()
    assert not re.search("[\u202e\x00\x1b]", text)
    reader = Reader(text)
    assert "<script>alert(1)</script>" in reader.sections["final"]
    assert not {"script", "img"} & {tag for tag, _ in reader.tags}
    assert not [a for _, a in reader.tags if any(k.startswith("on") for k in a)]


def test_hostile_phases_kinds_and_reasons_stay_text(folder):
    path = folder / "metrics.jsonl"
    attack = "<img src=x onerror=alert(1)>"
    text = path.read_text().replace('"unmask"', f'"{attack}"')
    path.write_text(text.replace("below_threshold", attack).replace("members left", attack))
    change_result(folder, bytes_by_kind={attack: 10**6}, run="demo")
    reader = made(folder)
    assert "img" not in {tag for tag, _ in reader.tags}
    assert attack in reader.sections["rounds"]
    assert attack in reader.sections["bytes"]


def test_the_page_asks_nobody_for_anything_and_lets_only_its_style_in(folder):
    reader = made(folder)
    text = page(read_run(folder), 0.09)
    for name in ("script", "iframe", "img", "object", "base", "form"):
        assert name not in {tag for tag, _ in reader.tags}
    for tag, attributes in reader.tags:
        assert "style" not in attributes, tag
        for name in ("src", "href"):
            assert attributes.get(name, "#").startswith(("#", "data:,"))
    assert "url(" not in text
    assert "@import" not in text
    (style,) = re.findall("<style>(.*)</style>", text, re.DOTALL)
    (policy,) = [a["content"] for _, a in reader.tags if "http-equiv" in a]
    hashed = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    assert f"style-src 'sha256-{hashed}'" in policy
    assert policy.startswith("default-src 'none';")


def test_the_same_folder_gives_the_same_bytes(folder):
    assert page(read_run(folder), 0.09) == page(read_run(folder), 0.09)


def test_headings_are_in_order_and_every_section_charts_and_tables_are_named(folder):
    reader = made(folder)
    levels = [int(tag[1]) for tag, _ in reader.tags if re.fullmatch("h[1-6]", tag)]
    assert levels[0] == 1
    assert levels.count(1) == 1
    assert all(b - a <= 1 for a, b in itertools.pairwise(levels))
    ids = [a["id"] for _, a in reader.tags if "id" in a]
    assert len(ids) == len(set(ids))
    for tag, attributes in reader.tags:
        if tag == "section":
            assert attributes["aria-labelledby"] in ids
        if attributes.get("role") in ("img", "region"):
            assert attributes["aria-label"]
        if tag == "th":
            assert attributes["scope"] in ("row", "col")
        if tag == "a":
            assert attributes["href"].removeprefix("#") in ids
    assert dict(reader.tags[0][1]) == {"lang": "en"}
    assert {tag for tag, _ in reader.tags} >= {"main", "header", "nav", "footer", "caption"}


def test_torn_lines_are_told(folder):
    with (folder / "metrics.jsonl").open("a") as file:
        file.write('{"time_s": 17')
    assert "1 line of metrics.jsonl ended too early" in page(read_run(folder), 0.09)


def test_a_cell_of_several_rounds_says_how_many_were_aborted(tmp_path):
    reader = made(write_run(tmp_path / "demo", num_rounds=200))
    text = reader.sections["rounds"]
    assert "Each cell is 2 of them" in text
    assert "on average; 1 of 2 aborted" in text
    assert "on average; 0 of 2 aborted" in text
    bad = {a["height"] for _, a in reader.tags if a.get("class") == "cell bad"}
    assert "10" in bad  # half of a strip
    assert "20" not in bad
