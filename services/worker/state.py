"""What a worker keeps on disk, so that a kill costs it a few steps and never committed work.

    manifest.json   position in the log, and which save belongs to it; replaced by one rename
    save-N/         theta.f32, learner state, ledger, residual.f32
    save-N/stage/   the one unresolved round: its frozen work (the same files), stage.json,
                    payload.bin, and residual.f32 as it will be if the round commits; where only
                    some blocks travel, anchor.f32: what is merged in theta's place
    data/           files of versions and aggregates (`services/disk/data_store.py`)

After a kill the stage is loaded, else the save, and the log decides about the stage. It lies inside
the save that came before it, so that the next manifest ends both by its one rename: a stage whose
outcome is held can never come back, whatever of its deletion the disk forgets.
"""

import os
import re
import shutil
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, TypeVar

from common import canonical
from common.documents import Attestation
from common.errors import ConfigError, MalformedDocumentError, StorageError
from services.disk.files import Draft, make_private_folder, storage_errors, sync_file, sync_folder
from worker.rounds.pace import Missed
from worker.rounds.position import Position
from worker.rounds.round import Stage
from worker.rounds.visited import Visited

T = TypeVar("T")

SAVED: Final = ("theta.f32", "learner.npz", "trainer.json")
"""What every save holds, as `worker/training/train.py` writes it."""
_SAVE: Final = re.compile(r"save-[0-9]{1,12}")
"""Names of saves; a manifest may name no other folder."""


@dataclass(frozen=True, slots=True)
class SaveFiles:
    """What lies in a save's folder, or in a stage's: see the module docstring."""

    folder: Path

    @property
    def theta(self) -> Path:
        """Own parameters, of the save or at close."""
        return self.folder / "theta.f32"

    @property
    def residual(self) -> Path:
        """What the codec has kept back: e; in a stage, as it will be if the round commits."""
        return self.folder / "residual.f32"

    @property
    def anchor(self) -> Path:
        """Of a stage of which only some blocks travel: what is merged in theta's place."""
        return self.folder / "anchor.f32"

    @property
    def payload(self) -> Path:
        """Of a stage: its shards, as they are sent."""
        return self.folder / "payload.bin"

    @property
    def document(self) -> Path:
        """Of a stage: the round. It says that the rest is whole."""
        return self.folder / "stage.json"


@dataclass(frozen=True, slots=True)
class Manifest:
    """A complete state: `folder` was saved while the worker stood at `position`.

    Args:
        known: versions that it stood on.
        words: of members, for the newest commit that it knew: a coordinator may have lost them.
        missed: the versions that were made since one with its own work.
    """

    folder: str
    position: Position
    known: Visited = field(default_factory=Visited)
    words: tuple[Attestation, ...] = ()
    missed: Missed = field(default_factory=Missed)


def read_manifest(root: Path) -> Manifest | None:
    """Return the newest complete state in a worker's folder, None for a newcomer; change nothing.

    Raises:
        ConfigError: what is there is damaged, or not whole.
    """
    path, fix = root / "manifest.json", _fix(root)
    manifest = _read(path, Manifest, fix)
    if manifest is None:
        return None
    if not _SAVE.fullmatch(manifest.folder):
        raise ConfigError(f"state_dir: {path} is damaged: it names no save; {fix}")
    for name in SAVED:
        if not (root / manifest.folder / name).is_file():
            raise ConfigError(
                f"state_dir: {root / manifest.folder}, the last save, has no {name}; {fix}"
            )
    return manifest


def _fix(root: Path) -> str:
    return f"move {root} away, to start from the newest version without what it holds"


def _read(path: Path, kind: type[T], fix: str) -> T | None:
    """Return a document of a worker's folder, None where there is none."""
    try:
        return canonical.decode(path.read_bytes(), kind)
    except FileNotFoundError:
        return None
    except OSError as e:
        raise ConfigError(
            f"state_dir: {path} cannot be read: {e.strerror}; mend that, or {fix}"
        ) from None
    except MalformedDocumentError as e:
        raise ConfigError(f"state_dir: {path} is damaged: {e}; {fix}") from None


