"""What a worker trains: the public `crosscloud.Learner`, and how a run finds one by name.

A learner owns a model, its data and its inner optimiser. It knows nothing of rounds or of other
workers: between two steps the trainer process changes its parameters in place. Torch is never
imported here, so a learner may do without it.
"""

import importlib
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TypeAlias, cast

import numpy as np
import numpy.typing as npt

from common.canonical import Json
from common.errors import ConfigError
from common.foreign import boundary
from common.learners import BUILT_IN, refusal_of_former

if TYPE_CHECKING:
    import torch

Tensor: TypeAlias = "npt.NDArray[Any] | torch.Tensor"
"""A numpy array, or a torch tensor on any device."""

State: TypeAlias = Mapping[str, npt.NDArray[Any]]
"""Plain arrays by name: what is kept of a learner. Nothing in it is ever unpickled."""

GOES_ON: Final = ("cursor.", "random.")
"""How names in a state begin that a roll-back leaves as they are."""

PINNING: Final = "genesis"
"""Name of the context from which a run is pinned: only then may a model still be refused that can
be built. Whoever exports a pinned run has no data either."""

_PATHS: Final = {BUILT_IN: "worker.training.huggingface:build"}

OWN_NAMES: Final = (
    "commands",
    "common",
    "coordinator",
    "crosscloud",
    "protos",
    "services",
    "worker",
)
"""Top-level packages of ours: what is found by such a name is never somebody else's."""


@dataclass(frozen=True, slots=True)
class Step:
    """One local step: mean training loss in nats per token, and how much was trained on."""

    loss: float
    tokens: int
    samples: int


@dataclass(frozen=True, slots=True)
class Validation:
    """The shared validation shard under the present parameters.

    Args:
        loss: mean nats per token.
        accuracy: share of next tokens that got the highest score, in [0, 1].
        tokens: how many were predicted.
    """

    loss: float
    accuracy: float
    tokens: int


@dataclass(frozen=True, slots=True)
class LearnerContext:
    """What a learner is built from.

    Args:
        settings: the run's settings of the learner, the same in every process.
        data: this process's own data settings; None where only the model is wanted.
        seed: the run's seed: of the initial parameters.
        name: this process's name, so that two workers need not draw the same batches.
        device: where to compute: "cpu", "cuda", ...
        num_threads: CPU threads that the learner may use, at least 1.
        order: drawn whenever a worker begins without state of its own; the order of its data has
            to follow from it, and to be kept in `Learner.state`. 0 where nothing is trained.
        folders: what relative paths in `settings` and `data` are relative to, for `folder`.
    """

    settings: Mapping[str, Json]
    data: Mapping[str, Json] | None
    seed: int
    name: str
    device: str = "cpu"
    num_threads: int = 1
    order: int = 0
    folders: Mapping[str, str] = field(default_factory=dict)

    def folder(self, *names: str) -> Path:
        """Return what relative paths in `settings` or `data` are relative to.

        It is the folder of the file that they stand in; the working folder where there is none.

        Args:
            names: of the setting: "data", "train"
        """
        dotted = (".".join(names[:n]) for n in range(len(names), 0, -1))
        return next((Path(self.folders[name]) for name in dotted if name in self.folders), Path())


