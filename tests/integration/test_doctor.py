"""`crosscloud doctor` of every role, beside a real coordinator, and against what can be wrong.

It is long because each finding that needs a real coordinator is tried here.
"""

import datetime
import json
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa

from commands.demo.layout import COORDINATOR, EVALUATOR, OPERATOR
from common import canonical
from services.config import state_owner
from services.config.settings import load_worker
from services.trust.authority import authority_in, certificate_for, private_pem
from services.trust.identity import Identity, Role
from services.worker.state import SAVED, Manifest, StateFolder
from tests.integration.conftest import AFAR, ROOT, LoneCoordinator, Make, lay_out
from tests.rig.links.connect_proxy import ConnectProxy
from worker.rounds.position import genesis_position


def crosscloud(
    command: str, config: Path, *more: str, **environ: str
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "crosscloud", command, *more, "--config", str(config)],
        capture_output=True,
        text=True,
        env={"PYTHONPATH": str(ROOT), "PATH": "/usr/bin:/bin", **environ},
        timeout=60,
    )


def doctor(config: Path, **environ: str) -> tuple[int, dict[str, dict[str, Any]]]:
    done = crosscloud("doctor", config, "--json", **environ)
    answer = json.loads(done.stdout or done.stderr)
    return done.returncode, {c["check"]: c for c in answer["checks"]}


STEPS = ("name", "tcp", "tls", "grpc")
WAY = {f"{port} {step}" for port in ("control", "bulk") for step in STEPS} | {"clock"}
LEARNING = {"learner", "data", "step", "ports"}
DISK = {"disk owner", "disk room", "disk fsync", "disk links"}


@pytest.mark.parametrize(
    ("name", "checks"),
    [
        (COORDINATOR, {"members", "redis", "ports", *DISK}),
        ("aws", {*LEARNING, *WAY, *DISK, "disk save", "trust"}),
        (EVALUATOR, {*LEARNING, *WAY, *DISK} - {"disk links"}),
        (OPERATOR, {w for w in WAY if not w.startswith("bulk")}),
    ],
)
def test_a_sound_federation_is_found_sound(
    coordinator: LoneCoordinator, name: str, checks: set[str]
) -> None:
    status, found = doctor(coordinator.layout.config(name))
    assert [c for c in found.values() if not c["ok"]] == []
    assert found.keys() == {"configuration", "certificate", *checks}
    assert status == 0
    role = name if name in (COORDINATOR, EVALUATOR, OPERATOR) else "worker"
    one = f"an {role}" if role in (EVALUATOR, OPERATOR) else f"a {role}"
    assert f"is a good file for {one} of run" in found["configuration"]["sentence"]
    if role == COORDINATOR:
        assert found["certificate"]["sentence"].startswith("coordinator of local, good for ")


OWN_LEARNERS = """
import os, signal
from examples.own_learner import TwoByteModel

class Fails(TwoByteModel):
    def train(self, lr):
        raise IndexError("too short")

class Killed(TwoByteModel):
    def train(self, lr):
        os.kill(os.getpid(), signal.SIGKILL)

build, killed = Fails, Killed
"""


def test_what_a_process_reads_and_takes_is_said(coordinator: LoneCoordinator) -> None:
    _, worker = doctor(coordinator.layout.config("aws"))
    assert "data.train: 1 file, 1 document, 8,401 tokens" in worker["data"]["sentence"]
    assert "a full batch: 496 tokens at " in worker["step"]["sentence"]
    assert "of memory, loss 5." in worker["step"]["sentence"]
    _, evaluator = doctor(coordinator.layout.config(EVALUATOR))
    assert "data.validation: 1 file" in evaluator["data"]["sentence"]
    assert "the validation shard: " in evaluator["step"]["sentence"]


def refusal(config: Path, check: str, **environ: str) -> str:
    status, found = doctor(config, **environ)
    assert status == 1
    assert not found[check]["ok"]
    return str(found[check]["sentence"])


