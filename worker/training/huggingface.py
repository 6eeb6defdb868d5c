"""The built-in learner: a Hugging Face causal language model, trained with AdamW.

`settings` of the run:
    model: a configuration (`{"model_type": "llama", ...}`), initialised from the run's seed; or a
        local folder or Hugging Face id, whose weights are the first version. A folder begins with
        ./, ../, / or ~; a relative one is beside the file that names it: run.yaml, later
        genesis.json.
    tokenizer: "bytes", a local folder or an id; the default is the model's own, and "bytes" where
        the model is a configuration.
    batch, sequence: sequences per step, tokens per sequence (default 12, 128).
    betas, weight_decay, clip: of AdamW (default [0.9, 0.95], 0.1, 1.0; decay spares vectors).
    compute: "float32" (default) or "bfloat16"; parameters are float32 always.
"""

import math
import re
from collections.abc import Iterator, Mapping, Sequence
from hashlib import sha256
from pathlib import Path
from typing import Any, Final, cast

import numpy as np
import numpy.typing as npt
import torch
from torch.nn import functional
from transformers import AutoConfig, AutoModelForCausalLM, PretrainedConfig, PreTrainedModel
from typing_extensions import override

from common.canonical import Json
from common.errors import ConfigError
from common.foreign import boundary
from common.schema import ModelSchema, TensorSpec
from worker.training.causality import refuse_unless_causal
from worker.training.data import I64, TextData
from worker.training.encoder import END_OF_DOCUMENT
from worker.training.learner import (
    PINNING,
    Learner,
    LearnerContext,
    State,
    Step,
    Tensor,
    Validation,
    as_numpy,
)
from worker.training.learner_settings import check_data, settings_of
from worker.training.model_config import config_of, refuse_longer
from worker.training.named import GIVE, named, refuse_packed, refuse_unless_whole, without_bars
from worker.training.tokenizer import BYTES, PINNED, encoder, save_tokenizer

_OF_BYTES: Final[dict[str, Json]] = {
    "vocab_size": 256,
    "bos_token_id": None,
    "eos_token_id": END_OF_DOCUMENT,
}
_SIZES: Final = (
    "hidden_size",
    "num_attention_heads",
    "num_key_value_heads",
    "head_dim",
    "max_position_embeddings",
)
_SLICE_BYTES: Final = 2**24
"""Of logits whose loss is taken at once, where no gradient needs them all."""


def build(context: LearnerContext) -> Learner:
    """Build the learner; the entry point that a run names."""
    return HuggingFaceLearner(context)


