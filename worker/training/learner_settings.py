"""What the built-in learner's settings may be: names, types, ranges. See `huggingface.py`.

It refuses what would be accepted and do something else than it says: a clip of 0 lets nothing be
learnt, one below 0 turns every step around.
"""

import math
from collections.abc import Mapping
from difflib import get_close_matches
from pathlib import Path
from typing import Any, Final

from common.canonical import Json
from common.errors import ConfigError
from common.foreign import boundary
from common.text import nested
from worker.training.learner import LearnerContext
from worker.training.named import GIVE
from worker.training.tokenizer import BYTES

_DEFAULTS: Final[Mapping[str, Json]] = {
    "tokenizer": BYTES,
    "batch": 12,
    "sequence": 128,
    "betas": [0.9, 0.95],
    "weight_decay": 0.1,
    "clip": 1.0,
    "compute": "float32",
}
_COMPUTE: Final = ("float32", "bfloat16")
_ALIKE: Final = 0.8
"""Share of letters from which on a name counts as a misspelling."""
_DATA: Final = ("train", "validation", "text_field", "validation_tokens")


def checked(settings: Mapping[str, Json]) -> dict[str, Any]:
    """Return the run's settings, the defaults among them. A model that is named has a tokenizer.

    Raises:
        ConfigError: a name is unknown, or a value is no good; names it, and what it may be.
    """
    known = ("model", *_DEFAULTS)
    for name in settings:
        if name not in known:
            raise ConfigError(f"settings.{name}: {unknown(name, known)}")
    model = settings.get("model")
    own = {"tokenizer": model} if isinstance(model, str) else {}
    s = {**_DEFAULTS, **own, **settings}
    if not isinstance(s["tokenizer"], str) or not s["tokenizer"]:
        raise _refusal("tokenizer", s, "'bytes', a local folder or an id")
    told = str(settings.get("tokenizer", BYTES))
    if told != BYTES and "/" not in told and get_close_matches(told.lower(), [BYTES], 1, _ALIKE):
        raise _refusal("tokenizer", s, "'bytes', a folder (./...) or an id; did you mean 'bytes'?")
    if s["compute"] not in _COMPUTE:
        raise _refusal("compute", s, " or ".join(_COMPUTE))
    return s | {
        "batch": _whole("batch", s),
        "sequence": _whole("sequence", s),
        "betas": _betas(s),
        "weight_decay": _number("weight_decay", s, "a number, 0 or above", s["weight_decay"] == 0),
        "clip": _number("clip", s, "a number above 0; a large one, 1e9 say, clips nothing"),
    }


def settings_of(context: LearnerContext) -> dict[str, Any]:
    """Return `checked` settings, in which model and tokenizer are ids or folders that are here.

    Raises:
        ConfigError: as `checked`, or a folder is not where it has to be.
    """
    found = checked(context.settings)
    for name in ("model", "tokenizer"):
        source = name if name in context.settings else "model"
        if isinstance(found.get(name), str):
            folder = context.folder("settings", source)
            found[name] = _found(f"settings.{source}", found[name], folder)
    return found


def _found(setting: str, name: str, folder: Path) -> str:
    """Return the local folder that a path means, absolute; or the name, which is an id.

    What a name is follows from the name alone. If it followed from what is here, one process would
    load its folder and the next ask the hub for an id of that name, which is anybody's.
    """
    if name == BYTES:
        return name
    with boundary(setting, f"{name!r} cannot be looked for", "correct it"):
        path = (folder / Path(name).expanduser()).absolute()
        is_there, is_here = path.is_dir(), Path(name).is_dir()
    is_path = name.startswith((".", "/", "~"))
    if is_path and is_there:
        return str(path)
    if is_there:
        raise ConfigError(
            f"{setting}: {name!r} would be an id of Hugging Face, and {path} is a folder: write"
            f" './{name}' if it is meant, or else move it away"
        )
    if is_path or is_here:
        is_relative = not name.startswith(("/", "~"))
        meant = "; a path is relative to the file that it stands in" * is_relative
        also = ": each process has the folder beside its genesis.json" * is_relative
        raise ConfigError(
            f"{setting}: {name!r} cannot be loaded: there is no folder {path}{meant}"
            + ", not to the working folder" * is_here
            + f"{also}; copy it there, or {GIVE}"
        )
    return name


def check_data(data: Mapping[str, Json]) -> None:
    """Let a process's data settings pass.

    Raises:
        ConfigError: a name is unknown, or a value is of another kind; names it.
    """
    for name in data:
        if name not in _DATA:
            raise ConfigError(f"data.{name}: {unknown(name, _DATA)}")
    tokens, text_field = data.get("validation_tokens", 0), data.get("text_field", "text")
    if not is_number(tokens) or tokens < 0 or tokens != int(tokens):
        raise ConfigError(
            f"data.validation_tokens: {tokens!r}: expected a whole number; 0 predicts all"
        )
    if not isinstance(text_field, str) or not text_field:
        raise ConfigError(f"data.text_field: {text_field!r}: expected a field's name")


def unknown(name: str, known: tuple[str, ...]) -> str:
    """Return the sentence about a name that is none of `known`."""
    if name in ("lr", "learning_rate"):
        return "unknown key; the learning rate is `algorithm: {schedule: {peak: ...}}`"
    if name.split(".")[0] in known:
        return f"unknown key; write `{nested(name)}`"
    close = get_close_matches(name, known, 1)
    hint = f"did you mean {close[0]!r}? " if close else ""
    return f"unknown key; {hint}known: {', '.join(known)}"


def is_number(value: Json) -> bool:
    """Return whether a value is a finite number; true and false are none."""
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _whole(name: str, s: Mapping[str, Any]) -> int:
    if not is_number(s[name]) or s[name] < 1 or s[name] != int(s[name]):
        raise _refusal(name, s, "a whole number, at least 1")
    return int(s[name])


def _number(name: str, s: Mapping[str, Any], what: str, may_be: bool = False) -> float:
    if not is_number(s[name]) or not (s[name] > 0 or may_be):
        raise _refusal(name, s, what)
    return float(s[name])


def _betas(s: Mapping[str, Any]) -> list[float]:
    betas = s["betas"]
    are_two = isinstance(betas, list | tuple) and len(betas) == 2
    if are_two and all(is_number(b) and 0 <= b < 1 for b in betas):
        return [float(b) for b in betas]
    raise _refusal("betas", s, "two numbers, each 0 or above and below 1, such as [0.9, 0.95]")


def _refusal(name: str, s: Mapping[str, Any], what: str) -> ConfigError:
    return ConfigError(f"settings.{name}: {repr(s[name])[:60]}: expected {what}")
