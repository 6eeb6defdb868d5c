from pathlib import Path
from typing import Any

import pytest

from common.errors import ConfigError
from services.plan.options import PRICES_USD_PER_GB, read_options


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
