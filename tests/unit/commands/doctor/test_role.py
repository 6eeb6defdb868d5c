from pathlib import Path

import pytest

from commands.doctor.role import role_of
from services.trust.identity import Role
from tests.rig.certificates import authority, tls_files


@pytest.mark.parametrize(
    ("text", "role"),
    [
        ("data_dir: data", Role.COORDINATOR),
        ("run: demo", Role.OPERATOR),
        ("name: aws", Role.WORKER),
        ("tls: {certificate: certs/x.pem}", Role.EVALUATOR),
        ("tls: {certificate: certs/y.pem}", Role.WORKER),
    ],
)
def test_a_settings_file_tells_what_it_is_for(tmp_path: Path, text: str, role: Role) -> None:
    tls_files(tmp_path / "certs", authority(), Role.EVALUATOR, "x")
    (tmp_path / "a.yaml").write_text(text)
    assert role_of(tmp_path / "a.yaml") is role


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("CROSSCLOUD_EVALUATOR__TLS__CERTIFICATE", "certs/x.pem"),
        ("CROSSCLOUD_EVALUATOR__TLS", "{certificate: certs/x.pem}"),
    ],
)
def test_a_variable_counts_as_it_does_for_the_evaluator_itself(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, variable: str, value: str
) -> None:
    tls_files(tmp_path / "certs", authority(), Role.EVALUATOR, "x")
    (tmp_path / "etc").mkdir()
    (tmp_path / "etc" / "a.yaml").write_text("name: x")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv(variable, value)
    assert role_of(tmp_path / "etc" / "a.yaml") is Role.EVALUATOR


def test_a_variable_that_fits_nowhere_leaves_the_file_to_tell(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "a.yaml").write_text("name: aws")
    monkeypatch.setenv("CROSSCLOUD_EVALUATOR__NAME__X", "1")
    assert role_of(tmp_path / "a.yaml") is Role.WORKER
