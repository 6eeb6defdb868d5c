from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from commands.demo.layout import COORDINATOR, FederationSpec, Layout, WorkerSpec
from commands.doctor.findings import checked
from commands.doctor.main import examine, main
from commands.plan import room
from common import canonical
from common.documents import Genesis, Stop
from services.config.settings import load_coordinator
from services.trust.authority import new_authority
from services.trust.identity import Role
from tests.rig.certificates import DAY, NOW, RUN, tls_files
from tests.rig.rounds.run_script import begun
from tests.rig.silent_outlet import SilentOutlet


def test_a_file_that_is_wrong_ends_the_examination(tmp_path: Path) -> None:
    (only,) = examine(tmp_path / "nowhere.yaml")
    assert (only.check, only.ok) == ("configuration", False)
    assert "no such file" in only.sentence


def test_a_bug_of_ours_is_no_finding() -> None:
    with pytest.raises(ZeroDivisionError):
        checked("x", lambda: str(1 // 0))


def test_an_authority_that_ends_soon_is_named_whatever_the_certificate_says(tmp_path: Path) -> None:
    soon = new_authority(RUN, NOW - DAY, NOW + 3 * DAY)
    tls = tls_files(tmp_path, soon, Role.OPERATOR, "operator", days=(-1, 300))
    config = tmp_path / "operator.yaml"
    config.write_text(
        f"run: {RUN}\ncoordinator: 127.0.0.1:1\n"
        f"tls: {{ca: {tls.ca}, certificate: {tls.certificate}, key: {tls.key}}}\n"
    )
    *_, certificate = examine(config)
    assert (certificate.check, certificate.ok) == ("certificate", False)
    assert certificate.sentence.startswith(f"{tls.ca}, the authority, expires in ")


def test_who_waits_for_the_findings_sees_that_it_is_at_work(tmp_path: Path) -> None:
    told = SilentOutlet()
    assert main(tmp_path / "nowhere.yaml", as_json=True, out=told) == 1
    assert told.num_ended == 1


def ending() -> Genesis:
    """Return the genesis of a small run that ends some day."""
    return replace(begun().genesis, stop=Stop(versions=1))


def laid_out(folder: Path, genesis: Genesis) -> Path:
    """Write the files of a run with this genesis; return the coordinator's settings."""
    spec = FederationSpec(folder, RUN, (WorkerSpec("aws", {}),), {}, {"stop": {"versions": 1}})
    layout = Layout(spec)
    layout.write()
    layout.genesis.parent.mkdir()
    layout.genesis.write_bytes(canonical.encode(genesis))
    return layout.config(COORDINATOR)


@pytest.mark.parametrize("codec", [{"kind": "cyclic", "one_in": 0}, {"kind": "x"}])
def test_a_genesis_that_cannot_be_is_the_only_finding(
    tmp_path: Path, codec: dict[str, Any]
) -> None:
    genesis = ending()
    algorithm = genesis.algorithm
    algorithm = replace(algorithm, codec=replace(algorithm.codec, **codec))
    config = laid_out(tmp_path / "run", replace(genesis, algorithm=algorithm))

    (only,) = examine(config)

    assert (only.check, only.ok) == ("configuration", False)
    assert "genesis.json: algorithm.codec." in only.sentence


def test_a_coordinators_disk_is_measured_by_the_plans_number(tmp_path: Path) -> None:
    genesis = ending()
    config = laid_out(tmp_path / "run", genesis)
    num_members = genesis.algorithm.max_cohort
    peak = room.coordinator_disk_peak(genesis, load_coordinator(config).snapshot_every, num_members)

    found = next(finding for finding in examine(config) if finding.check == "disk room")

    assert f", {peak / 1e9:.3g} GB needed in all" in found.sentence
