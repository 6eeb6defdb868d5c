"""Checks that the model a learner builds here is the run's, before a coordinator refuses it."""

from common.documents import Genesis
from common.errors import ConfigError


def check_model(genesis: Genesis, built: str) -> None:
    """Let the run's model pass.

    Args:
        genesis: with the learner that built it.
        built: hash of its schema.

    Raises:
        ConfigError: it is another one.
    """
    if built != (expected := genesis.schema.hash):
        raise ConfigError(
            f"learner: {genesis.learner!r} builds a model of schema {built[:12]} here, the run has"
            f" {expected[:12]}; give it the files of model and tokenizer that the run began"
            " with, install the same software, or correct `learner`"
        )
