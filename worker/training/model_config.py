"""Makes of a model's configuration, as a run writes it, the one that transformers builds from.

transformers keeps a key that it does not know, and builds with the default in its place; what it
says of a wrong value is a traceback. So every key is looked up in the family's own, and every value
compared with the default's kind.
"""

import inspect
from collections.abc import Iterator, Mapping
from difflib import get_close_matches
from typing import Any, Final

from transformers import CONFIG_MAPPING, AutoConfig, PretrainedConfig
from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES

from common.canonical import Json
from common.errors import ConfigError
from worker.training.learner_settings import is_number

_OF_EVERY_FAMILY: Final = frozenset(
    (
        "_name_or_path",
        "architectures",
        "attn_implementation",
        "dtype",
        "model_type",
        "output_attentions",
        "output_hidden_states",
        "torch_dtype",
        "transformers_version",
    )
)
_OF_ROTARY: Final = frozenset(("rope_theta", "rope_scaling", "partial_rotary_factor"))
"""What was before `rope_parameters`; transformers still takes it."""
CAUSAL: Final = "choose a causal family, such as llama, qwen3 or gpt2"
_SHARES: Final = ("dropout", "pdrop", "_drop")
_POSITIONS: Final = ("max_position_embeddings", "max_seq_len", "max_target_positions")
"""How families call the most positions; their other names, `n_positions` say, lead to the first."""
_SIZES: Final = (
    "_size",
    "_dim",
    "_layers",
    "_heads",
    "_embeddings",
    "_positions",
    "_layer",
    "_head",
)


def config_of(values: Mapping[str, Json], ours: Mapping[str, Json]) -> PretrainedConfig:
    """Return the configuration that `values` describe; `model_type` is the family.

    Args:
        ours: defaults that go before the family's own, where it has such keys.

    Raises:
        ConfigError: no such family, a key that it does not have, or a value of another kind.
    """
    where, family = "settings.model", str(values["model_type"])
    if family not in CONFIG_MAPPING:
        close = get_close_matches(family, list(CONFIG_MAPPING), 1)
        hint = f"did you mean {close[0]!r}? " if close else ""
        raise ConfigError(
            f"{where}.model_type: {family!r}: the installed transformers knows no such model; "
            f"{hint}{CAUSAL}"
        )
    if family not in MODEL_FOR_CAUSAL_LM_MAPPING_NAMES:
        raise ConfigError(f"{where}.model_type: a {family!r} does not write text: {CAUSAL}")
    kind = CONFIG_MAPPING[family]
    own = {name: value for name, value in ours.items() if name in _known(kind)}
    meant = _meant(kind, {**own, **values}, where)
    try:
        made: PretrainedConfig = AutoConfig.for_model(**meant)
    except Exception as e:  # whatever a family makes of its values: the sentence is ours
        raise ConfigError(f"{where}: {first_line(e)}; correct the value") from None
    return made


def refuse_longer(sequence: int, config: PretrainedConfig) -> None:
    """Let sequences pass that the model has positions for; where it has no such number, any length.

    Rotary models compute on beyond it, and what is exported would still say the smaller number. A
    sliding window is no such number: it is meant to be shorter.

    Raises:
        ConfigError: a sequence is longer; names both, and the fix.
    """
    text = config.get_text_config()
    for name in _POSITIONS:
        most: Any = getattr(text, name, None)
        if is_number(most) and 0 < most < sequence:
            key = text.attribute_map.get(name, name)
            raise ConfigError(
                f"settings.sequence: {sequence} tokens, and the model has positions for {most} "
                f"({key}): set it to {int(most)} or less, or {key} of the model to {sequence}"
            )


def first_line(e: Exception) -> str:
    """Return what a library said, in one line."""
    said = " ".join(str(e).split())[:300]
    return f"transformers knows no {said}" if isinstance(e, KeyError) else said or type(e).__name__


def _meant(kind: type[PretrainedConfig], values: Mapping[str, Json], where: str) -> dict[str, Any]:
    defaults, known = dict(_defaults(kind)), _known(kind)
    meant = {}
    for name, value in values.items():
        if name not in known:
            close = get_close_matches(name, sorted(known), 1)
            hint = f"did you mean {close[0]!r}?" if close else "delete it"
            raise ConfigError(
                f"{where}.{name}: a {kind.model_type} has no such key, and its default would stand "
                f"in its place: {hint}"
            )
        default = defaults.get(kind.attribute_map.get(name, name))
        inner = getattr(kind, "sub_configs", {}).get(name)
        if isinstance(value, dict) and inner not in (None, AutoConfig):
            meant[name] = _meant(inner, value, f"{where}.{name}")
        else:
            meant[name] = _value(name, value, default, f"{where}.{name}")
    return meant


def _known(kind: type[PretrainedConfig]) -> set[str]:
    known = {*_OF_EVERY_FAMILY, *dict(_defaults(kind)), *kind.attribute_map}
    return known | _OF_ROTARY if known & {"rope_parameters", "rope_theta"} else known


def _value(name: str, value: Json, default: object, where: str) -> Any:
    shown = repr(value)[:60]
    if isinstance(default, bool):
        if not isinstance(value, bool):
            raise ConfigError(f"{where}: {shown}: expected true or false")
    elif isinstance(default, int | float):
        if value is not None and not is_number(value):
            raise ConfigError(f"{where}: {shown}: expected a number")
        if any(word in name for word in _SHARES) and value is not None and not 0 <= value < 1:
            raise ConfigError(f"{where}: {shown}: expected a number, 0 or above and below 1")
        is_size = isinstance(default, int) and default > 0 and name.endswith(_SIZES)
        if is_size and (not value or value < 1 or value != int(value)):
            raise ConfigError(f"{where}: {shown}: expected a whole number, at least 1")
        if isinstance(value, float) and isinstance(default, int) and value.is_integer():
            return int(value)
        if isinstance(value, int) and isinstance(default, float):
            return float(value)
    elif isinstance(default, str) and not isinstance(value, str):
        raise ConfigError(f"{where}: {shown}: expected a word, such as {default!r}")
    return value


def _defaults(kind: type[PretrainedConfig]) -> Iterator[tuple[str, object]]:
    """Yield the family's own keys, and their defaults, whichever way its class declares them."""
    for each in reversed(kind.__mro__):
        if "__init__" in vars(each) and issubclass(each, PretrainedConfig):
            for name, parameter in inspect.signature(each).parameters.items():
                if parameter.kind is not inspect.Parameter.VAR_KEYWORD and name != "self":
                    yield name, parameter.default
