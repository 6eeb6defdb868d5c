"""Builds a run's learner here, and checks that what it builds is the run's model."""

from dataclasses import replace

from common.documents import Genesis
from services.config.settings import EvaluatorSettings, WorkerSettings
from services.versions.same_model import check_model
from worker.training.learner import Learner, LearnerContext, make_learner
from worker.training.model import ParameterVector


def process_learner(genesis: Genesis, settings: WorkerSettings | EvaluatorSettings) -> Learner:
    """Build the learner that a process's own settings ask for.

    Raises:
        ConfigError: it cannot be built, or is not the run's model.
    """
    context = LearnerContext(
        settings=genesis.settings,
        data=settings.data,
        seed=genesis.seed,
        name=settings.name,
        device=settings.device,
        num_threads=settings.num_threads,
        folders=settings.folders,
    )
    own = replace(genesis, learner=settings.learner or genesis.learner)
    return build_learner(own, context)


def build_learner(genesis: Genesis, context: LearnerContext) -> Learner:
    """Build a run's learner.

    Raises:
        ConfigError: it cannot be built, or is not the run's model.
    """
    learner = make_learner(genesis.learner, context)
    check_model(genesis, ParameterVector(learner).schema.hash)
    return learner
