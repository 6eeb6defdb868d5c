"""`crosscloud probe`: does the process answer that runs on these settings, here? For health checks.

    every process   its metrics are those of its role
    a coordinator   both its ports besides: TLS with its own certificate, HTTP/2

A coordinator's certificate cannot dial, so nothing is asked over gRPC. A standby fails: it has its
ports closed until it leads. A worker that nobody hears passes: it trains on and dials again, and to
start it anew would only cost it steps. Whether a run goes on is for alerts to say. It imports
neither gRPC nor torch: it runs every few seconds beside a process that needs the cores.
"""

import http.client
import socket
import ssl
from collections.abc import Mapping
from pathlib import Path
from typing import Final

import typer
from cryptography import x509

from commands.doctor.findings import or_else
from commands.doctor.role import role_of
from common.errors import BadKeyError, ConfigError, CrosscloudError, NotAMemberError
from common.foreign import foreign
from common.text import printable
from services.config.addresses import here, joined
from services.config.settings import (
    CoordinatorSettings,
    MetricsSettings,
    TlsSettings,
    load_coordinator,
    load_evaluator,
    load_worker,
)
from services.observe.prometheus import PREFIX
from services.process.exit_status import Exit
from services.trust.authority_file import read_authority, trusted_pem
from services.trust.identity import Role, identity_in

_TIMEOUT_S: Final = 5.0
_VERSIONS: Final[Mapping[Role, str]] = {
    Role.COORDINATOR: "model_version",
    Role.WORKER: "local_version",
    Role.EVALUATOR: "evaluator_version",
}
"""Metric that only this role has."""


def main(config: Path) -> Exit:
    """Say how the process is; return 0 if it answers, else 1."""
    try:
        typer.echo(answer(config))
    except CrosscloudError as e:
        typer.echo(f"crosscloud: {printable(' '.join(str(e).split()))}", err=True)
        return Exit.FAILED
    return Exit.OVER


def answer(config: Path) -> str:
    """Return what the process says of itself.

    Raises:
        ConfigError: it does not answer; says where, and what to look at.
    """
    match role_of(config):
        case Role.COORDINATOR:
            return _coordinator(load_coordinator(config))
        case Role.WORKER:
            shown = metrics_of(load_worker(config).metrics, Role.WORKER)
            heard = "" if shown.get("local_connected") else ", without a coordinator"
            return f"worker: version {shown['local_version']:.0f}{heard}"
        case Role.EVALUATOR:
            shown = metrics_of(load_evaluator(config).metrics, Role.EVALUATOR)
            return f"evaluator: version {shown['evaluator_version']:.0f} is its newest"
        case Role.OPERATOR:
            raise ConfigError(
                f"{config}: an operator has no process; for the coordinator's answer over gRPC run "
                "`crosscloud doctor` or `crosscloud status`"
            )


def _coordinator(settings: CoordinatorSettings) -> str:
    version = ""
    if settings.metrics.port:
        shown = metrics_of(settings.metrics, Role.COORDINATOR)
        version = f"version {shown['model_version']:.0f}, "
    for what in ("control", "bulk"):
        port = getattr(settings, f"{what}_port")
        serves(what, here(settings.host), port, settings.tls)
    return f"coordinator: {version}serves on {settings.control_port} and {settings.bulk_port}"


def metrics_of(settings: MetricsSettings, role: Role) -> dict[str, float]:
    """Return the process's own series without labels, by name without the prefix.

    Raises:
        ConfigError: nothing answers there, or a process of another role does.
    """
    if not settings.port:
        raise ConfigError("metrics.port is 0, so nothing here can be asked: give it a port")
    host, port = here(settings.host), settings.port
    where = f"http://{joined(host, port)}/metrics"
    connection = http.client.HTTPConnection(host, port, timeout=_TIMEOUT_S)
    try:
        with or_else(f"{where} does not answer: look whether the {role} runs, and at its log"):
            connection.request("GET", "/metrics")
            text = connection.getresponse().read().decode("utf-8", "replace")
    except http.client.HTTPException:
        text = ""
    finally:
        connection.close()
    shown = {}
    for line in text.splitlines():
        name, _, value = line.partition(" ")
        if name.startswith(PREFIX) and "{" not in name:
            shown[name.removeprefix(PREFIX)] = float(value)
    if _VERSIONS[role] in shown:
        return shown
    if role is Role.WORKER and "local_connected" in shown:
        return {**shown, "local_version": 0.0}  # it has not begun yet
    raise ConfigError(
        f"{where} is not {role.one}'s: another process has the port; give each its own metrics.port"
    )


def serves(what: str, host: str, port: int, tls: TlsSettings) -> None:
    """Shake hands as far as the server's own certificate; it then asks for one, and we leave.

    Raises:
        ConfigError: nobody of ours answers there.
    """
    place = joined(host, port)
    fix = f"{place}, the {what} port: look whether it leads (a standby waits), and at its log"
    with or_else(f"nobody answers at {fix}"):
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname = False  # dialled as "here": the certificate has its public names
        context.load_verify_locations(cadata=trusted_pem(read_authority(tls.ca)).decode("ascii"))
        context.set_alpn_protocols(["h2"])
        with (
            socket.create_connection((host, port), _TIMEOUT_S) as plain,
            context.wrap_socket(plain) as secure,
        ):
            shown = secure.getpeercert(binary_form=True) or b""
            protocol = secure.selected_alpn_protocol()
    try:
        with foreign("it"):
            role = identity_in(x509.load_der_x509_certificate(shown)).role
    except (BadKeyError, NotAMemberError) as e:
        raise ConfigError(f"{place} shows a certificate that is none of ours: {e}") from None
    if role is not Role.COORDINATOR or protocol != "h2":
        raise ConfigError(f"{place} is no coordinator's {what} port: another has taken it")
