from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from pydantic import BaseModel

from common.documents import Algorithm, Stop
from common.errors import ConfigError
from services.config import settings
from services.config.settings import (
    CoordinatorSettings,
    RunSettings,
    load_coordinator,
    load_evaluator,
    load_operator,
    load_run,
    load_worker,
)
from worker.training.learner import LearnerContext

TLS = {"ca": "ca.pem", "certificate": "me.pem", "key": "me.key"}
ADDRESS = {"control": "localhost:7443", "bulk": "localhost:7444"}
RUN: dict[str, Any] = {"name": "demo", "stop": {"versions": 20}}
COORDINATOR: dict[str, Any] = {
    "genesis": "genesis.json",
    "data_dir": "state",
    "members": "members.yaml",
    "tls": TLS,
}
WORKER: dict[str, Any] = {
    "name": "aws",
    "genesis": "genesis.json",
    "coordinator": ADDRESS,
    "tls": TLS,
    "state_dir": "state",
    "data": {"train": ["*.txt"]},
}
OPERATOR: dict[str, Any] = {"run": "demo", "coordinator": "localhost:7443", "tls": TLS}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in ("ca.pem", "me.pem", "me.key", "genesis.json", "members.yaml"):
        (tmp_path / name).touch()
    return tmp_path


def write(folder: Path, content: Any) -> Path:
    path = folder / "settings.yaml"
    path.write_text(content if isinstance(content, str) else yaml.safe_dump(content))
    return path


def refused(folder: Path, content: Any, load: Any, **environ: str) -> str:
    with pytest.raises(ConfigError) as caught:
        load(write(folder, content), environ)
    return str(caught.value).replace(f"{folder}/", "")


def models() -> Iterator[type[BaseModel]]:
    for value in vars(settings).values():
        if isinstance(value, type) and issubclass(value, BaseModel) and value.model_fields:
            yield value


@pytest.mark.parametrize("model", list(models()), ids=lambda m: m.__name__)
def test_every_setting_is_described(model: type[BaseModel]) -> None:
    assert not [n for n, f in model.model_fields.items() if len(f.description or "") < 10]


def test_the_models_are_found_by_the_test_above() -> None:
    assert {RunSettings, CoordinatorSettings, settings.TlsSettings} <= set(models())


@pytest.mark.parametrize(
    ("content", "load"),
    [
        (RUN, load_run),
        (COORDINATOR, load_coordinator),
        (WORKER, load_worker),
        (WORKER, load_evaluator),
        (OPERATOR, load_operator),
    ],
)
def test_the_smallest_file_is_enough(folder: Path, content: Any, load: Any) -> None:
    load(write(folder, content), {})


def test_paths_are_relative_to_the_file_that_they_stand_in(folder: Path) -> None:
    found = load_coordinator(write(folder, {**COORDINATOR, "data_dir": "a/b"}), {})
    assert found.data_dir == folder / "a/b"
    assert found.tls.key == folder / "me.key"
    absolute = load_coordinator(write(folder, {**COORDINATOR, "data_dir": "/x"}), {})
    assert absolute.data_dir == Path("/x")


