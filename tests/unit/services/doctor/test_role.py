from pathlib import Path

import pytest

from services.doctor.role import role_of
from services.identity import Role
from tests.certificates import authority, tls_files


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
