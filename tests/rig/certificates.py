"""Certificates for tests, good and bad, in a folder of their own."""

import datetime
from pathlib import Path

from services.config.settings import TlsSettings
from services.trust.authority import Authority, issue, new_authority
from services.trust.identity import Identity, Role

RUN = "demo"
NOW = datetime.datetime.now(datetime.UTC)
DAY = datetime.timedelta(days=1)


def authority(run: str = RUN) -> Authority:
    return new_authority(run, NOW - 9 * DAY, NOW + 9 * DAY)


def tls_files(
    folder: Path,
    signer: Authority,
    role: Role = Role.WORKER,
    name: str = "aws",
    *,
    run: str = RUN,
    hosts: tuple[str, ...] = (),
    days: tuple[int, int] = (-1, 1),
    trusts: Authority | None = None,
) -> TlsSettings:
    """Write a certificate valid from NOW + days[0] to NOW + days[1], and the CA that it trusts."""
    folder.mkdir(parents=True, exist_ok=True)
    identity = Identity(run, role, "acme", name)
    certificate, key = issue(signer, identity, hosts, NOW + days[0] * DAY, NOW + days[1] * DAY)
    (folder / "ca.pem").write_bytes((trusts or signer).pem)
    (folder / f"{name}.pem").write_bytes(certificate)
    (folder / f"{name}.key").write_bytes(key)
    return TlsSettings(
        ca=folder / "ca.pem", certificate=folder / f"{name}.pem", key=folder / f"{name}.key"
    )
