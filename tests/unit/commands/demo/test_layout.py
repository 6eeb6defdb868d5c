from dataclasses import replace
from pathlib import Path

import pytest

from commands.demo.layout import FederationSpec, Layout, WorkerSpec
from common.errors import ConfigError
from services.config.settings import (
    load_coordinator,
    load_evaluator,
    load_operator,
    load_run,
    load_worker,
)
from services.trust.identity import MemberList, Role
from services.trust.own import check_own
from worker.training.data import TextData
from worker.training.encoder import BYTE_ENCODER
from worker.training.learner import LearnerContext


def spec(folder: Path) -> FederationSpec:
    return FederationSpec(
        folder=folder,
        name="tiny",
        workers=(
            WorkerSpec("aws", {"a/one.py": "aws = 1\n" * 50}, max_steps_per_s=4.0),
            WorkerSpec("onprem", {"b.py": "onprem = 2\n" * 50}, slowdown=3.0),
        ),
        validation={"held/out.py": "held = 3\n" * 20},
        run={"seed": 7, "learner": "examples.own_learner:build", "stop": {"versions": 2}},
        data={"validation_tokens": 32},
        timings={"heartbeat_s": 0.2},
    )


@pytest.fixture
def layout(tmp_path):
    found = Layout(spec(tmp_path / "tiny"))
    found.write()
    found.genesis.parent.mkdir()
    found.genesis.write_text("{}")
    return found


def test_every_settings_file_is_accepted_by_its_process(layout):
    assert load_run(layout.config("run"), {}).seed == 7
    coordinator = load_coordinator(layout.config("coordinator"), {})
    assert coordinator.timings.heartbeat_s == 0.2
    assert coordinator.host == "127.0.0.1"
    assert load_evaluator(layout.config("evaluator"), {}).name == "evaluator"
    assert load_operator(layout.config("operator"), {}).coordinator == layout.control


def test_workers_dial_the_ports_that_the_coordinator_listens_on(layout):
    coordinator = load_coordinator(layout.config("coordinator"), {})
    worker = load_worker(layout.config("aws"), {})
    assert worker.coordinator.control == f"127.0.0.1:{coordinator.control_port}"
    assert worker.coordinator.bulk == f"127.0.0.1:{coordinator.bulk_port}"


def test_each_worker_has_its_own_pace(layout):
    paces = [load_worker(layout.config(name), {}).pace for name in ("aws", "onprem")]
    assert [(p.slowdown, p.max_steps_per_s) for p in paces] == [(1.0, 4.0), (3.0, 0.0)]


def test_each_worker_trains_on_its_own_text_and_all_share_the_validation(layout):
    for name in ("aws", "onprem"):
        settings = load_worker(layout.config(name), {})
        folder = LearnerContext({}, settings.data, 0, name, folders=settings.folders).folder
        size = {"batch": 2, "sequence": 20}
        data = TextData(settings.data, BYTE_ENCODER, **size, seed=0, name=name, folder=folder)
        assert name.encode() in bytes(data.batches().take().astype("uint8").tobytes())
        assert data.windows().shape == (1, 21)
    evaluator = load_evaluator(layout.config("evaluator"), {})
    assert "train" not in evaluator.data
    assert evaluator.data["validation"] == settings.data["validation"]


def test_each_process_has_a_certificate_for_its_role_and_is_a_member(layout):
    members = MemberList(layout.folder / "certs" / "members.yaml", "tiny").members
    tls = {
        Role.COORDINATOR: load_coordinator(layout.config("coordinator"), {}).tls,
        Role.EVALUATOR: load_evaluator(layout.config("evaluator"), {}).tls,
        Role.OPERATOR: load_operator(layout.config("operator"), {}).tls,
        Role.WORKER: load_worker(layout.config("aws"), {}).tls,
    }
    for role, files in tls.items():
        identity = check_own(files, "tiny", (role,)).identity
        assert members[identity.name] == identity
    assert members["onprem"].role is Role.WORKER


def test_no_port_is_given_twice(layout):
    coordinator = load_coordinator(layout.config("coordinator"), {})
    ports = [coordinator.control_port, coordinator.bulk_port, *layout.metrics_ports.values()]
    assert set(layout.metrics_ports) == {"coordinator", "evaluator", "aws", "onprem"}
    assert len(set(ports)) == len(ports)


def test_no_two_processes_share_a_state_folder(layout):
    folders = {layout.state(name) for name in ("coordinator", "evaluator", "aws", "onprem")}
    assert len(folders) == 4


def test_a_folder_that_holds_something_is_refused_and_left_alone(tmp_path):
    (tmp_path / "thesis.txt").write_text("mine")
    with pytest.raises(ConfigError, match="is not empty"):
        Layout(spec(tmp_path)).write()
    assert [p.name for p in tmp_path.iterdir()] == ["thesis.txt"]


@pytest.mark.parametrize(
    "name", ["coordinator", "evaluator", "operator", "run", "genesis", "validation", "ca"]
)
def test_a_worker_named_as_another_file_is_refused_and_nothing_is_written(tmp_path, name):
    made = replace(spec(tmp_path / "tiny"), workers=(WorkerSpec(name, {"a.py": "a = 1\n"}),))
    with pytest.raises(ConfigError, match="choose another"):
        Layout(made).write()
    assert not (tmp_path / "tiny").exists()
