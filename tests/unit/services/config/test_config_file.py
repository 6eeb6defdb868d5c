"""What people write in a settings file, and what comes of it."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from commands.demo.layout import FederationSpec, Layout, WorkerSpec
from common.errors import ConfigError
from services.config.config_file import placed
from services.config.names import check_name
from services.config.settings import load_coordinator, load_operator, load_run, load_worker
from services.trust.authority import Holder, init_federation
from services.trust.identity import MemberList, Role
from services.trust.pins import PINS, pin_workers, read_pins
from tests.unit.services.config.test_settings import COORDINATOR, OPERATOR, WORKER

ODD_NAMES = ("001", "no", "null", "1e3", "true", "on", "2024-01-01", "0x1f", "y", "1-2", "0")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("settings")
    for name in ("ca.pem", "me.pem", "me.key", "genesis.json", "members.yaml"):
        (made / name).touch()
    return made


def loaded(folder: Path, text: str, load: Callable[..., Any] = load_run, **environ: str) -> Any:
    path = folder / "a.yaml"
    path.write_text(text)
    return load(path, environ)


def refused(folder: Path, text: str, load: Callable[..., Any] = load_run, **environ: str) -> str:
    with pytest.raises(ConfigError) as caught:
        loaded(folder, text, load, **environ)
    return str(caught.value).replace(f"{folder}/", "")


def worker(**changes: str) -> str:
    lines = yaml.safe_dump({k: v for k, v in WORKER.items() if k not in changes})
    return lines + "".join(f"{key}: {value}\n" for key, value in changes.items())


# Names stay text


@pytest.mark.parametrize("name", ODD_NAMES)
def test_a_name_is_the_text_that_stands_there(folder: Path, name: str) -> None:
    assert loaded(folder, worker(name=name), load_worker).name == name
    assert loaded(folder, f"name: {name}\nstop: {{versions: 1}}").name == name
    found = loaded(folder, f"name: a\nsettings: {{{name}: 1}}\nstop: {{versions: 1}}")
    assert found.settings == {name: 1}
    variable = loaded(folder, worker(name="a"), load_worker, CROSSCLOUD_WORKER__NAME=name)
    assert variable.name == name
    path = loaded(folder, worker(state_dir=name), load_worker).state_dir
    assert path == folder / name


def test_an_empty_value_is_missing_and_null_is_none_only_where_that_may_be(folder: Path) -> None:
    for field in ("name", "state_dir", "genesis", "data", "tls", "num_threads"):
        message = refused(folder, worker(**{field: ""}), load_worker)
        assert re.match(rf"a\.yaml:\d+: {field}: nothing stands there; write a value", message)
    assert "state_dir: '': nothing stands there" in refused(
        folder, worker(state_dir='""'), load_worker
    )
    variable = {"CROSSCLOUD_WORKER__STATE_DIR": ""}
    assert "nothing stands there" in refused(folder, worker(), load_worker, **variable)
    none = "{max_clip: null, pins: ~, operators: }"
    assert loaded(folder, worker(trust=none), load_worker).trust.pins is None
    message = refused(folder, worker(name="a"), load_worker, CROSSCLOUD_WORKER__NAME="")
    assert "CROSSCLOUD_WORKER__NAME (name): '': name '': use 1 to 63" in message


@pytest.mark.parametrize("odd", ODD_NAMES)
def test_a_federation_of_odd_names_survives_its_own_files(tmp_path: Path, odd: str) -> None:
    coordinator = Holder(Role.COORDINATOR, "c", "local", ("localhost",))
    holders = [coordinator, Holder(Role.WORKER, odd, odd), Holder(Role.WORKER, "aws", odd)]
    init_federation(tmp_path, odd, holders)
    members = MemberList(tmp_path / "members.yaml", odd).members
    assert {(i.name, i.organisation) for i in members.values()} == {
        ("c", "local"),
        (odd, odd),
        ("aws", odd),
    }
    assert init_federation(tmp_path, odd, holders) == ()
    more = init_federation(tmp_path, odd, [*holders, Holder(Role.WORKER, "later", "x")])
    assert tmp_path / "members.yaml" in more
    assert len(MemberList(tmp_path / "members.yaml", odd).members) == 4
    assert len(yaml.safe_load((tmp_path / "members.yaml").read_text())["members"]) == 4

    pin_workers(tmp_path / PINS, [tmp_path / f"{odd}.pem", tmp_path / "aws.pem"])
    pins = read_pins(tmp_path / PINS)
    assert {name: organisation for name, (organisation, _) in pins.items()} == {
        odd: odd,
        "aws": odd,
    }


@pytest.mark.parametrize("odd", ["001", "no", "1e3"])
def test_a_local_federation_of_odd_names_is_read_as_it_was_told(tmp_path: Path, odd: str) -> None:
    run = {
        "settings": {"model": "1e-6", "x": 1e-06, "y": odd},
        "algorithm": {"tier": "tls", "schedule": {"peak": 1e-06}},
        "stop": {"versions": 1},
    }
    texts = {"a.txt": "a"}
    spec = FederationSpec(tmp_path / odd, odd, (WorkerSpec(odd, texts),), texts, run)
    layout = Layout(spec)
    layout.write()
    found = load_run(layout.config("run"), {})
    assert (found.name, found.settings) == (odd, run["settings"])
    assert found.algorithm.schedule.peak == 1e-6
    layout.genesis.parent.mkdir()
    layout.genesis.touch()
    assert load_worker(layout.config(odd), {}).name == odd


def test_a_list_that_people_wrote_is_added_to_or_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "members.yaml"
    holders = [
        Holder(Role.COORDINATOR, "c", "local", ("localhost",)),
        Holder(Role.WORKER, "a", "x"),
    ]
    entry = "{name: 001, role: worker, organisation: no}"
    for text in (
        f"# ours\n---\nmembers:\n- {entry}\n",
        f"members:   # a list\n    # first\n    -   {entry}",
        "members:\n  - name: 001\n    role: worker\n    organisation: no\n",
        "members:\n",
        f"\ufeffmembers:\r\n  - {entry}\r\n",
    ):
        path.write_text(text)
        for old in tmp_path.glob("*.[pk]e[my]"):
            old.unlink()
        init_federation(tmp_path, "demo", holders)
        assert {"c", "a"} <= MemberList(path, "demo").members.keys(), text
        assert ("001" in text) == ("001" in MemberList(path, "demo").members), text
    for text in (f"members: [{entry}]\n", "members: [\n", f"members:\n  - {entry}\nmembers:\n"):
        path.write_text(text)
        for old in tmp_path.glob("*.[pk]e[my]"):
            old.unlink()
        with pytest.raises(ConfigError, match=r"members\.yaml"):
            init_federation(tmp_path, "demo", holders)
        assert path.read_text() == text


NAMES = st.from_regex(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?", fullmatch=True)


@given(NAMES)
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_whatever_may_be_a_name_is_one_in_every_file(folder: Path, name: str) -> None:
    check_name(name, "name")
    found = loaded(folder, f"name: {name}\nstop: {{versions: 1}}")
    assert found.name == name


# Numbers as people write them


@pytest.mark.parametrize("text", ["1e-6", "1.0e-6", "1E-6", "0.000_001", ".000001", "'1e-6'"])
def test_a_small_number_is_one_wherever_a_number_stands(folder: Path, text: str) -> None:
    found = loaded(
        folder,
        f"name: a\nsettings: {{model: {{rms_norm_eps: {text.strip(chr(39))}}}}}\n"
        f"algorithm: {{schedule: {{peak: {text}}}}}\nstop: {{versions: 1, loss: {text}}}\n",
        CROSSCLOUD_RUN__SETTINGS__CLIP=text.strip("'"),
    )
    assert found.settings == {"model": {"rms_norm_eps": 1e-6}, "clip": 1e-6}
    assert (found.algorithm.schedule.peak, found.stop.loss) == (1e-6, 1e-6)


def test_whole_numbers_too(folder: Path) -> None:
    found = loaded(folder, "name: a\nseed: 1_000\nstop: {versions: 2e1, tokens: 1e9}\n")
    assert (found.seed, found.stop.versions, found.stop.tokens) == (1000, 20, 10**9)
    found = loaded(folder, "name: a\nseed: 0x10\nstop: {versions: 0o10}")
    assert (found.seed, found.stop.versions) == (16, 8)


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("stop: {versions: 1.5}", "a.yaml:2: stop.versions: 1.5: input should be a valid integer"),
        ("stop: {versions: true}", "a.yaml:2: stop.versions: true: input should be"),
        ("stop: {hours: yes}", "a.yaml:2: stop.hours: 'yes': input should be"),
        ("stop: {hours: true}", "a.yaml:2: stop.hours: true: input should be"),
        ("stop: {versions: 1:30}", "a.yaml:2: stop.versions: '1:30'"),
        ("stop: {versions: 2024-01-01}", "stop.versions: '2024-01-01'"),
        ("stop: {loss: .nan}", "a.yaml:2: stop.loss: .nan: input should be a finite number"),
        ("stop: {loss: 1e999}", "a.yaml:2: not YAML: the number is too large"),
        ("stop:\n\n  hours: 1,5", "a.yaml:4: stop.hours: '1,5'"),
        ("stop: {versions: 1}\nsettings: {x: .inf}", "a.yaml:3: settings: cannot be pinned"),
    ],
)
def test_what_is_no_number_is_refused_where_it_stands(
    folder: Path, text: str, sentence: str
) -> None:
    assert sentence in refused(folder, f"name: a\n{text}\n")


def test_words_for_yes_and_no_are_such_where_one_is_wanted(folder: Path) -> None:
    for text, value in (("no", False), ("off", False), ("yes", True), ("true", True)):
        found = loaded(folder, f"name: a\nalgorithm: {{clipping: {text}}}\nstop: {{versions: 1}}")
        assert found.algorithm.clipping is value


# File and line


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("a: 1\nname: b", "a.yaml:1: a: unknown key"),
        ("name: b\n\nalgorithm:\n  codec:\n    bitz: 3", "a.yaml:5: algorithm.codec.bitz: unknown"),
        ("name: b\nstop: {}\nalgorithm:\n  policy: asink", "a.yaml:4: algorithm.policy: 'asink'"),
        ("name: b\nalgorithm: {tier: he}\nstop: {versions: 1}", "a.yaml:2: algorithm.tier: 'he'"),
        ("name: b\nstop: {}", "a.yaml:2: stop: a run has to end"),
        ("name: b\nstop: {versions: 1}\nalgorithm: {}\nstop: {versions: 2}", "lines 2 and 4"),
        ("name: b\nstop: {versions: 1}\nalgorithm: {quorum: 1, 'quorum': 2}", "a.yaml:3: not YAML"),
    ],
)
def test_every_complaint_says_the_line(folder: Path, text: str, sentence: str) -> None:
    assert sentence in refused(folder, text)


def test_a_complaint_of_later_names_the_line_too(folder: Path) -> None:
    path = folder / "a.yaml"
    path.write_text("name: a\nsettings:\n  clip: 0\nstop: {versions: 1}\n")
    for said, line in (
        ("settings.clip: 0: no", "3"),
        ("settings.no.such: x", "2"),
        ("name: x", "1"),
    ):
        with pytest.raises(ConfigError, match=re.escape(f"a.yaml:{line}: {said}")), placed(path):
            raise ConfigError(said)
    for said in ("elsewhere: x", "no place at all", f"{path}:1: name: x"):
        with pytest.raises(ConfigError, match=f"^{re.escape(said)}$"), placed(folder, path):
            raise ConfigError(said)


# Hosts


@pytest.mark.parametrize("host", ["::", "[::]", "::1", "[::1]", "0.0.0.0", "localhost"])
def test_both_forms_of_a_host_are_one_in_files_and_in_the_environment(
    folder: Path, host: str
) -> None:
    bare = host.strip("[]")
    text = yaml.safe_dump({**COORDINATOR, "host": host, "metrics": {"host": host}})
    variables = {
        "CROSSCLOUD_COORDINATOR__HOST": host,
        "CROSSCLOUD_COORDINATOR__METRICS__HOST": host,
    }
    for found in (
        loaded(folder, text, load_coordinator),
        loaded(folder, yaml.safe_dump(COORDINATOR), load_coordinator, **variables),
    ):
        assert (found.host, found.metrics.host) == (bare, bare)
    address = f"[{bare}]:7443" if ":" in bare else f"{bare}:7443"
    text = yaml.safe_dump({**OPERATOR, "coordinator": address})
    assert loaded(folder, text, load_operator).coordinator == address
    variable = {"CROSSCLOUD_OPERATOR__COORDINATOR": address}
    found = loaded(folder, yaml.safe_dump(OPERATOR), load_operator, **variable)
    assert found.coordinator == address


def test_an_address_without_quotes_says_to_put_it_in_some(folder: Path) -> None:
    for text in ("host: ::", "host: [::]", "host: [::1]"):
        message = refused(folder, f"{yaml.safe_dump(COORDINATOR)}{text}\n", load_coordinator)
        assert 'in quotes, such as "::"' in message


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"host": "[::]:7443"}, "host: '[::]:7443': expected a host's name or address without a p"),
        ({"control_port": 7444}, "control_port and bulk_port are both 7444"),
        ({"metrics": {"port": 7443}}, "control_port and metrics.port are both 7443"),
        ({"metrics": {"port": 7444}}, "bulk_port and metrics.port are both 7444"),
        ({"redis_url": "redis://:S3cret/Pass@h:1/0"}, "redis_url: ***: cannot be taken apart"),
        ({"redis_url": "redis://:S3cret@h:x"}, "redis_url: ***"),
        ({"redis_url": ["S3cret"]}, "redis_url: ***"),
        ({"redis_urll": "redis://:S3cret@h"}, "did you mean 'redis_url'"),
        ({"host": "redis://:S3cret@h"}, "host: 'redis://***@h': expected a host"),
        ({"drain_s": "redis://:S3cret@h"}, "drain_s: 'redis://***@h'"),
        ({"limits": "redis://:S3cret/a@h"}, "limits: 'redis://***@h'"),
        ({"allowed_tiers": {"redis://:S3cret@h": 1}}, "allowed_tiers"),
        ({"genesis": "https://me:S3cret@h/genesis.json"}, "genesis: "),
    ],
)
def test_what_a_coordinator_cannot_use_is_refused_and_no_secret_told(
    folder: Path, changes: dict[str, Any], sentence: str
) -> None:
    text = yaml.safe_dump({**COORDINATOR, **changes})
    message = refused(folder, text, load_coordinator)
    assert sentence in message
    assert "S3cret" not in message


@pytest.mark.parametrize(
    "value", ["redis://:S3cret/Pass@h:1/0", "S3cret", "[S3cret", "{a: S3cret", "'S3cret", " "]
)
def test_no_variable_is_told_that_holds_a_secret(folder: Path, value: str) -> None:
    variable = {"CROSSCLOUD_COORDINATOR__REDIS_URL": value}
    message = refused(folder, yaml.safe_dump(COORDINATOR), load_coordinator, **variable)
    assert "CROSSCLOUD_COORDINATOR__REDIS_URL" in message
    assert "S3cret" not in message


def test_control_and_bulk_are_two_ports(folder: Path) -> None:
    text = worker(coordinator="{control: 'h:7443', bulk: 'h:7443'}")
    assert "coordinator: control and bulk are both h:7443" in refused(folder, text, load_worker)


# Variables that set nothing


@pytest.mark.parametrize(
    ("variable", "said"),
    [
        ("CROSSCLOUD_WORKER_DEVICE", "write CROSSCLOUD_WORKER__DEVICE"),
        ("CROSSCLOUD_WORKER_TLS_KEY", "write CROSSCLOUD_WORKER__TLS__KEY"),
        ("CROSSCLOUD_WORKER_TRUST_MIN_COHORT", "write CROSSCLOUD_WORKER__TRUST__MIN_COHORT"),
        ("CROSSCLOUD_WORKER_TLS", "write CROSSCLOUD_WORKER__TLS"),
        ("CROSSCLOUD_WORKER_TSL_KEY", "write CROSSCLOUD_WORKER__TLS__KEY"),
        ("CROSSCLOUD_WORKER_TLS_X", "write CROSSCLOUD_WORKER__TLS__..."),
        ("CROSSCLOUD_WORKER_DEVISE", "write CROSSCLOUD_WORKER__DEVICE"),
        ("CROSSCLOUD_WORKER_DATA_TRAIN", "write CROSSCLOUD_WORKER__DATA__TRAIN"),
        ("crosscloud_worker_data_train", "write CROSSCLOUD_WORKER__DATA__TRAIN"),
        ("CROSSCLOUD_WORKER_METRICS_PORT", "write CROSSCLOUD_WORKER__METRICS__PORT"),
        ("crosscloud_worker_device", "write CROSSCLOUD_WORKER__DEVICE"),
        ("crosscloud_worker__device", "write CROSSCLOUD_WORKER__DEVICE"),
        ("Crosscloud_Coordinator__Host", "write CROSSCLOUD_COORDINATOR__HOST"),
        ("CROSSCLOUD_WORKER__Device", "write CROSSCLOUD_WORKER__DEVICE"),
        ("CROSSCLOUD_WORKER____DEVICE", "write CROSSCLOUD_WORKER__DEVICE"),
        ("CROSSCLOUD_WORKER__TLS___KEY", "write CROSSCLOUD_WORKER__TLS__KEY"),
        ("CROSSCLOUD_WORKERS__DEVICE", "variables are CROSSCLOUD_RUN__"),
        ("CROSSCLOUD__WORKER__DEVICE", "variables are CROSSCLOUD_RUN__"),
    ],
)
def test_a_variable_that_would_set_nothing_is_refused(
    folder: Path, variable: str, said: str
) -> None:
    found = refused(folder, worker(), load_worker, **{variable: "cuda"})
    assert found.startswith(f"{variable}: sets nothing; ")
    assert said in found


def test_so_is_one_of_a_run_s_free_settings(folder: Path) -> None:
    text = "name: a\nstop: {versions: 1}"
    with pytest.raises(ConfigError, match="write CROSSCLOUD_RUN__SETTINGS__BATCH"):
        loaded(folder, text, CROSSCLOUD_RUN_SETTINGS_BATCH="8")


def test_the_store_s_url_in_a_variable_that_would_set_nothing_is_not_shown(folder: Path) -> None:
    url = {"CROSSCLOUD_COORDINATOR_REDIS_URL": "redis://:hidden@host:6379/0"}
    found = refused(folder, yaml.safe_dump(COORDINATOR), load_coordinator, **url)
    assert "write CROSSCLOUD_COORDINATOR__REDIS_URL" in found
    assert "hidden" not in found


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("CROSSCLOUD_COORDINATOR__DRAIN_S", "7"),  # of another process
        ("CROSSCLOUD_WORKER_SERVICE_HOST", "10.0.0.7"),  # those that Kubernetes makes up
        ("CROSSCLOUD_WORKER_PORT_7446_TCP_PORT", "7446"),
        ("CROSSCLOUD_WORKER_METRICS_PORT", "tcp://10.0.0.7:7446"),
        ("CROSSCLOUD_WORKER_METRICS_SERVICE_HOST", "10.0.0.7"),
        ("CROSSCLOUD_WORKER_METRICS_SERVICE_PORT", "7446"),
        ("CROSSCLOUD_WORKER_METRICS_SERVICE_PORT_HTTP", "7446"),
        ("CROSSCLOUD_WORKER_METRICS_PORT_7446_TCP", "tcp://10.0.0.7:7446"),
        ("CROSSCLOUD_WORKER_METRICS_PORT_7446_TCP_PROTO", "tcp"),
        ("CROSSCLOUD_WORKER_METRICS_PORT_7446_TCP_PORT", "7446"),
        ("CROSSCLOUD_WORKER_METRICS_PORT_7446_TCP_ADDR", "10.0.0.7"),
        ("CROSSCLOUD_VERSION", "1"),
        ("CROSSCLOUD_WORKER_IMAGE", "worker:1"),
    ],
)
def test_a_variable_that_others_set_passes(folder: Path, variable: str, value: str) -> None:
    assert loaded(folder, worker(), load_worker, **{variable: value}).device == "cpu"
