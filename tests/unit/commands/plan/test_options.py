from pathlib import Path
from typing import Any

import pytest

from commands.plan.options import PRICES_USD_PER_GB, read_options
from common.errors import ConfigError


def test_the_command_line_wins_over_the_file(tmp_path: Path) -> None:
    path = tmp_path / "plan.yaml"
    path.write_text(
        "workers:\n"
        "  east: {cloud: aws, up_mbps: 10, down_mbps: 20, tokens_per_s: 5}\n"
        "  west: {cloud: gcp}\n"
        "prices_usd_per_gb: {aws: 0.02}\n"
    )
    told = read_options(
        path,
        links=("east=100/200", "coordinator=1/2"),
        speeds=("7", "west=9"),
        prices=("gcp=0.01",),
        workers=("north=azure",),
        coordinator="aws",
    )
    assert set(told.workers) == {"east", "west", "north"}
    assert (told.workers["east"].cloud, told.workers["east"].up_mbps) == ("aws", 100)
    assert {n: w.tokens_per_s for n, w in told.workers.items()} == {
        "east": 7,
        "west": 9,
        "north": 7,
    }
    assert (told.coordinator.cloud, told.coordinator.down_mbps) == ("aws", 2)
    assert told.prices_usd_per_gb == {**PRICES_USD_PER_GB, "aws": 0.02, "gcp": 0.01}


@pytest.mark.parametrize(
    ("told", "sentence"),
    [
        ({"links": ("aws=1000",)}, r"--link aws=1000: expected NAME=UP/DOWN in megabits"),
        ({"links": ("aws=fast/10",)}, r"--link aws=fast/10 \(workers.aws.up_mbps\): 'fast'"),
        ({"links": ("aws=0/10",)}, r"workers.aws.up_mbps.*greater than 0"),
        ({"prices": ("0.09",)}, r"--price 0.09: expected CLOUD=USD_PER_GB"),
        ({"prices": ("aws=-1",)}, r"price of aws is below 0"),
        ({"speeds": ("fast",)}, r"--tokens-per-s fast \(workers.aws.tokens_per_s\)"),
        ({"parameters": 0.5}, r"--parameters 0.5 \(parameters\).*instead of building"),
        ({"workers": ("UPPER",)}, r"workers.*UPPER"),
    ],
)
def test_a_wrong_option_is_named_with_its_fix(told: dict[str, Any], sentence: str) -> None:
    with pytest.raises(ConfigError, match=sentence):
        read_options(None, **told)


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        ("workerz: {}\n", r"workerz: unknown key; did you mean 'workers'"),
        ("workers: {aws: {up: 3}}\n", r"workers.aws.up: unknown key"),
        ("workers: [aws]\n", r"workers: expected `key: value` lines"),
        ("heartbeat_s: 0\n", r"heartbeat_s: 0: .*greater than 0"),
    ],
)
def test_a_wrong_file_is_named_with_its_fix(tmp_path: Path, content: str, sentence: str) -> None:
    path = tmp_path / "plan.yaml"
    path.write_text(content)
    with pytest.raises(ConfigError, match=sentence):
        read_options(path, speeds=("1",))


@pytest.mark.parametrize(
    ("told", "sentence"),
    [
        ({"links": ("awz=1/1",)}, r"--link awz=1/1: no such worker 'awz'; did you mean 'aws'\?"),
        ({"speeds": ("gpc=5",)}, r"--tokens-per-s gpc=5: no such worker 'gpc'; did you .* 'gcp'"),
        ({"links": ("cordinator=1/1",)}, r"no such worker 'cordinator'; .* 'coordinator'"),
        ({"prices": ("onpren=0",)}, r"--price onpren=0: no such cloud 'onpren'; .* 'onprem'"),
        ({"links": ("zz=1/1",)}, r"'zz'; known: aws, gcp, own, coordinator \(--worker adds one\)"),
    ],
)
def test_what_is_said_of_nobody_is_refused(told: dict[str, Any], sentence: str) -> None:
    with pytest.raises(ConfigError, match=sentence):
        read_options(None, workers=("aws", "gcp", "own=onprem"), **told)


def test_neither_is_it_where_workers_stand_in_the_file_or_nowhere(tmp_path: Path) -> None:
    path = tmp_path / "plan.yaml"
    path.write_text("workers: {east: {cloud: aws}}\n")
    with pytest.raises(ConfigError, match=r"no such worker 'easst'; did you mean 'east'\?"):
        read_options(path, links=("easst=1/1",))
    with pytest.raises(ConfigError, match=r"no such worker 'awz'; did you mean 'aws'\?"):
        read_options(None, speeds=("awz=5",))
    path.write_text("workers: {east: {cloud: onprem}}\nprices_usd_per_gb:\n  onpren: 0\n")
    with pytest.raises(ConfigError, match=r"plan.yaml:3: prices_usd_per_gb.onpren: no such cloud"):
        read_options(path)


def test_prices_of_list_clouds_that_nobody_stands_in_pass() -> None:
    assert read_options(None, workers=("a", "b"), prices=("aws=1", "a=2")).workers


def test_workers_that_nobody_named_are_said() -> None:
    (remark,) = read_options(None).remarks
    assert "Nobody said who takes part: one worker each in aws, azure, gcp (--worker" in remark
    assert not read_options(None, workers=("a", "b")).remarks