def test_paths_of_the_environment_are_relative_to_the_working_folder(
    folder: Path, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    here = tmp_path_factory.mktemp("here")
    (here / "mine.key").touch()
    monkeypatch.chdir(here)
    found = load_coordinator(
        write(folder, COORDINATOR),
        {
            "CROSSCLOUD_COORDINATOR__DATA_DIR": "a/b",
            "CROSSCLOUD_COORDINATOR__TLS": f"{{ca: {folder}/me.key, certificate: mine.key, key: "
            "mine.key}",
        },
    )
    assert found.data_dir == here / "a/b"
    assert found.tls.key == here / "mine.key"
    assert found.tls.ca == folder / "me.key"
    assert found.genesis.parent == folder


def test_a_learner_is_told_what_its_own_paths_are_relative_to(
    folder: Path, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    here = tmp_path_factory.mktemp("here")
    monkeypatch.chdir(here)
    variables = {"CROSSCLOUD_WORKER__DATA__TRAIN": "[a]"}
    found = load_worker(write(folder, WORKER), variables)
    context = LearnerContext({}, found.data, 0, "aws", folders=found.folders)
    assert context.folder("data", "train") == here
    assert context.folder("data", "validation") == folder
    assert context.folder("settings", "model") == folder
    assert LearnerContext({}, {}, 0, "aws").folder("data") == Path()
    run = load_run(write(folder, RUN), {"CROSSCLOUD_RUN__SETTINGS__TOKENIZER": "bytes"})
    told = LearnerContext(run.settings, None, 0, "genesis", folders=run.folders)
    assert told.folder("settings", "model") == folder
    assert told.folder("settings", "tokenizer") == here


def test_an_algorithm_starts_from_its_preset(folder: Path) -> None:
    plain = load_run(write(folder, RUN), {})
    assert plain.algorithm == Algorithm()
    assert plain.stop == Stop(versions=20)
    changes = {"codec": {"bits": 16}, "local_steps": 7, "min_local_steps": 2}
    diloco = load_run(write(folder, {**RUN, "preset": "diloco", "algorithm": changes}), {})
    assert diloco.algorithm.policy == "sync"
    assert diloco.algorithm.codec.bits == 16
    assert diloco.algorithm.codec.step_multiple == 3.5
    assert diloco.algorithm.local_steps == 7


@pytest.mark.parametrize(
    ("own", "fewest"),
    [
        ({"colluding": 1}, 4),
        ({"colluding": 0}, 3),
        ({"colluding": 1, "min_cohort": 3}, 3),
        ({"colluding": 2, "tier": "tls"}, 3),
        ({"min_cohort": 5}, 5),
    ],
)
def test_a_sum_has_three_honest_members_whoever_else_may_collude(
    folder: Path, own: dict[str, object], fewest: int
) -> None:
    found = load_run(write(folder, {**RUN, "algorithm": own}), {})
    assert found.algorithm.min_cohort == fewest


def test_the_environment_alone_can_allow_for_colluders(folder: Path) -> None:
    variable = {"CROSSCLOUD_RUN__ALGORITHM__COLLUDING": "1"}
    found = load_run(write(folder, RUN), variable).algorithm
    assert (found.colluding, found.min_cohort) == (1, 4)


@pytest.mark.parametrize("colluding", ["many", None, 1.5, [1], float("inf"), -1])
def test_how_many_collude_is_a_whole_number(folder: Path, colluding: object) -> None:
    with pytest.raises(ConfigError, match="colluding"):
        load_run(write(folder, {**RUN, "algorithm": {"colluding": colluding}}), {})


def test_whole_numbers_become_floats_where_floats_are_meant(folder: Path) -> None:
    found = load_run(write(folder, {**RUN, "algorithm": {"quorum": 1}, "stop": {"hours": 2}}), {})
    assert (type(found.algorithm.quorum), type(found.stop.hours)) == (float, float)


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"algorithn": {}}, "settings.yaml:1: algorithn: unknown key; did you mean 'algorithm'? "),
        ({"algorithm": {"quorun": 1}}, "algorithm.quorun: unknown key; did you mean 'quorum'?"),
        ({"algorithm": {"codec": {"bitz": 8}}}, "algorithm.codec.bitz: unknown key; did you mean"),
        ({"algorithm": {"codec": {"bits": "many"}}}, "algorithm.codec.bits: 'many': input should"),
        ({"algorithm": 3}, "algorithm: 3: input should be a dictionary"),
        ({"algorithm": {"codec": 3}}, "algorithm.codec: 3: input should be a dictionary"),
        ({"preset": "dilco"}, "preset: 'dilco': not a preset; one of fedavg, diloco, async"),
        ({"name": "My Run"}, "name: 'My Run': name 'My Run': use 1 to 63 lower-case"),
        ({"learner": "my_pkg"}, "learner: 'my_pkg': expected huggingface or MODULE:FUNCTION"),
        ({"learner": "worker.huggingface:build"}, "write `learner: huggingface`"),
        ({"stop": {}}, "stop: a run has to end"),
        ({"stop": {"hours": float("nan")}}, "stop.hours"),
        ({"algorithm": {"policy": "asink"}}, "algorithm.policy: 'asink' is not known"),
        ({"seed": -1}, "seed: -1: input should be greater than or equal to 0"),
    ],
)
def test_a_wrong_run_is_refused_with_field_value_and_fix(
    folder: Path, changes: dict[str, Any], sentence: str
) -> None:
    assert sentence in refused(folder, {**RUN, **changes}, load_run)


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"tls": {**TLS, "key": "no.key"}}, "tls.key: 'no.key': no such file: no.key; correct"),
        ({"tls": {**TLS, "kee": "x"}}, "tls.kee: unknown key; did you mean 'key'?"),
        ({"genesis": "nowhere.json"}, "genesis: 'nowhere.json': no such file"),
        ({"coordinator": {**ADDRESS, "bulk": "localhost"}}, "coordinator.bulk: 'localhost': exp"),
        ({"coordinator": {**ADDRESS, "bulk": "h:99999"}}, "expected HOST:PORT"),
        ({"num_threads": 0}, "num_threads: 0: input should be greater than or equal to 1"),
        ({"pace": {"slowdown": 0.5}}, "pace.slowdown: 0.5: input should be greater"),
        ({"metrics": {"port": -1}}, "metrics.port: -1: input should be greater"),
        ({"log": {"level": "loud"}}, "log.level: 'loud': input should be 'debug'"),
    ],
)
def test_a_wrong_worker_is_refused_with_field_value_and_fix(
    folder: Path, changes: dict[str, Any], sentence: str
) -> None:
    assert sentence in refused(folder, {**WORKER, **changes}, load_worker)


def test_a_missing_field_is_named_with_its_meaning(folder: Path) -> None:
    without = {k: v for k, v in WORKER.items() if k != "state_dir"}
    message = refused(folder, without, load_worker)
    assert message.startswith("settings.yaml: state_dir: missing; add it (folder of")