def outline(settings: Mapping[str, Json], folders: Mapping[str, str] | None = None) -> ModelSchema:
    """Return the layout of the learner's model, its constants left out, without building it.

    It takes no memory for values: of a model that is named, only the configuration is read.

    Args:
        folders: as `LearnerContext` has them.

    Raises:
        ConfigError: as `build`.
    """
    known = settings_of(LearnerContext(settings, None, 0, "outline", folders=folders or {}))
    source = known.get("model")
    if isinstance(source, str):
        source = _named_config(source)
    with torch.device("meta"):
        model = _model(source, 0, known["tokenizer"])
    refuse_longer(known["sequence"], model.config)
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
        settings = settings_of(context)
        check_data(context.data or {})
        torch.set_num_threads(context.num_threads)
        self._device = _device(context.device)
        self._tokenizer: str = settings["tokenizer"]
        self._clip: float = settings["clip"]
        self._bfloat16: bool = settings["compute"] == "bfloat16"
        self._sequence: int = settings["sequence"]
        self._batch: int = settings["batch"]
        self._model = _model(settings.get("model"), context.seed, self._tokenizer)
        reads = encoder(self._tokenizer)
        self._num_tokens = reads.num_tokens
        self._tokenizer_is = reads.fingerprint
        _check_vocabulary(self._model, self._num_tokens)
        with boundary("device", f"{context.device!r} cannot hold the model", "choose a larger one"):
            torch.nn.Module.to(self._model, self._device)
        if context.data is None and context.name == PINNING:
            refuse_longer(self._sequence, self._model.config)
            refuse_unless_causal(self._model)
        self._data = TextData(
            context.data,
            reads,
            batch=settings["batch"],
            sequence=settings["sequence"],
            seed=context.seed,
            name=context.name,
            order=context.order,
            folder=context.folder,
        )
        self._parameters = {n: p for n, p in self._model.named_parameters() if p.requires_grad}
        matrices = [p for p in self._parameters.values() if p.dim() >= 2]
        vectors = [p for p in self._parameters.values() if p.dim() < 2]
        with boundary("settings.betas, settings.weight_decay", "AdamW does not take them"):
            self._optimizer = torch.optim.AdamW(
                [
                    {"params": matrices, "weight_decay": settings["weight_decay"]},
                    {"params": vectors, "weight_decay": 0.0},
                ],
                betas=tuple(settings["betas"]),
                fused=True,
            )
        torch.manual_seed(_random_seed(context.seed, context.order, context.name))

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
        """Return the integer buffers that a saved model holds, and what the tokenizer does."""
        whole = {n: b for n, b in self._saved_buffers().items() if not b.is_floating_point()}
        if not self._tokenizer_is:  # of bytes: there is but one
            return whole
        return {**whole, PINNED: np.frombuffer(self._tokenizer_is, np.uint8)}

    def _saved_buffers(self) -> dict[str, torch.Tensor]:
        return _saved_buffers(self._model)

    @override
    def remarks(self) -> Sequence[str]:
        """Return what was read of its data, and what was left out."""
        return self._data.remarks

    @override
    def rehearse(self) -> Step:
        """Go one window forward and backward: ids from the first to the last of the tokenizer."""
        window = np.linspace(0, self._num_tokens - 1, self._sequence + 1).astype(np.int64)
        before = {n: b.clone() for n, b in self._saved_buffers().items()}
        with boundary("settings", "one step forward and backward fails", self._to_compare()):
            loss = self._backward(window[None])
        self._optimizer.zero_grad()
        for name, buffer in self._saved_buffers().items():
            buffer.copy_(before[name])
        if not math.isfinite(loss):
            raise ConfigError(
                f"settings: the loss of one window is {loss} with the initial parameters: correct"
                " settings.model"
            )
        return Step(loss=loss, tokens=self._sequence, samples=1)

    def _to_compare(self) -> str:
        """Return the sizes that have to fit together."""
        config = self._model.config.get_text_config()
        found = [f"{n} {v}" for n in _SIZES if (v := getattr(config, n, None)) is not None]
        return (
            f"correct settings.model or settings.sequence: sequence {self._sequence}, "
            f"{', '.join(found)}"
        )

    @override
    def train(self, lr: float) -> Step:
        """Take one AdamW step on the next batch."""
        windows = self._data.batches().take()
        loss = self._backward(windows)
        for group in self._optimizer.param_groups:
            group["lr"] = lr
        self._optimizer.step()
        return Step(loss=loss, tokens=len(windows) * self._sequence, samples=len(windows))

    def _backward(self, windows: I64) -> float:
        """Leave the clipped gradient of the windows' mean loss, int64[batch, sequence + 1]."""
        self._model.train()
        logits, targets = self._predict(windows)
        loss = functional.cross_entropy(logits.float(), targets)
        self._optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(self._parameters.values(), self._clip)
        return loss.item()

    @override
    @torch.no_grad()
    def evaluate(self) -> Validation:
        """Predict every next token of the validation windows, no more at once than in training."""
        self._model.train(mode=False)
        windows = self._data.windows()
        loss, right, tokens = 0.0, 0, 0
        for start in range(0, len(windows), self._batch):
            logits, targets = self._predict(windows[start : start + self._batch])
            for some, wanted in _sliced(logits, targets):
                scores = some.float()
                loss += functional.cross_entropy(scores, wanted, reduction="sum").item()
                right += int((scores.argmax(-1) == wanted).sum().item())
            tokens += targets.numel()
        return Validation(loss=loss / tokens, accuracy=right / tokens, tokens=tokens)

    def _predict(self, windows: I64) -> tuple[torch.Tensor, torch.Tensor]:
        """Return logits [batch * sequence, vocabulary] and targets int64[batch * sequence].

        Args:
            windows: int64[batch, sequence + 1]
        """
        ids = torch.from_numpy(windows).to(self._device)
        with torch.autocast(self._device.type, torch.bfloat16, enabled=self._bfloat16):
            logits = self._model(input_ids=ids[:, :-1], use_cache=False).logits
        return logits.flatten(0, 1), ids[:, 1:].flatten()

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
        with without_bars():
            self._model.save_pretrained(folder)
        save_tokenizer(self._tokenizer, folder)


