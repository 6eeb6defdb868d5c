"""What the pages say is done as they say it: a federation is set up from their own blocks.

Every YAML block says in its first comment which file it is, and is read by what reads that file. A
later block of the same file is an excerpt: its keys take the place of the first one's.
"""

import contextlib
import io
import re
import shutil
import subprocess
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest
import yaml
from typer.testing import CliRunner

from commands.app import app
from commands.plan.options import read_options
from common.errors import ConfigError
from services.config.genesis_file import load_genesis
from services.config.settings import (
    load_coordinator,
    load_evaluator,
    load_operator,
    load_run,
    load_worker,
)
from services.evaluator.state import EvaluatorState
from services.trust.identity import MemberList
from services.trust.pins import read_pins
from tests.docs.pages import PAGES, ROOT, Block, blocks, commands, inline_commands, prose, spans
from worker.rounds.position import genesis_position

SETTINGS = {
    "run": load_run,
    "coordinator": load_coordinator,
    "worker": load_worker,
    "evaluator": load_evaluator,
    "operator": load_operator,
}
READERS = {f"{name}.yaml": load for name, load in SETTINGS.items()} | {
    "members.yaml": lambda path: MemberList(path, "wiki-1"),
    "pins.yaml": read_pins,
    "plan.yaml": read_options,
}
WRITTEN = [b for page in PAGES for b in blocks(page)]
YAML = [b for b in WRITTEN if b.language == "yaml"]
PYTHON = [b for b in WRITTEN if b.language == "python"]
OURS = [c for b in WRITTEN if b.language == "sh" for c in commands(b)] + [
    c for page in PAGES for c in inline_commands(page)
]
SHORT = [
    (where, code)
    for page in PAGES
    for where, code in spans(page)
    if re.match(r"(metrics|algorithm|timings|limits|trust)[.]\w+: |(log|trust|reflection): ", code)
]


def name_of(block: Block) -> str:
    found = re.match(r"# ([\w-]+\.yaml)\b", block.text)
    assert found, f"{block.where}: the first line has to say which file this is: # worker.yaml"
    return found[1]


def first(name: str) -> str:
    return next(block.text for block in YAML if name_of(block) == name)


def whole(block: Block) -> str:
    """Return the file that a block is, or that it is an excerpt of."""
    return yaml.safe_dump(yaml.safe_load(first(name_of(block))) | yaml.safe_load(block.text))


def done(words: Sequence[str]) -> str:
    """Run a command of ours; return what it says."""
    assert words[0] == "crosscloud"
    result = CliRunner().invoke(app, [*words[1:]], catch_exceptions=True)
    assert result.exit_code == 0, f"{' '.join(words)}: {result.exception}: {result.output}"
    return result.output


def as_written(*begin: str) -> tuple[str, ...]:
    """Return the longest command of the pages that begins so."""
    return max((c.words for c in OURS if c.words[: len(begin)] == begin), key=len)