def test_each_thing_that_is_wrong_is_named_with_its_fix(
    coordinator: LoneCoordinator, tmp_path: Path
) -> None:
    config = coordinator.layout.config("aws")
    path = f"{ROOT}:{tmp_path}"

    def refused(check: str, **environ: str) -> str:
        return refusal(config, check, **environ)

    certs = coordinator.folder / "certs"
    key = "CROSSCLOUD_WORKER__TLS__KEY"
    assert "is not the key of" in refused("certificate", **{key: str(certs / "gcp.key")})
    control = "CROSSCLOUD_WORKER__COORDINATOR__CONTROL"
    assert "DNS" in refused("control name", **{control: "no-such-host.invalid:7443"})
    assert "check address" in refused("control tcp", **{control: "127.0.0.1:1"})
    metrics = f"127.0.0.1:{coordinator.layout.metrics_ports[COORDINATOR]}"
    assert "end TLS" in refused("control tls", **{control: metrics})
    learner = "CROSSCLOUD_WORKER__LEARNER"
    assert "cannot be imported" in refused("learner", **{learner: "no_such_package:build"})
    (tmp_path / "fails.py").write_text("def build(context):\n    raise KeyError('width')\n")
    sentence = refused("learner", **{learner: "fails:build", "PYTHONPATH": path})
    assert "KeyError: 'width'" in sentence
    assert "fails.py, line 2" in sentence
    (tmp_path / "steps.py").write_text(OWN_LEARNERS)
    assert "IndexError: too short" in refused(
        "step", **{learner: "steps:build", "PYTHONPATH": path}
    )
    assert "SIGKILL" in refused("step", **{learner: "steps:killed", "PYTHONPATH": path})
    data = "CROSSCLOUD_WORKER__DATA"
    absent = refused("learner", **{data: "{train: [absent]}"})
    assert f"data.train: 'absent' names no file to read in {Path.cwd()}; give" in absent
    port = "CROSSCLOUD_WORKER__METRICS__PORT"
    assert "metrics.port: cannot listen" in refused("ports", **{port: metrics.rpartition(":")[2]})
    state = "CROSSCLOUD_WORKER__STATE_DIR"
    (tmp_path / "file").write_text("")
    assert "writable" in refused("disk fsync", **{state: str(tmp_path / "file" / "state")})
    assert "unknown" in refused("configuration", CROSSCLOUD_WORKER__COLOUR="blue").lower()


@pytest.mark.long("tests/integration/test_proxies.py has the sentences, the next tests a proxy")
def test_each_proxy_that_is_wrong_is_named_with_its_fix(coordinator: LoneCoordinator) -> None:
    config = coordinator.layout.config("aws")
    metrics = f"127.0.0.1:{coordinator.layout.metrics_ports[COORDINATOR]}"
    control = "CROSSCLOUD_WORKER__COORDINATOR__CONTROL"

    def refused(check: str, **environ: str) -> str:
        return refusal(config, check, **environ)

    afar = {control: f"{AFAR}:7443"}
    vain = refused("control name", https_proxy="proxy:3128", **afar)
    assert "https_proxy is not http://HOST:PORT, so gRPC does not use it" in vain
    upper = refused("control name", HTTPS_PROXY="http://proxy:3128", **afar)
    assert "gRPC does not read HTTPS_PROXY: set https_proxy" in upper
    dead = refused("control tcp", https_proxy="http://127.0.0.1:1", **afar)
    assert "nobody answers at the proxy 127.0.0.1:1 (https_proxy)" in dead
    assert "refuses CONNECT" in refused("control tcp", https_proxy=f"http://{metrics}", **afar)
    nameless = refused("control name", http_proxy="http://proxy.invalid:1", **afar)
    assert "correct http_proxy, which names 'proxy.invalid'" in nameless


def test_the_way_leads_through_the_proxy_that_is_configured(
    coordinator: LoneCoordinator,
) -> None:
    layout = coordinator.layout
    ports = {"control": layout.control, "bulk": layout.bulk}
    afar = {port: address.replace("127.0.0.1", AFAR) for port, address in ports.items()}
    environ = {f"CROSSCLOUD_WORKER__COORDINATOR__{p.upper()}": a for p, a in afar.items()}
    with ConnectProxy({AFAR: "127.0.0.1"}) as proxy:
        status, found = doctor(layout.config("aws"), https_proxy=proxy.url, **environ)
        assert [c for c in found.values() if not c["ok"]] == []
        assert "by the proxy" in found["control tcp"]["sentence"]
        # name, TCP and TLS walk alone; then gRPC itself
        grpc = [afar["control"], afar["bulk"]]
        assert proxy.asked == [*[afar["control"]] * 2, *[afar["bulk"]] * 2, *grpc]
    assert status == 0