def _sliced(
    logits: torch.Tensor, targets: torch.Tensor
) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    rows = max(1, _SLICE_BYTES // (4 * logits.shape[-1]))
    return zip(torch.split(logits, rows), torch.split(targets, rows), strict=True)


def _random_seed(seed: int, order: int, name: str) -> int:
    """Return the seed of dropout: another one for each worker, and for each of its beginnings.

    It is a hash, because torch's generator looks at the lowest 32 bits alone.
    """
    return int.from_bytes(sha256(f"dropout/{seed}/{order}/{name}".encode()).digest()[:8])


def _device(name: str) -> torch.device:
    with boundary("device", f"{name!r} cannot be used", "try 'cpu'"):
        device = torch.device(name)
        torch.empty(1, device=device)
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
    with (
        boundary("settings.model", "no model can be built of it", "correct the value"),
        torch.random.fork_rng(devices=[]),
    ):
        torch.manual_seed(seed)
        made = AutoModelForCausalLM.from_config(  # type: ignore[no-untyped-call]
            config, dtype=torch.float32
        )
    return cast("PreTrainedModel", made)


def _named_config(name: str) -> PretrainedConfig:
    with named("settings.model", name, "*.json", GIVE) as options:
        refuse_unless_whole("settings.model", name, options, weights=False)
        found = AutoConfig.from_pretrained(name, trust_remote_code=False, **options)
    return cast("PretrainedConfig", found)


def _pretrained(name: str) -> PreTrainedModel:
    with named("settings.model", name, "*.*", GIVE) as options:
        refuse_unless_whole("settings.model", name, options, weights=True)
        model, found = cast(
            "tuple[PreTrainedModel, dict[str, Any]]",
            AutoModelForCausalLM.from_pretrained(
                name,
                trust_remote_code=False,
                dtype=torch.float32,
                output_loading_info=True,
                ignore_mismatched_sizes=True,  # `found` says which, and we refuse them
                **options,
            ),
        )
        refuse_packed("settings.model", name, [n for n, _ in model.named_parameters()])
    _check_weights(name, model, found)
    return model


def _check_weights(name: str, model: PreTrainedModel, found: Mapping[str, Any]) -> None:
    """Refuse weights that are not those of the configuration beside them.

    Without one, transformers draws it anew, in each process another; one too many of the kind that
    the model has is of a layer that the configuration left out. Others (of another head, say) pass.
    """
    numbered = re.compile(r"\d+")
    kinds = {numbered.sub("#", n) for n in model.state_dict()}
    extra = [n for n in found["unexpected_keys"] if numbered.sub("#", n) in kinds]
    sizes = [key[0] for key in found["mismatched_keys"]]
    for what, names in (
        ("have another size of", sizes),
        ("lack", found["missing_keys"]),
        ("have besides", extra),
    ):
        if names:
            first = sorted(names)[0]
            raise ConfigError(
                f"settings.model: {name!r}: its weights {what} {first!r} ({len(names)} in all):"
                " they do not fit its config.json; take both from one place"
            )


def _check_vocabulary(model: PreTrainedModel, num_tokens: int) -> None:
    size = cast("torch.Tensor", model.get_input_embeddings().weight).shape[0]
    if size < num_tokens:
        raise ConfigError(
            f"settings.model.vocab_size: {size}, and the tokenizer has {num_tokens} tokens: set it"
            f" to {num_tokens} or more, or choose the tokenizer of this model"
        )