@pytest.fixture(scope="module")
def federation(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The working folder of whoever has followed docs/operations.md to section 4."""
    folder = tmp_path_factory.mktemp("federation")
    with contextlib.chdir(folder):
        for name in READERS.keys() - {"members.yaml"}:
            (folder / name).write_text(first(name))
        done(as_written("crosscloud", "genesis"))
        done(as_written("crosscloud", "certs", "init"))
        shutil.copy("genesis/genesis.json", "genesis.json")
        shutil.copy("pins.yaml", "operators.yaml")
        yield folder


def test_the_pages_hold_what_this_file_looks_for() -> None:
    assert {name_of(block) for block in YAML} == READERS.keys()
    assert len(PYTHON) >= 2
    assert len(SHORT) >= 5


@pytest.mark.parametrize("block", YAML, ids=lambda b: b.where)
def test_every_yaml_block_is_read_by_what_reads_that_file(federation: Path, block: Block) -> None:
    name = name_of(block)
    path = federation / f"excerpt-{name}"
    is_first = block.text == first(name)
    path.write_text(block.text if is_first else whole(block))
    READERS[name](path)


def test_the_member_list_is_the_one_that_the_command_above_it_makes(federation: Path) -> None:
    assert yaml.safe_load(first("members.yaml")) == yaml.safe_load(
        (federation / "certs/members.yaml").read_text()
    )


@pytest.mark.parametrize(
    "block", [b for b in YAML if name_of(b) == "run.yaml"], ids=lambda b: b.where
)
def test_every_recipe_for_a_run_can_be_planned(federation: Path, block: Block) -> None:
    (federation / "run.yaml").write_text(whole(block))
    try:
        assert "MB" in done(as_written("crosscloud", "plan"))
        assert "MB" in done(("crosscloud", "plan", "run.yaml", "--with", "plan.yaml"))
        assert "MB" in done(("crosscloud", "plan", "run.yaml", "--parameters", "1e9"))
    finally:
        (federation / "run.yaml").write_text(first("run.yaml"))
    assert done(("crosscloud", "plan", "genesis/genesis.json"))


@pytest.mark.parametrize(("where", "code"), SHORT, ids=lambda x: x)
def test_every_setting_within_a_line_is_taken_by_some_file(
    federation: Path, where: str, code: str
) -> None:
    dotted, _, value = code.partition(": ")
    for name in reversed(dotted.split(".")):
        value = f"{{{name}: {value}}}"
    refusals = []
    for name, load in SETTINGS.items():
        path = federation / f"short-{name}.yaml"
        path.write_text(
            yaml.safe_dump(yaml.safe_load(first(f"{name}.yaml")) | yaml.safe_load(value))
        )
        try:
            load(path)
        except ConfigError as e:
            refusals.append(str(e))
    assert len(refusals) < len(SETTINGS), f"{where}: {code}: {refusals}"


@pytest.mark.parametrize(
    "variable",
    sorted({v for page in PAGES for v in re.findall(r"CROSSCLOUD_[A-Z]+__\w+[A-Z]", prose(page))}),
)
def test_every_variable_overrides_a_field(federation: Path, variable: str) -> None:
    process = variable.split("_")[1].lower()
    with contextlib.suppress(ConfigError):
        SETTINGS[process](federation / f"{process}.yaml", {variable: "redis://127.0.0.1"})
        return
    with pytest.raises(ConfigError, match=variable) as refused:
        SETTINGS[process](federation / f"{process}.yaml", {variable: "redis://127.0.0.1"})
    assert "unknown key" not in str(refused.value)


def test_a_certificate_is_renewed_by_the_three_commands_of_the_runbook(federation: Path) -> None:
    shutil.copytree(federation / "certs", federation / "authority")
    made = done(as_written("crosscloud", "certs", "request"))
    shutil.copy("certs/aws.csr", "aws.csr")
    shown = done(next(c.words for c in OURS if "aws.csr" in c.words and "show" in c.words))
    fingerprint = re.search("fingerprint: (.*)", made)
    assert fingerprint
    assert fingerprint[0] in shown
    sign = as_written("crosscloud", "certs", "sign")
    done([fingerprint[1] if word == "1f0c ..." else word for word in sign])
    assert "good until" in done(("crosscloud", "certs", "show", "authority/aws.pem"))


def test_the_model_is_exported_and_loaded_as_the_pages_say(federation: Path) -> None:
    state = EvaluatorState(federation / "state")
    genesis = load_genesis(federation / "genesis.json")
    shutil.copytree("genesis/data", "state/data", dirs_exist_ok=True)
    state.save(genesis_position(genesis))
    done(as_written("crosscloud", "export"))
    shutil.copytree("model", "runs/demo/model")
    (loads,) = (b for b in PYTHON if "from_pretrained" in b.text)
    names: dict[str, object] = {}
    exec(compile(loads.text, loads.where, "exec"), names)
    assert names["model"]
    assert names["tokenizer"]


@pytest.mark.parametrize(
    "block", [b for b in PYTHON if "from_pretrained" not in b.text], ids=lambda b: b.where
)
def test_what_a_python_block_prints_stands_on_its_page(block: Block) -> None:
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        exec(compile(block.text, block.where, "exec"), {"__name__": "__main__"})
    page = " ".join(prose(ROOT / block.where.partition(":")[0]).split())
    lines = printed.getvalue().splitlines()
    assert lines
    assert not [line for line in lines if line not in page]


def test_files_that_a_leader_was_about_to_delete_come_back(tmp_path: Path) -> None:
    (code,) = {code for page in PAGES for _, code in spans(page) if code.startswith("mv ")}
    for name in ("trash-00ab/gone", "kept"):
        path = tmp_path / "data" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(name)
    script = tmp_path / "recovery"
    script.write_text(f"#!/bin/sh -e\n{code}\n")
    script.chmod(0o755)
    subprocess.run([script], cwd=tmp_path, check=True)
    assert {p.name for p in (tmp_path / "data").iterdir()} == {"gone", "kept"}