class StateFolder:
    """See the module docstring."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._current = ""
        self.data = root / "data"
        make_private_folder(root)

    @property
    def save(self) -> SaveFiles:
        """The newest save."""
        return SaveFiles(self._root / self._current)

    @property
    def stage(self) -> SaveFiles:
        """The stage.

        Raises:
            StorageError: nothing was saved yet; a restart would find no stage.
        """
        if not self._current:
            raise StorageError(f"{self._root}: nothing is frozen before the first save")
        return SaveFiles(self.save.folder / "stage")

    @property
    def is_new(self) -> bool:
        """Whether there is no complete state: the worker is a newcomer."""
        return not (self._root / "manifest.json").exists()

    def load(self) -> Manifest | None:
        """Return the newest complete state, None for a newcomer. Leftovers of a kill are removed.

        Raises:
            ConfigError: the manifest is damaged, or its save not whole.
        """
        for draft in self._root.glob(f".*{Draft.SUFFIX}"):
            draft.unlink()
        if (manifest := read_manifest(self._root)) is None:
            return None
        self._current = manifest.folder
        self._remove_saves(but=manifest.folder)
        return manifest

    def load_stage(self) -> Stage | None:
        """Return the unresolved round, None if there is none; a half-written one is removed.

        Raises:
            ConfigError: it is damaged. What it exposed is not known, so it is not just dropped.
        """
        stage = _read(self.stage.document, Stage, _fix(self._root))
        if stage is None:
            self.drop_stage()
        return stage

    def folder(self, manifest: Manifest) -> Path:
        """Return the save that a manifest names."""
        return self._root / manifest.folder

    def new_save(self) -> Path:
        """Return an empty folder for the next save."""
        numbers = [int(p.name[5:]) for p in self._root.glob("save-*")]
        folder = self._root / f"save-{max(numbers, default=0) + 1}"
        folder.mkdir(mode=0o700)
        return folder

    def commit_save(self, manifest: Manifest, residual: Path | None) -> None:
        """Make a save the current one, by one rename; the older ones and the stage go.

        Args:
            manifest: its folder is from `new_save`, complete but for the residual.
            residual: file to keep as the save's residual.f32; None where there is none yet.
        """
        folder = self.folder(manifest)
        with storage_errors(f"cannot write {folder}"):
            if residual is not None and residual.exists():
                os.link(residual, SaveFiles(folder).residual)
            for path in folder.iterdir():
                sync_file(path)
            sync_folder(folder)
        self._replace(self._root / "manifest.json", canonical.encode(manifest))
        self._current = folder.name
        self._remove_saves(but=folder.name)

    def begin_stage(self) -> Path:
        """Return the empty folder of a new round's frozen work."""
        self.drop_stage()
        folder = self.stage.folder
        folder.mkdir(mode=0o700)
        sync_folder(folder.parent)
        return folder

    def write_stage(self, stage: Stage) -> None:
        """Make the stage durable with everything that lies in its folder."""
        files = self.stage
        for path in files.folder.iterdir():
            sync_file(path)
        sync_folder(files.folder)  # the document that says that it is whole outlives no file
        sync_folder(files.folder.parent)  # the stage's own name
        self._replace(files.document, canonical.encode(stage))

    def drop_stage(self) -> None:
        """The round ended and left the work free; if this is forgotten, the log says so again."""
        if (files := self.stage).folder.exists():
            files.document.unlink(missing_ok=True)
            shutil.rmtree(files.folder)

    def forget(self) -> None:
        """Forget everything but files of versions: the worker begins anew from the head."""
        (self._root / "manifest.json").unlink(missing_ok=True)
        sync_folder(self._root)
        self._current = ""
        self._remove_saves(but="")

    def _replace(self, path: Path, content: bytes) -> None:
        with Draft(path.parent, path.stem) as draft:
            draft.append(content)
            draft.rename(path)
        sync_folder(path.parent)

    def _remove_saves(self, but: str) -> None:
        for path in self._root.glob("save-*"):
            if path.name != but:
                shutil.rmtree(path)
