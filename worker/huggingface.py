"""The built-in learner: a Hugging Face causal language model, trained with AdamW.

`settings` of the run:
    model: a configuration (`{"model_type": "llama", ...}`), initialised from the run's seed; or a
        local folder or Hugging Face id, whose weights are the first version.
    tokenizer: "bytes", a local folder or an id; the default is the model's own, and "bytes" where
        the model is a configuration.
    batch, sequence: sequences per step, tokens per sequence (default 12, 128).
    betas, weight_decay, clip: of AdamW (default [0.9, 0.95], 0.1, 1.0; decay spares vectors).
    compute: "float32" (default) or "bfloat16"; parameters are float32 always.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final, cast

import numpy.typing as npt
import torch
from torch.nn import functional
from transformers import AutoConfig, AutoModelForCausalLM, PretrainedConfig, PreTrainedModel
from typing_extensions import override

from common.canonical import Json
from common.errors import ConfigError
from common.schema import ModelSchema, TensorSpec
from worker.causality import refuse_unless_causal
from worker.data import END_OF_DOCUMENT, I64, TextData
from worker.learner import Learner, LearnerContext, State, Step, Tensor, Validation, as_numpy
from worker.learner_settings import check_data, checked
from worker.model_config import config_of, first_line
from worker.tokenizer import BYTES, encoder, save_tokenizer

_OF_BYTES: Final[dict[str, Json]] = {
    "vocab_size": 256,
    "bos_token_id": None,
    "eos_token_id": END_OF_DOCUMENT,
}
_VALIDATION_BATCH: Final = 32


def build(context: LearnerContext) -> Learner:
    """Build the learner; the entry point that a run names."""
    return HuggingFaceLearner(context)


def outline(settings: Mapping[str, Json]) -> ModelSchema:
    """Return the layout of the learner's model, its constants left out, without building it.

    It takes no memory for values: of a model that is named, only the configuration is read.

    Raises:
        ConfigError: as `build`.
    """
    known = checked(settings)
    source = known.get("model")
    if isinstance(source, str):
        source = _named_config(source)
    with torch.device("meta"):
        model = _model(source, 0, known["tokenizer"])
    buffers = {n: b for n, b in _saved_buffers(model).items() if b.is_floating_point()}
    trained = ((n, p) for n, p in model.named_parameters() if p.requires_grad)
    return ModelSchema(
        parameters=tuple(TensorSpec(n, tuple(p.shape)) for n, p in trained),
        buffers=tuple(TensorSpec(n, tuple(b.shape)) for n, b in buffers.items()),
    )


def _saved_buffers(model: PreTrainedModel) -> dict[str, torch.Tensor]:
    saved = model.state_dict().keys()
    return {n: b for n, b in model.named_buffers() if n in saved}


class HuggingFaceLearner(Learner):
    """A causal language model and its AdamW."""

    def __init__(self, context: LearnerContext) -> None:
        settings = checked(context.settings)
        check_data(context.data or {})
        torch.set_num_threads(context.num_threads)
        self._device = _device(context.device)
        self._tokenizer: str = settings["tokenizer"]
        self._clip: float = settings["clip"]
        self._bfloat16: bool = settings["compute"] == "bfloat16"
        self._model = _model(settings.get("model"), context.seed, self._tokenizer)
        torch.nn.Module.to(self._model, self._device)
        if context.data is None:  # before it is pinned
            refuse_unless_causal(self._model)
        self._data = TextData(
            context.data,
            encoder(self._tokenizer),
            batch=settings["batch"],
            sequence=settings["sequence"],
            seed=context.seed,
            name=context.name,
            order=context.order,
        )
        self._parameters = {n: p for n, p in self._model.named_parameters() if p.requires_grad}
        matrices = [p for p in self._parameters.values() if p.dim() >= 2]
        vectors = [p for p in self._parameters.values() if p.dim() < 2]
        self._optimizer = torch.optim.AdamW(
            [
                {"params": matrices, "weight_decay": settings["weight_decay"]},
                {"params": vectors, "weight_decay": 0.0},
            ],
            betas=tuple(settings["betas"]),
            fused=True,
        )
        torch.manual_seed(int.from_bytes(f"{context.seed}/{context.name}".encode()) % 2**63)

    @override
    def parameters(self) -> Mapping[str, Tensor]:
        """Return what requires gradients; `named_parameters` gives tied weights once."""
        return self._parameters

    @override
    def buffers(self) -> Mapping[str, Tensor]:
        """Return the float buffers that a saved model holds; others are computed constants."""
        return {n: b for n, b in self._saved_buffers().items() if b.is_floating_point()}

    @override
    def constants(self) -> Mapping[str, Tensor]:
        """Return the integer buffers that a saved model holds."""
        return {n: b for n, b in self._saved_buffers().items() if not b.is_floating_point()}

    def _saved_buffers(self) -> dict[str, torch.Tensor]:
        return _saved_buffers(self._model)

    @override
    def train(self, lr: float) -> Step:
        """Take one AdamW step on the next batch."""
        windows = self._data.batches().take()
        self._model.train()
        logits, targets = self._predict(windows)
        loss = functional.cross_entropy(logits, targets)
        self._optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(self._parameters.values(), self._clip)
        for group in self._optimizer.param_groups:
            group["lr"] = lr
        self._optimizer.step()
        return Step(loss=loss.item(), tokens=targets.numel(), samples=len(windows))

    @override
    @torch.no_grad()
    def evaluate(self) -> Validation:
        """Predict every next token of the validation windows."""
        self._model.train(mode=False)
        windows = self._data.windows()
        loss, right, tokens = 0.0, 0, 0
        for start in range(0, len(windows), _VALIDATION_BATCH):
            logits, targets = self._predict(windows[start : start + _VALIDATION_BATCH])
            loss += functional.cross_entropy(logits, targets, reduction="sum").item()
            right += int((logits.argmax(-1) == targets).sum().item())
            tokens += targets.numel()
        return Validation(loss=loss / tokens, accuracy=right / tokens, tokens=tokens)

    def _predict(self, windows: I64) -> tuple[torch.Tensor, torch.Tensor]:
        """Return logits float32[batch * sequence, vocabulary] and targets int64[batch * sequence].

        Args:
            windows: int64[batch, sequence + 1]
        """
        ids = torch.from_numpy(windows).to(self._device)
        with torch.autocast(self._device.type, torch.bfloat16, enabled=self._bfloat16):
            logits = self._model(input_ids=ids[:, :-1], use_cache=False).logits
        return logits.float().flatten(0, 1), ids[:, 1:].flatten()

    @override
    def state(self) -> State:
        """Return AdamW's moments by parameter, torch's random state and the data cursor."""
        arrays: dict[str, npt.NDArray[Any]] = {"random.cpu": torch.get_rng_state().numpy()}
        if self._device.type == "cuda":
            arrays["random.cuda"] = torch.cuda.get_rng_state(self._device).numpy()
        for name, parameter in self._parameters.items():
            for key, value in self._optimizer.state.get(parameter, {}).items():
                arrays[f"adamw.{key}.{name}"] = as_numpy(value)
        arrays.update((f"cursor.{k}", v) for k, v in self._data.batches().state().items())
        return arrays

    @override
    def load_state(self, state: State) -> None:
        """Go on where `state` was taken; random state of another kind of device is left out."""
        torch.set_rng_state(torch.from_numpy(state["random.cpu"]))
        if self._device.type == "cuda" and "random.cuda" in state:
            torch.cuda.set_rng_state(torch.from_numpy(state["random.cuda"]), self._device)
        self._optimizer.state.clear()
        for name, parameter in self._parameters.items():
            moments = {
                key: torch.tensor(state[f"adamw.{key}.{name}"], device=self._device)
                for key in ("step", "exp_avg", "exp_avg_sq")
                if f"adamw.{key}.{name}" in state
            }
            if moments:
                self._optimizer.state[parameter] = moments
        self._data.batches().load_state(
            {k.removeprefix("cursor."): v for k, v in state.items() if k.startswith("cursor.")}
        )

    @override
    def export(self, folder: Path) -> None:
        """Write a folder that `AutoModelForCausalLM` and `AutoTokenizer` load."""
        self._model.save_pretrained(folder)
        save_tokenizer(self._tokenizer, folder)


def _device(name: str) -> torch.device:
    try:
        device = torch.device(name)
        torch.empty(1, device=device)
    except (RuntimeError, AssertionError) as e:
        raise ConfigError(
            f"device: {name!r} cannot be used: {str(e).splitlines()[0]}; try 'cpu'"
        ) from None
    return device


def _model(source: Json | PretrainedConfig, seed: int, tokenizer: str) -> PreTrainedModel:
    match source:
        case str():
            return _pretrained(source)
        case PretrainedConfig():
            return _made(source, seed)
        case {"model_type": str()}:
            of_bytes = _OF_BYTES if tokenizer == BYTES else {}
            return _made(config_of(source, of_bytes), seed)
        case _:
            raise ConfigError(
                "settings.model: give a configuration with 'model_type', a local folder or a"
                " Hugging Face id"
            )


def _made(config: PretrainedConfig, seed: int) -> PreTrainedModel:
    try:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            made = AutoModelForCausalLM.from_config(  # type: ignore[no-untyped-call]
                config, dtype=torch.float32
            )
    except Exception as e:  # whatever a family makes of its values: the sentence is ours
        raise ConfigError(f"settings.model: {first_line(e)}; correct the value") from None
    return cast("PreTrainedModel", made)


def _named_config(name: str) -> PretrainedConfig:
    try:
        return cast("PretrainedConfig", AutoConfig.from_pretrained(name))
    except Exception as e:  # of a file that people bring, too
        raise _no_model(name, e) from None


def _pretrained(name: str) -> PreTrainedModel:
    try:
        return cast(
            "PreTrainedModel", AutoModelForCausalLM.from_pretrained(name, dtype=torch.float32)
        )
    except (OSError, ValueError) as e:
        raise _no_model(name, e) from None


def _no_model(name: str, e: Exception) -> ConfigError:
    return ConfigError(
        f"settings.model: {name!r} cannot be loaded: {first_line(e)}; give a local folder, or an id"
        " that is in the cache or can be downloaded"
    )
