"""What all processes of a coordinator begin with: settings, genesis, logging."""

from pathlib import Path

from common.documents import Genesis
from common.errors import ConfigError
from services import logs
from services.genesis_file import load_genesis
from services.settings import CoordinatorSettings, load_coordinator


def begin(config: Path, process: str) -> tuple[CoordinatorSettings, Genesis]:
    """Read the settings and the genesis that they name; set logging up.

    Args:
        process: what the log calls this process.

    Raises:
        ConfigError: a file is missing or wrong, or the run's tier is not allowed here.
    """
    settings = load_coordinator(config)
    genesis = load_genesis(settings.genesis)
    logs.configure(settings.log.format, settings.log.level, run=genesis.run, process=process)
    tier = genesis.algorithm.tier
    if tier not in settings.allowed_tiers:
        raise ConfigError(
            f"{config}: allowed_tiers: run {genesis.run!r} has privacy tier {tier!r}, allowed: "
            f"{', '.join(settings.allowed_tiers)}; allow it, or make a run with another tier"
        )
    return settings, genesis