BY_RULES = pytest.mark.long("test_proxies.py compares forms of no_proxy with gRPC's rules")
ONE_URL = pytest.mark.long("refused in the same line as the first URL")


@pytest.mark.parametrize(
    "environ",
    [
        {"http_proxy": "http://127.0.0.1:9"},
        pytest.param(
            {"http_proxy": "http://127.0.0.1:9", "no_proxy": "127.0.0.0/8"}, marks=BY_RULES
        ),
        {"https_proxy": "http://proxy.invalid:3128", "no_proxy": ""},
    ],
    ids=str,
)
def test_loopback_is_walked_directly_whatever_the_environment_says(
    coordinator: LoneCoordinator, environ: dict[str, str]
) -> None:
    status, found = doctor(coordinator.layout.config("aws"), **environ)
    assert [c for c in found.values() if not c["ok"]] == []
    assert status == 0


def test_a_proxy_that_refuses_is_named_by_doctor_and_by_the_worker(
    coordinator: LoneCoordinator,
) -> None:
    layout = coordinator.layout
    control = layout.control.replace("127.0.0.1", AFAR)
    with ConnectProxy(refusal="403 Forbidden") as proxy:
        variable = "CROSSCLOUD_WORKER__COORDINATOR__CONTROL"
        environ = {"https_proxy": proxy.url, variable: control}
        _, found = doctor(layout.config("aws"), **environ)
        assert not found["control tcp"]["ok"]
        sentence = found["control tcp"]["sentence"]
        assert f"the proxy {proxy.address} (https_proxy) refuses CONNECT {control}" in sentence
        worker = coordinator.command("worker", "--config", layout.config("aws"), environ=environ)
        try:
            refused = f"the proxy {proxy.address} (https_proxy) refuses to lead to {control}"
            deadline_s = time.monotonic() + 60
            while refused not in worker.log_path.read_text():
                assert worker.exit_code is None, worker.last_lines()
                assert time.monotonic() < deadline_s, worker.last_lines()
                time.sleep(0.05)
        finally:
            worker.kill()


def test_redis_that_is_not_there_is_named(coordinator: LoneCoordinator) -> None:
    config = coordinator.layout.config(COORDINATOR)
    url = "redis://:top-secret@127.0.0.1:1/0"
    status, found = doctor(config, CROSSCLOUD_COORDINATOR__REDIS_URL=url)
    assert status == 1
    assert "start it, correct the URL" in found["redis"]["sentence"]
    assert "top-secret" not in json.dumps(found)


def test_doctor_and_the_start_refuse_organisations_that_could_never_make_a_cohort(
    make_coordinator: Make,
) -> None:
    made = make_coordinator(start=False, algorithm={"tier": "masked", "min_cohort": 3})
    members = made.folder / "certs" / "members.yaml"
    text = members.read_text()
    for name in ("azure", "onprem"):
        text = text.replace(f"organisation: {name}", "organisation: aws")
    members.write_text(text)
    _, found = doctor(made.layout.config(COORDINATOR))
    assert not found["members"]["ok"]
    sentence = found["members"]["sentence"]
    assert "the 4 on the member list are of 2: no round could ever open" in sentence
    made.start(wait=False)
    assert made.process is not None
    assert made.process.wait(60)
    assert made.process.exit_code == 2
    assert sentence in made.process.last_lines()


def test_doctor_counts_the_organisations_that_a_worker_pinned(make_coordinator: Make) -> None:
    made = make_coordinator(start=False, algorithm={"tier": "masked", "min_cohort": 3})
    config = made.layout.config("aws")
    assert "4 workers of 4 organisations" in doctor(config)[1]["pins"]["sentence"]
    pins = made.folder / "certs" / "pins.yaml"
    text = pins.read_text()
    for name in ("azure", "onprem"):
        text = text.replace(f"organisation: {name}", "organisation: aws")
    pins.write_text(text)
    found = doctor(config)[1]["pins"]
    assert not found["ok"]
    assert "4 workers of 2 organisations, and no sum of fewer than 3" in found["sentence"]


