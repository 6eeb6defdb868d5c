"""The public Python API: the only package that user code imports. Names only, no logic.

(But for `shadows.py`, which has to run before any other package of ours can be found.)

`from crosscloud import Learner` is how a training program of one's own begins, as in
examples/own_learner.py. Names are looked up when used: the command line loads no training stack.
"""

import importlib
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from common.errors import ConfigError
    from worker.training.data import TextData
    from worker.training.encoder import BYTE_ENCODER
    from worker.training.learner import Learner, LearnerContext, State, Step, Validation

__all__ = [
    "BYTE_ENCODER",
    "ConfigError",
    "Learner",
    "LearnerContext",
    "State",
    "Step",
    "TextData",
    "Validation",
]

_HOME: Final = dict.fromkeys(__all__, "worker.training.learner") | {
    "BYTE_ENCODER": "worker.training.encoder",
    "ConfigError": "common.errors",
    "TextData": "worker.training.data",
}


def __getattr__(name: str) -> object:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(_HOME[name]), name)


def __dir__() -> list[str]:
    return sorted(__all__)