def test_all_problems_are_told(folder: Path) -> None:
    (folder / "settings.yaml").write_text(yaml.safe_dump({"tls.ca": "ca.pem", "nam": 1}))
    with pytest.raises(ConfigError) as caught:
        load_operator(folder / "settings.yaml", {})
    nam, tls_ca, *missing = (p.partition("settings.yaml")[2] for p in caught.value.problems)
    assert nam.startswith(":1: nam: unknown key; known: ")
    assert tls_ca == ":2: tls.ca: unknown key; write `tls: {ca: ca.pem}`"
    assert [m.partition(": missing;")[0] for m in missing] == [": run", ": coordinator", ": tls"]
    assert str(caught.value) == "; ".join(caught.value.problems), "one line, in a log"


def test_a_lease_shorter_than_three_heartbeats_is_refused(folder: Path) -> None:
    timings = {"heartbeat_s": 10, "worker_lease_s": 20}
    message = refused(folder, {**COORDINATOR, "timings": timings}, load_coordinator)
    assert "settings.yaml:4: timings: worker_lease_s 20.0 is under three times" in message


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        ("a: [", "not YAML"),
        ("- a", "expected `key: value` lines, got list"),
        ("1: 2", "settings.yaml:1: 1: unknown key"),
    ],
)
def test_a_file_that_is_no_mapping_is_refused(folder: Path, content: str, sentence: str) -> None:
    assert sentence in refused(folder, content, load_run)


def test_a_missing_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"none\.yaml: no such file"):
        load_run(tmp_path / "none.yaml", {})


def test_the_environment_overrides_the_file(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder)
    (folder / "other.key").touch()
    found = load_worker(
        write(folder, WORKER),
        {
            "CROSSCLOUD_WORKER__TLS__KEY": "other.key",
            "CROSSCLOUD_WORKER__NUM_THREADS": "3",
            "CROSSCLOUD_WORKER__PACE__MAX_STEPS_PER_S": "2.5",
            "CROSSCLOUD_WORKER__DATA": '{"train": ["b"]}',
            "CROSSCLOUD_COORDINATOR__HOST": "ignored by a worker",
            "CROSSCLOUD_WORKER_PORT": "tcp://10.0.0.1:80",  # what Kubernetes makes up
        },
    )
    assert found.tls.key == folder / "other.key"
    assert found.num_threads == 3
    assert found.pace.max_steps_per_s == 2.5
    assert found.data == {"train": ["b"]}


@pytest.mark.parametrize(
    ("variable", "value", "sentence"),
    [
        ("CROSSCLOUD_WORKER__NAM", "x", "CROSSCLOUD_WORKER__NAM (nam): unknown key; did you mean"),
        (
            "CROSSCLOUD_WORKER__NUM_THREADS",
            "x",
            "CROSSCLOUD_WORKER__NUM_THREADS (num_threads): 'x'",
        ),
        ("CROSSCLOUD_WORKER__DATA", "{", "CROSSCLOUD_WORKER__DATA: not YAML"),
        ("CROSSCLOUD_WORKER__NAME__X", "x", "'name' is not a group of settings"),
    ],
)
def test_a_wrong_variable_is_refused_by_its_name(
    folder: Path, variable: str, value: str, sentence: str
) -> None:
    assert sentence in refused(folder, WORKER, load_worker, **{variable: value})


def test_a_password_is_neither_shown_nor_repeated_in_an_error(folder: Path) -> None:
    url = "rediss://user:hunter2@redis:6379"
    found = load_coordinator(write(folder, {**COORDINATOR, "redis_url": url}), {})
    assert found.redis_url is not None
    assert found.redis_url.get_secret_value() == url
    assert "hunter2" not in repr(found)
    message = refused(folder, {**COORDINATOR, "redis_url": [url]}, load_coordinator)
    assert "redis_url: ***" in message
    assert "hunter2" not in message


def test_paths_in_a_store_s_url_follow_the_file_or_the_working_folder(
    folder: Path, monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory
) -> None:
    elsewhere = tmp_path_factory.mktemp("elsewhere")
    monkeypatch.chdir(elsewhere)
    url = "rediss://h?ssl_ca_certs=authority.pem"
    (folder / "authority.pem").touch()
    found = load_coordinator(write(folder, {**COORDINATOR, "redis_url": url}), {})
    assert found.redis_url is not None
    assert found.redis_url.get_secret_value().endswith(f"={folder}/authority.pem")
    variable = {"CROSSCLOUD_COORDINATOR__REDIS_URL": url}
    message = refused(folder, COORDINATOR, load_coordinator, **variable)
    assert f"ssl_ca_certs: no such file: {elsewhere}/authority.pem" in message
    (elsewhere / "authority.pem").touch()
    found = load_coordinator(write(folder, COORDINATOR), variable)
    assert found.redis_url is not None
    assert found.redis_url.get_secret_value().endswith(f"={elsewhere}/authority.pem")


def test_a_process_may_do_without_a_metrics_port() -> None:
    assert settings.MetricsSettings(port=0).port == 0
