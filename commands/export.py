"""`crosscloud export`: the newest version that an evaluator holds, as a model that others load."""

import sys
from pathlib import Path

from common.errors import ConfigError
from common.ids import Digest
from services.config.genesis_file import load_genesis
from services.config.settings import load_evaluator
from services.evaluator.state import EvaluatorState
from services.observe.progress import outlet
from services.process.exit_status import Exit
from services.versions.export import export_model


def main(config: Path, out: Path) -> Exit:
    """Write the model to `out`; needs no connection. The evaluator may run on meanwhile.

    Raises:
        ConfigError: the evaluator holds no version yet.
    """
    settings = load_evaluator(config)
    state = EvaluatorState(settings.state_dir)
    position = state.load()
    if position is None:
        raise ConfigError(
            f"{settings.state_dir} holds no version yet: let the evaluator run once first"
        )
    genesis, folders = load_genesis(settings.genesis), settings.folders
    read = [position]

    def newer() -> Digest:
        read.append(state.load() or read[-1])
        return read[-1].digest

    export_model(genesis, position.digest, state.store, out, outlet(), folders, newer)
    sys.stdout.write(f"wrote version {read[-1].version} to {out}\n")
    return Exit.OVER
