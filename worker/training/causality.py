"""Checks that a model does not see the tokens that it has to predict: it would learn nothing.

transformers builds a model for the next token of some families (BERT's, say) that looks both ways.
No configuration tells which do. So the model is asked: what it says of the first tokens must be the
same, whatever comes after them.
"""

from typing import Final

import torch
from transformers import PreTrainedModel

from common.errors import ConfigError
from worker.training.model_config import CAUSAL, first_line

_SAME: Final = 1e-5
"""Of the largest score. Causal models give the very same bits here; of fourteen families that look
both ways, each with one layer of 16 values, the smallest difference was 8e-5."""


@torch.no_grad()
def refuse_unless_causal(model: PreTrainedModel) -> None:
    """Let a model pass whose scores do not depend on later tokens.

    Raises:
        ConfigError: it looks ahead, or cannot take a step.
    """
    device = next(model.parameters()).device
    windows = ([1, 2, 1, 1], [1, 2, 1, 2])
    was_training = model.training
    model.train(mode=False)
    try:
        first, second = (
            model(input_ids=torch.tensor([ids], device=device), use_cache=False).logits[0, :-1]
            for ids in windows
        )
    except Exception as e:  # whatever the model makes of its first tokens: the sentence is ours
        raise ConfigError(f"settings.model: it cannot take a step: {first_line(e)}") from None
    finally:
        model.train(mode=was_training)
    if (first - second).abs().max() > _SAME * first.abs().max():
        family = model.config.model_type
        fix = "set is_decoder: true, or " if hasattr(model.config, "is_decoder") else ""
        raise ConfigError(
            f"settings.model: this {family!r} sees the tokens that it has to predict, so it would "
            f"learn nothing: {fix}{CAUSAL}"
        )