class Learner(ABC):
    """A model in training. Every tensor that it hands out is live and C-contiguous."""

    @abstractmethod
    def parameters(self) -> Mapping[str, Tensor]:
        """Return what is trained together: float32, in a fixed order, tied weights once.

        The tensors are the ones that `train` changes in place; they are asked for once.
        """

    def buffers(self) -> Mapping[str, Tensor]:
        """Return float32 state that is averaged but has no gradient, batch-norm statistics say."""
        return {}

    def constants(self) -> Mapping[str, Tensor]:
        """Return integer state that never changes and must be equal in every worker."""
        return {}

    @abstractmethod
    def train(self, lr: float) -> Step:
        """Take one local step at learning rate `lr`, on the worker's own data."""

    @abstractmethod
    def evaluate(self) -> Validation:
        """Measure the present parameters on the shared validation shard; changes nothing."""

    def remarks(self) -> Sequence[str]:
        """Return what people should read of its data, a sentence each; known once it is built."""
        return ()

    def rehearse(self) -> Step | None:
        """Go one step forward and backward on one made-up window, without data of its own.

        Parameters and buffers stay as they are. A run is pinned only after this went well. None:
        this learner cannot tell before it has data.
        """
        return None

    @abstractmethod
    def state(self) -> State:
        """Return inner optimiser, random state and data cursor: all but the parameters.

        The arrays may be the live ones: they are written out, or copied, before the next step.
        Names of random state and data cursor begin as `GOES_ON` says, so that a roll-back, which
        brings the inner optimiser back as it was built, repeats no batch.
        """

    @abstractmethod
    def load_state(self, state: State) -> None:
        """Go on where `state` was taken."""

    def export(self, folder: Path) -> None:
        """Write what users of the model load; by default `model.safetensors`, tensors by name."""
        from safetensors.numpy import save_file

        tensors = {**self.parameters(), **self.buffers()}
        arrays = {n: np.ascontiguousarray(as_numpy(t)) for n, t in tensors.items()}
        save_file(arrays, folder / "model.safetensors")


def as_numpy(tensor: Tensor) -> npt.NDArray[Any]:
    """Return the tensor's values; shared with it where they are in CPU memory."""
    return tensor if isinstance(tensor, np.ndarray) else tensor.detach().cpu().numpy()


def load_learner(path: str) -> Callable[[LearnerContext], Learner]:
    """Return the function that `path` names.

    Args:
        path: a built-in learner's name, or "package.module:build"; the module must be
            importable in every process of the run.

    Raises:
        ConfigError: nothing of that name can be imported.
    """
    if refusal := refusal_of_former(path):
        raise ConfigError(f"learner: {path!r}: {refusal}")
    module_name, _, function = _PATHS.get(path, path).partition(":")
    if not module_name or not function:
        raise ConfigError(
            f"learner: {path!r} is neither {BUILT_IN!r} nor of the form 'package.module:build'"
        )
    with boundary("learner", f"{module_name!r} cannot be imported", "correct it", place=True):
        try:
            module = importlib.import_module(module_name)
        except ModuleNotFoundError as e:
            if (e.name or "").split(".")[0] == module_name.split(".")[0]:
                _refuse_own_name(path)
            raise ConfigError(
                f"learner: {path!r} needs the module {e.name!r}, which cannot be imported here; "
                "install it, or put its folder on PYTHONPATH"
            ) from None
    build = getattr(module, function, None)
    if not callable(build):
        _refuse_own_name(path)
        raise ConfigError(
            f"learner: {module_name!r} has no function {function!r};"
            " it has to take a LearnerContext"
        )
    return cast("Callable[[LearnerContext], Learner]", build)


def _refuse_own_name(path: str) -> None:
    """Say why another's module was not looked for, if its name begins as one of ours does."""
    top, *_ = path.partition(":")[0].split(".")
    if top in OWN_NAMES:
        raise ConfigError(
            f"learner: {path!r}: {top!r} is a package of crosscloud's own, which has no such "
            f"learner, and a file or folder of that name of yours is not looked at: rename yours, "
            f"my_{top} for instance, put its folder on PYTHONPATH, and name it here"
        )


def make_learner(path: str, context: LearnerContext) -> Learner:
    """Build the learner that `path` names.

    Raises:
        ConfigError: nothing of that name can be imported, or it cannot be built of these settings.
    """
    build = load_learner(path)
    fix = "correct settings, data or device, or the learner"
    with boundary("learner", f"{path!r} cannot be built", fix, place=True):
        made = build(context)
        if not isinstance(made, Learner):
            raise TypeError(f"it gave {type(made).__name__}, no crosscloud.Learner")
    return made
