"""The layout of a run's model, without memory for its values where that can be had.

From a genesis.json it is read; from a run's file the built-in learner's model is outlined on
torch's meta device, and any other learner is built as `crosscloud genesis` builds it. With a number
of parameters nothing is built, and torch is not needed.
"""

from pathlib import Path

from common.documents import Genesis
from common.errors import ConfigError
from common.ids import Digest
from common.learners import BUILT_IN
from common.schema import ModelSchema, TensorSpec
from services.config.genesis_file import load_genesis
from services.config.settings import RunSettings, load_run
from worker.training.learner import LearnerContext, make_learner


def planned_genesis(config: Path, parameters: float | None) -> Genesis:
    """Return the genesis that a run would have, but for its first version's digest.

    Args:
        config: run.yaml, or the genesis.json of a run that was begun.
        parameters: of the model; None = those of the run's own model.

    Raises:
        ConfigError: a file is wrong, or the model cannot be outlined here.
    """
    if config.suffix == ".json":
        genesis = load_genesis(config)
        if parameters is not None:
            raise ConfigError(
                f"--parameters: {config} says what the model is; give run.yaml instead of it, or "
                "leave the option out"
            )
        return genesis
    run = load_run(config)
    schema = _outline(run) if parameters is None else _flat(round(parameters))
    return Genesis(
        run=run.name,
        seed=run.seed,
        learner=run.learner,
        settings=run.settings,
        schema=schema,
        version0=Digest("0" * 64),
        algorithm=run.algorithm,
        stop=run.stop,
    )


def _flat(parameters: int) -> ModelSchema:
    return ModelSchema((TensorSpec("parameters", (parameters,)),))


def _outline(run: RunSettings) -> ModelSchema:
    try:
        if run.learner == BUILT_IN:
            from worker.training.huggingface import outline

            return outline(run.settings, run.folders)
        context = LearnerContext(run.settings, None, run.seed, "plan", folders=run.folders)
        learner = make_learner(run.learner, context)
    except ModuleNotFoundError as e:
        raise ConfigError(
            f"learner: {run.learner!r} needs the package {e.name!r}, which is not installed here: "
            "give --parameters, the genesis.json of the run, or install crosscloud[worker]"
        ) from None
    return ModelSchema(
        parameters=tuple(TensorSpec(n, tuple(t.shape)) for n, t in learner.parameters().items()),
        buffers=tuple(TensorSpec(n, tuple(t.shape)) for n, t in learner.buffers().items()),
    )
