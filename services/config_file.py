"""One YAML file and the environment into one settings model; what is wrong is named with its fix.

A variable `CROSSCLOUD_<PROCESS>__<FIELD>[__<FIELD>]` overrides the file:
CROSSCLOUD_WORKER__TLS__KEY sets `tls.key` of a worker. Lists and mappings are written as YAML or
JSON. The double underscore keeps our names apart from those that Kubernetes makes up for services.

It refuses unknown keys, in the file and in the environment: a misspelt setting that is silently
ignored is the worst kind.
"""

import dataclasses
import os
import types
import typing
from collections.abc import Mapping
from difflib import get_close_matches
from pathlib import Path
from typing import Any, Final, TypeVar

import yaml
from pydantic import BaseModel, SecretStr, ValidationError
from pydantic_core import ErrorDetails

from common.errors import ConfigError

S = TypeVar("S", bound=BaseModel)

_PREFIX: Final = "CROSSCLOUD"
NOT_YAML: Final = (yaml.YAMLError, ValueError, RecursionError)
"""What PyYAML raises: also for a month 13, and where it is nested too deep."""
_UNKNOWN: Final = ("extra_forbidden", "unexpected_keyword_argument")


def load(kind: type[S], path: Path, process: str, environ: Mapping[str, str] | None = None) -> S:
    """Read `path`, apply the environment, check.

    Args:
        process: the word in the names of variables: "worker" for CROSSCLOUD_WORKER__...
        environ: the environment; None = this process's.

    Raises:
        ConfigError: the first problem, naming file, field, value and fix.
    """
    raw = read_mapping(path)
    origins = _override(raw, process, os.environ if environ is None else environ)
    return check(kind, raw, path, origins)


def check(kind: type[S], raw: Mapping[str, Any], path: Path, origins: Mapping[str, str]) -> S:
    """Turn what was read into settings.

    Args:
        path: of the file.
        origins: by dotted path of a field, what set it in the file's place.

    Raises:
        ConfigError: as `load`.
    """
    try:
        return kind.model_validate(raw, context={"folder": path.resolve().parent})
    except ValidationError as e:
        problems = e.errors(include_url=False)
        more = f" ({len(problems) - 1} more problems)" if len(problems) > 1 else ""
        raise ConfigError(_sentence(kind, problems[0], path, origins) + more) from None


def read_mapping(path: Path) -> dict[str, Any]:
    """Return the mapping in a YAML file.

    Raises:
        ConfigError: the file is missing, not YAML, or not a mapping.
    """
    try:
        raw = yaml.safe_load(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ConfigError(f"{path}: no such file; give the path of a settings file") from None
    except OSError as e:
        raise ConfigError(f"{path}: cannot be read: {e.strerror}") from None
    except NOT_YAML as e:
        raise ConfigError(f"{path}: not YAML: {' '.join(str(e).split())}") from None
    if raw is None:
        return {}
    if not isinstance(raw, dict) or not all(isinstance(key, str) for key in raw):
        raise ConfigError(f"{path}: expected `key: value` lines, got {type(raw).__name__}")
    return raw


def _override(raw: dict[str, Any], process: str, environ: Mapping[str, str]) -> dict[str, str]:
    """Write the variables' values into `raw`; return the variable's name by dotted path."""
    prefix = f"{_PREFIX}_{process.upper()}__"
    origins = {}
    for variable in sorted(name for name in environ if name.startswith(prefix)):
        *parents, leaf = variable.removeprefix(prefix).lower().split("__")
        place = raw
        for name in parents:
            place = place.setdefault(name, {})
            if not isinstance(place, dict):
                raise ConfigError(f"{variable}: {name!r} is not a group of settings in the file")
        place[leaf] = _value(variable, environ[variable])
        origins[".".join((*parents, leaf))] = variable
    return origins


def _value(variable: str, text: str) -> Any:
    if not text.lstrip().startswith(("[", "{")):
        return text  # numbers and booleans are recognised by the field's type
    try:
        return yaml.safe_load(text)
    except NOT_YAML as e:
        raise ConfigError(f"{variable}: not YAML: {' '.join(str(e).split())}") from None


def _sentence(
    kind: type[BaseModel], problem: ErrorDetails, path: Path, origins: Mapping[str, str]
) -> str:
    where = ".".join(str(part) for part in problem["loc"])
    source = f"{origins[where]} ({where})" if where in origins else f"{path}: {where or 'settings'}"
    parent, name = (
        _fields(kind, problem["loc"][:-1]),
        str(problem["loc"][-1:] and problem["loc"][-1]),
    )
    if problem["type"] in _UNKNOWN:
        close = get_close_matches(name, parent, 1)
        hint = f"did you mean {close[0]!r}? " if close else ""
        return f"{source}: unknown key; {hint}known: {', '.join(sorted(parent))}"
    about = f" ({parent[name][1]})" if parent.get(name, ("", ""))[1] else ""
    if problem["type"] == "missing":
        return f"{source}: missing; add it{about}"
    message = str(problem["ctx"]["error"]) if problem["type"] == "value_error" else problem["msg"]
    message = message[:1].lower() + message[1:]
    if problem["type"] == "value_error" and isinstance(problem["input"], dict):
        return f"{source}: {message}"
    value = "***" if _is_secret(parent.get(name, ("", ""))[0]) else repr(problem["input"])[:80]
    return f"{source}: {value}: {message}{about}"


def _fields(kind: Any, loc: tuple[int | str, ...]) -> dict[str, tuple[Any, str]]:
    """Return name -> (type, description) of the fields at `loc`; empty where it has none."""
    if isinstance(kind, type) and issubclass(kind, BaseModel):
        found = {n: (f.annotation, f.description or "") for n, f in kind.model_fields.items()}
    elif dataclasses.is_dataclass(kind):
        hints = typing.get_type_hints(kind)
        found = {f.name: (hints[f.name], "") for f in dataclasses.fields(kind)}
    else:
        found = {}
    if not loc:
        return found
    return _fields(_plain(found.get(str(loc[0]), (None, ""))[0]), loc[1:])


def _plain(annotation: Any) -> Any:
    """Return X of `X | None`."""
    if typing.get_origin(annotation) in (typing.Union, types.UnionType):
        return next(a for a in typing.get_args(annotation) if a is not type(None))
    return annotation


def _is_secret(annotation: Any) -> bool:
    return _plain(annotation) is SecretStr
