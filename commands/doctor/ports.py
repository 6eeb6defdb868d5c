"""Checks that the ports of a process are free, or that it runs on them already."""

from collections.abc import Callable

from commands.doctor.probe import metrics_of, serves
from common.errors import ConfigError
from services.config.addresses import here
from services.config.places import Listen, check_ports
from services.config.settings import (
    CoordinatorSettings,
    EvaluatorSettings,
    MetricsSettings,
    WorkerSettings,
)
from services.trust.identity import Role


def own_ports(
    settings: CoordinatorSettings | WorkerSettings | EvaluatorSettings, role: Role, *, runs: bool
) -> str:
    """Return what is to be said of the ports of a process on these settings.

    Args:
        runs: whether a process may run on the folder that they name.

    Raises:
        ConfigError: something else has one, or no process can listen there.
    """
    wanted = listens(settings)
    try:
        check_ports(wanted)
    except ConfigError as e:
        if not runs:  # whoever answers there has another folder
            raise
        _runs_already(settings, role, e)
        return f"{role.one} on these settings runs here: {_listed(wanted)}"
    return f"{_listed(wanted)} can be listened on" if wanted else "none is listened on"


def listens(
    settings: CoordinatorSettings | WorkerSettings | EvaluatorSettings,
) -> dict[str, Listen]:
    """Return address and port by setting."""
    found = {"metrics.port": (settings.metrics.host, settings.metrics.port)}
    if isinstance(settings, CoordinatorSettings):
        found["control_port"] = (settings.host, settings.control_port)
        found["bulk_port"] = (settings.host, settings.bulk_port)
    return {setting: listen for setting, listen in found.items() if listen[1]}


def _runs_already(
    settings: CoordinatorSettings | WorkerSettings | EvaluatorSettings, role: Role, e: ConfigError
) -> None:
    """Let it pass if this very process answers on all its ports; else raise `e`."""
    asked: list[Callable[[], object]] = []
    metrics: MetricsSettings = settings.metrics
    if metrics.port:
        asked.append(lambda: metrics_of(metrics, role))
    if isinstance(settings, CoordinatorSettings):
        own, tls = settings, settings.tls
        asked.append(lambda: serves("control", here(own.host), own.control_port, tls))
        asked.append(lambda: serves("bulk", here(own.host), own.bulk_port, tls))
    try:
        for ask in asked:
            ask()
    except ConfigError:
        raise e from None


def _listed(wanted: dict[str, Listen]) -> str:
    return ", ".join(f"{setting} {port} on {host}" for setting, (host, port) in wanted.items())
