"""A version as a folder that its users load: for Hugging Face models, `from_pretrained` does."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Final

import numpy as np
from safetensors import SafetensorError

from common import canonical
from common.documents import Genesis, Version
from common.errors import ConfigError, DamagedDataError
from common.foreign import boundary, why
from common.ids import Digest
from services.disk.data_store import DataStore
from services.observe.progress import Outlet, shown
from services.versions.learner import build_learner
from worker.training.learner import Learner, LearnerContext
from worker.training.model import ParameterVector

_TRIES: Final = 5


def export_model(
    genesis: Genesis,
    digest: Digest,
    store: DataStore,
    folder: Path,
    out: Outlet | None = None,
    folders: Mapping[str, str] | None = None,
    newer: Callable[[], Digest | None] = lambda: None,
) -> None:
    """Write a version's model to `folder`; files of the same names are replaced.

    Args:
        genesis: of the run.
        digest: of the version.
        store: where its files are.
        folder: made where it is missing.
        out: where people see how far it is.
        folders: as `LearnerContext` has them.
        newer: is asked where a file is missing: the version that took this one's place meanwhile.

    Raises:
        DamagedDataError: a file is missing or damaged, or each version was replaced.
        ConfigError: the learner cannot be built, or `folder` cannot be written.
    """
    with shown("building the model", out=out):
        context = LearnerContext(genesis.settings, None, genesis.seed, "export")
        learner = build_learner(genesis, replace(context, folders=folders or {}))
    vector = ParameterVector(learner)
    for _ in range(_TRIES):
        try:
            version = canonical.decode(store.read(digest, verify=True), Version)
            with shown("loading the version", 4 * vector.schema.length, out=out) as progress:
                load_version(vector, version, store, progress.advance)
            break
        except DamagedDataError:
            found = newer()
            if found is None or found == digest:
                raise
            digest = found
    else:
        raise DamagedDataError(
            f"an evaluator runs on {store.root} and went on from {_TRIES} versions while they were "
            "read: try again, or stop it for as long as that takes"
        )
    with boundary("--out", f"{folder} cannot be written", "choose another folder"):
        folder.mkdir(parents=True, exist_ok=True)
    with shown(f"writing {folder}", out=out):
        _write(learner, genesis.learner, folder)


def _write(learner: Learner, path: str, folder: Path) -> None:
    """Let the learner write; whoever may read the folder may read the weights, too."""
    fix = "free space there, or choose another folder; what is written of it is of no use"
    with boundary("learner", f"{path!r} cannot be exported", "correct it", place=True):
        try:
            learner.export(folder)
            mode = folder.stat().st_mode & 0o666
            for weights in folder.rglob("*.safetensors"):
                weights.chmod(mode)
        except (OSError, SafetensorError) as e:
            raise ConfigError(f"--out: {folder} cannot be written: {why(e)}; {fix}") from e


def load_version(
    vector: ParameterVector,
    version: Version,
    store: DataStore,
    advanced: Callable[[int], None] = lambda _: None,
) -> None:
    """Write a version's theta into a learner's live tensors.

    Args:
        advanced: is told the bytes of each segment that was loaded.

    Raises:
        DamagedDataError: a segment is missing, damaged, or not of the vector's layout.
    """
    segments = tuple(vector.schema.segments())
    if len(version.theta) != len(segments):
        raise DamagedDataError(
            f"the version has {len(version.theta)} segments, the model {len(segments)}"
        )
    for (start, stop), digest in zip(segments, version.theta, strict=True):
        values = np.frombuffer(store.read(digest, verify=True), "<f4")
        if len(values) != stop - start:
            raise DamagedDataError(
                f"segment {digest[:12]} has {len(values)} values, not {stop - start}"
            )
        vector.write(start, values)
        advanced(values.nbytes)