@pytest.mark.parametrize(
    ("variable", "value", "sentence"),
    [
        ("TIER", "masked", "tier is tls, this worker's own file (trust.tier) asks for masked"),
        ("MAX_SHARE", "0.2", "this worker's own file (trust.max_share) asks for 0.2"),
    ],
)
def test_doctor_refuses_a_run_that_the_worker_would(
    make_coordinator: Make, variable: str, value: str, sentence: str
) -> None:
    config = make_coordinator(start=False).layout.config("aws")
    environ = {f"CROSSCLOUD_WORKER__TRUST__{variable}": value}
    found = doctor(config, **environ)[1]["trust"]
    assert not found["ok"]
    assert sentence in found["sentence"]
    refused = crosscloud("worker", config, **environ)
    assert (refused.returncode, sentence in refused.stderr) == (2, True)


def test_ports_that_are_exchanged_are_called_by_their_names(coordinator: LoneCoordinator) -> None:
    layout = coordinator.layout
    control = "CROSSCLOUD_WORKER__COORDINATOR__CONTROL"
    bulk = "CROSSCLOUD_WORKER__COORDINATOR__BULK"
    exchanged = {control: layout.bulk, bulk: layout.control}
    status, found = doctor(layout.config("aws"), **exchanged)
    assert status == 1
    assert f"{layout.bulk} is a coordinator's bulk port" in found["control grpc"]["sentence"]
    assert f"{layout.control} is a coordinator's control port" in found["bulk grpc"]["sentence"]
    operator = {"CROSSCLOUD_OPERATOR__COORDINATOR": layout.bulk}
    status, found = doctor(layout.config(OPERATOR), **operator)
    assert "is a coordinator's bulk port" in found["control grpc"]["sentence"]
    done = crosscloud("status", layout.config(OPERATOR), **operator)
    assert done.returncode == 2
    assert "control and bulk are exchanged" in done.stderr
    evaluator = {"CROSSCLOUD_EVALUATOR__COORDINATOR__BULK": layout.control}
    status, found = doctor(layout.config(EVALUATOR), **evaluator)
    assert "control and bulk are both" in found["configuration"]["sentence"]


@pytest.mark.parametrize(
    "kind", ["RSA", pytest.param("P-384", marks=pytest.mark.long("RSA is refused so, too"))]
)
def test_a_key_that_cannot_sign_is_refused_where_something_is_signed(
    tmp_path: Path, kind: str
) -> None:
    made = lay_out(tmp_path / "run", algorithm={"tier": "masked", "min_cohort": 3})
    certs = made.folder / "certs"
    authority = authority_in(certs, "test", datetime.datetime.now(datetime.UTC))
    assert authority is not None
    since = authority.certificate.not_valid_before_utc
    until = since + datetime.timedelta(days=6)
    names = {Role.WORKER: "aws", Role.OPERATOR: OPERATOR, Role.EVALUATOR: EVALUATOR}
    for role, name in names.items():
        key: Any = (
            rsa.generate_private_key(65537, 2048)
            if kind == "RSA"
            else ec.generate_private_key(ec.SECP384R1())
        )
        organisation = "local" if role is Role.OPERATOR else name
        identity = Identity("test", role, organisation, name)
        pem = certificate_for(authority, identity, (), key.public_key(), since, until)
        (certs / f"{name}.pem").write_bytes(pem)
        (certs / f"{name}.key").write_bytes(private_pem(key))
        status, found = doctor(made.layout.config(name))
        assert status == 1
        assert "identities are P-256 or Ed25519 keys" in found["certificate"]["sentence"]
        assert f"{name}.key" in found["certificate"]["sentence"]


@pytest.mark.parametrize(
    "name",
    [
        COORDINATOR,
        "aws",
        pytest.param(EVALUATOR, marks=pytest.mark.long("its folder is a worker's")),
    ],
)
def test_a_folder_of_another_run_of_the_same_name_is_named_with_its_fix(
    coordinator: LoneCoordinator, tmp_path: Path, name: str
) -> None:
    other = lay_out(tmp_path / "run", settings={"width": 16})
    state = coordinator.layout.state(name)
    setting = "data_dir" if name == COORDINATOR else "state_dir"
    state.mkdir(exist_ok=True)
    (state / state_owner.RUN).write_text(f"{canonical.digest(coordinator.genesis)}\n")
    other.edit(name, **{setting: str(state)})
    status, found = doctor(other.layout.config(name))
    assert status == 1
    assert f"{setting}: {state} is of another run" in found["disk owner"]["sentence"]
    command = name if name in (COORDINATOR, EVALUATOR) else "worker"
    done = crosscloud(command, other.layout.config(name))
    assert done.returncode == 2
    assert f"{other.layout.config(name)}:" in done.stderr
    assert f"{setting}: {state} is of another run" in done.stderr
    assert "give this run a folder of its own" in done.stderr


