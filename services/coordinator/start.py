"""What all processes of a coordinator begin with: settings, genesis, logging."""

from pathlib import Path

from common.documents import Genesis
from services import logs
from services.genesis_file import load_genesis
from services.identity import MemberList, Role
from services.settings import CoordinatorSettings, load_coordinator
from services.soundness import refuse_unsound


def begin(config: Path, process: str) -> tuple[CoordinatorSettings, Genesis]:
    """Read the settings and the genesis that they name; set logging up.

    Args:
        process: what the log calls this process.

    Raises:
        ConfigError: a file is missing or wrong, or the run cannot work here.
    """
    settings = load_coordinator(config)
    genesis = load_genesis(settings.genesis)
    logs.configure(settings.log.format, settings.log.level, run=genesis.run, process=process)
    members = MemberList(settings.members, genesis.run).members.values()
    num_workers = sum(m.role is Role.WORKER for m in members)
    refuse_unsound(
        genesis.algorithm,
        genesis.stop,
        allowed_tiers=settings.allowed_tiers,
        num_workers=num_workers,
    )
    return settings, genesis