def test_a_folder_kept_for_another_worker_and_one_that_a_process_runs_on_are_told(
    tmp_path: Path,
) -> None:
    made = lay_out(tmp_path / "run", names=("aws", "gcp"))
    aws, gcp = (load_worker(made.layout.config(name)) for name in ("aws", "gcp"))
    with state_owner.held(state_owner.claim_of(aws, made.genesis)):
        _, found = doctor(made.layout.config("aws"))
        assert found["disk owner"]["ok"]
        assert "worker aws of run test, process " in found["disk owner"]["sentence"]
        made.edit("gcp", state_dir=str(aws.state_dir))
        _, found = doctor(made.layout.config("gcp"))
        assert not found["disk owner"]["ok"]
        assert "is kept for worker aws" in found["disk owner"]["sentence"]
    _, found = doctor(made.layout.config("aws"))
    assert "process" not in found["disk owner"]["sentence"]
    made.edit("gcp", state_dir=str(gcp.state_dir))


def test_a_save_that_is_gone_is_told_before_a_start(tmp_path: Path) -> None:
    made = lay_out(tmp_path / "run")
    config = made.layout.config("aws")
    root = load_worker(config).state_dir
    state = StateFolder(root)
    folder = state.new_save()
    for file in SAVED:
        (folder / file).touch()
    state.commit_save(Manifest(folder.name, genesis_position(made.genesis)), None)
    _, found = doctor(config)
    assert found["disk save"]["ok"], found["disk save"]
    shutil.rmtree(folder)
    status, found = doctor(config)
    assert status == 1
    assert f"move {root} away" in found["disk save"]["sentence"]


@pytest.mark.parametrize(
    "url",
    [
        "redis://:S3cret/Pass@127.0.0.1:1/0",
        pytest.param("redis://:S3cret#@h:1", marks=ONE_URL),
        pytest.param("redis://:S3cret@h:p/0", marks=ONE_URL),
    ],
)
def test_no_command_tells_the_password_of_a_faulty_url(
    coordinator: LoneCoordinator, url: str
) -> None:
    config = coordinator.layout.config(COORDINATOR)
    variable = {"CROSSCLOUD_COORDINATOR__REDIS_URL": url}
    status, found = doctor(config, **variable)
    assert status == 1
    assert "S3cret" not in json.dumps(found)
    assert "percent-encode / as %2F" in found["configuration"]["sentence"]
    for command in (COORDINATOR, "probe"):
        done = crosscloud(command, config, **variable)
        assert done.returncode in (1, 2)
        assert "percent-encode / as %2F" in done.stderr
        assert "S3cret" not in done.stdout + done.stderr


@pytest.mark.parametrize(
    ("url", "check", "sentence", "ends"),
    [
        ("http://me:S3cret/Pass@127.0.0.1:1", "control proxy", "https_proxy: not a proxy's URL", 2),
        ("http://me:S3cret#@h:1", "control proxy", "percent-encode / as %2F", 2),
        ("//me:S3cret@127.0.0.1:1", "control name", "https_proxy is not http://HOST:PORT", 1),
    ],
)
def test_no_command_tells_the_password_of_a_faulty_proxy(
    coordinator: LoneCoordinator, url: str, check: str, sentence: str, ends: int
) -> None:
    config = coordinator.layout.config("aws")
    afar = {"CROSSCLOUD_WORKER__COORDINATOR__CONTROL": f"{AFAR}:7443"}
    status, found = doctor(config, https_proxy=url, **afar)
    assert status == 1
    assert sentence in found[check]["sentence"]
    assert "S3cret" not in json.dumps(found)
    operator = {"CROSSCLOUD_OPERATOR__COORDINATOR": f"{AFAR}:7443", "https_proxy": url}
    done = crosscloud("status", coordinator.layout.config(OPERATOR), **operator)
    assert done.returncode == ends
    assert sentence in done.stderr
    assert "S3cret" not in done.stdout + done.stderr
