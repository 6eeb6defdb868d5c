"""Reads a YAML file and the environment into settings; what is wrong is named with its fix.

A variable `CROSSCLOUD_<PROCESS>__<FIELD>[__<FIELD>]` overrides the file:
CROSSCLOUD_WORKER__TLS__KEY sets `tls.key` of a worker. Lists and mappings are written as YAML or
JSON. The double underscore keeps our names apart from those that Kubernetes makes up for services.

A relative path is relative to the file that it stands in; one that a variable holds, to the folder
that the process is started in.

A field decides what a word in the file is: where text is wanted, `001`, `no` and `null` are names.
It refuses unknown keys, in the file and in the environment: a misspelt setting that is silently
ignored is the worst kind. No sentence repeats a password.
"""

import dataclasses
import os
import re
import types
import typing
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from difflib import get_close_matches
from pathlib import Path
from typing import Any, Final, Literal, TypeVar

from pydantic import BaseModel, SecretStr, ValidationError, ValidationInfo
from pydantic_core import ErrorDetails

from common.errors import ConfigError
from common.text import nested
from services.config import yaml_file
from services.config.file_kind import refuse_other
from services.config.secret_urls import masked
from services.config.yaml_file import Loc, Written

S = TypeVar("S", bound=BaseModel)

_PREFIX: Final = "CROSSCLOUD"
PROCESSES: Final = ("run", "coordinator", "worker", "evaluator", "operator")
"""The words in the names of variables."""
_KUBERNETES_VALUES: Final = ("tcp://", "udp://", "sctp://")
"""How the values begin that it makes up for a service called, say, crosscloud-worker-metrics."""
_KUBERNETES_NAMES: Final = re.compile(
    r".*_SERVICE_(HOST|PORT(_\w+)?)|.*_PORT_\d+_(TCP|UDP|SCTP)(_(ADDR|PORT|PROTO))?"
)
_ALIKE: Final = 0.8
"""Share of letters from which on one name counts as a misspelling of another."""
_UNKNOWN: Final = ("extra_forbidden", "unexpected_keyword_argument")
_DOTTED: Final = re.compile(r"([a-z_0-9]+(?:[.][\w-]+)*): ")
_TEXT: Final = (str, Path, SecretStr)


def load(kind: type[S], path: Path, process: str, environ: Mapping[str, str] | None = None) -> S:
    """Read `path`, apply the environment, check.

    Args:
        process: the word in the names of variables: "worker" for CROSSCLOUD_WORKER__...
        environ: the environment; None = this process's.

    Raises:
        ConfigError: all problems, each naming file, line, field, value and fix.
    """
    written = read_mapping(path)
    refuse_other(kind, process, written)
    environ = os.environ if environ is None else environ
    _refuse_near_misses(kind, process, environ)
    return check(kind, written, path, _override(kind, written, process, environ))


def overridden(kind: type[BaseModel], path: Path, process: str) -> dict[str, Any]:
    """Return what stands in the file and this process's environment, unchecked.

    Raises:
        ConfigError: the file cannot be read, or a variable fits nowhere.
    """
    written = read_mapping(path)
    _override(kind, written, process, os.environ)
    found: dict[str, Any] = written.value
    return found


def check(kind: type[S], written: Written, path: Path, origins: Mapping[str, str]) -> S:
    """Turn what was read into settings.

    Args:
        path: of the file.
        origins: by dotted path of a field, what set it in the file's place.

    Raises:
        ConfigError: as `load`.
    """
    try:
        meant = _meant(kind, written.value, (), written.texts)
        context = {"folder": path.resolve().parent, "origins": origins}
        return kind.model_validate(meant, context=context)
    except ValidationError as e:
        problems = sorted(e.errors(include_url=False), key=lambda p: p["type"] not in _UNKNOWN)
        told = (masked(_sentence(kind, problem, written, origins)) for problem in problems)
        raise ConfigError(*dict.fromkeys(told)) from None


def folders(info: ValidationInfo, *fields: str) -> dict[str, str]:
    """Return the folders of relative paths under fields whose content is not ours to know.

    Returns:
        By dotted name, the longest that fits counts: the file's folder, or the working folder where
        a variable was the source.
    """
    context = info.context or {}
    found = dict.fromkeys(fields, str(context.get("folder", Path.cwd())))
    for dotted in context.get("origins", {}):
        if dotted.split(".")[0] in fields:
            found[dotted] = str(Path.cwd())
    return found


def read_mapping(path: Path) -> Written:
    """Return the mapping in a YAML file.

    Raises:
        ConfigError: the file is missing, not YAML, or not a mapping.
    """
    try:
        written = yaml_file.read(path)
    except FileNotFoundError:
        raise ConfigError(f"{path}: no such file; give the path of a settings file") from None
    except OSError as e:
        raise ConfigError(f"{path}: cannot be read: {e.strerror}") from None
    if written.value is None:
        written.value = {}
    if not isinstance(written.value, dict):
        kind = type(written.value).__name__
        raise ConfigError(f"{path}:1: expected `key: value` lines, got {kind}")
    return written


@contextmanager
def placed(*paths: Path) -> Iterator[None]:
    """Let a complaint that begins with a setting's dotted path name file and line besides.

    Args:
        paths: where it may stand; what is no settings file is passed over.
    """
    try:
        yield
    except ConfigError as e:
        for path in paths:
            with suppress(ConfigError):
                if said := _placed(str(e), read_mapping(path)):
                    break
        else:
            raise
        raise ConfigError(said) from None


def _placed(message: str, written: Written) -> str | None:
    """Return the message with file and line in front; None where it is about nothing in there."""
    found = _DOTTED.match(message)
    loc: Loc = tuple(found[1].split(".")) if found else ()
    if not loc or loc[:1] not in written.lines:
        return None
    return f"{written.where(loc)}: {message}"


def _refuse_near_misses(kind: type[BaseModel], process: str, environ: Mapping[str, str]) -> None:
    """Let variables pass that are set for this process, for another one of ours, or not by us.

    Raises:
        ConfigError: one would set nothing: underscores, small letters, no such process or group.
    """
    ours = tuple(f"{_PREFIX}_{name.upper()}__" for name in PROCESSES)
    own = f"{_PREFIX}_{process.upper()}_"
    for variable in sorted(environ):
        upper = variable.upper()
        if not upper.startswith(f"{_PREFIX}_"):
            continue
        if upper.startswith(ours):
            right = re.sub("___+", "__", upper)
            if variable == right:
                continue
            raise ConfigError(f"{variable}: sets nothing; write {right}")
        if "__" in upper:
            known = ", ".join(f"{prefix}..." for prefix in ours)
            raise ConfigError(f"{variable}: sets nothing; variables are {known}")
        of_kubernetes = environ[variable].startswith(_KUBERNETES_VALUES)
        if not upper.startswith(own) or of_kubernetes or _KUBERNETES_NAMES.fullmatch(upper):
            continue
        if found := _meaning(kind, upper.removeprefix(own).lower()):
            raise ConfigError(f"{variable}: sets nothing; write {own}_{found.upper()}")


def _meaning(kind: type[BaseModel], name: str) -> str:
    """Return the name with double underscores that is meant by one without; "" if none is."""
    leaves = list(_leaves(kind))
    groups = {loc[:n] for loc in leaves for n in range(1, len(loc))}
    free = {loc for loc in leaves if _is_free(_annotation(kind, loc))}
    meant = {"_".join(loc): "__".join(loc) for loc in (*groups, *leaves)}
    if close := get_close_matches(name, meant, 1, _ALIKE):
        return meant[close[0]]
    for loc in sorted(groups | free, key=len, reverse=True):
        if name.startswith(f"{'_'.join(loc)}_"):
            inside = name.removeprefix(f"{'_'.join(loc)}_") if loc in free else "..."
            return "__".join((*loc, inside))
    return ""


def _leaves(kind: Any) -> Iterator[tuple[str, ...]]:
    """Yield the way to each field that is no group of others."""
    for name, (annotation, _) in _fields(kind, ()).items():
        under = list(_leaves(annotation))
        yield from ((name, *rest) for rest in under) if under else [(name,)]


def _override(
    kind: type[BaseModel], written: Written, process: str, environ: Mapping[str, str]
) -> dict[str, str]:
    """Put the variables' values into what was read; return a variable's name by dotted path."""
    prefix = f"{_PREFIX}_{process.upper()}__"
    origins = {}
    for variable in sorted(name for name in environ if name.startswith(prefix)):
        loc = tuple(variable.removeprefix(prefix).lower().split("__"))
        place = written.value
        for name in loc[:-1]:
            place = place.setdefault(name, {})
            if not isinstance(place, dict):
                raise ConfigError(f"{variable}: {name!r} is not a group of settings in the file")
        value = _value(kind, variable, environ[variable], loc, written.texts)
        place[loc[-1]] = _here(_annotation(kind, loc), value)
        origins[".".join(loc)] = variable
    return origins


def _value(kind: type[BaseModel], variable: str, text: str, loc: Loc, texts: dict[Loc, str]) -> Any:
    for stale in [each for each in texts if each[: len(loc)] == loc]:
        del texts[stale]
    if not text.strip():
        return text
    if text.lstrip().startswith(("[", "{")) and not _is_text(_annotation(kind, loc)):
        found = yaml_file.parse(text, variable, is_file=False)
        texts.update({(*loc, *under): t for under, t in found.texts.items()})
        return found.value
    try:
        value = yaml_file.scalar(text.strip())
    except ValueError as e:
        raise ConfigError(f"{variable}: {e}") from None
    if not isinstance(value, str):
        texts[loc] = text
    return value if not isinstance(value, str) else text


def _here(annotation: Any, value: Any) -> Any:
    """Return `value` with the working folder before each relative path in it."""
    _, kind = _plain(annotation)
    if isinstance(value, dict):
        inside = _fields(kind, ())
        return {k: _here(inside[k][0], v) if k in inside else v for k, v in value.items()}
    is_path = kind is Path and isinstance(value, str) and value
    return os.path.join(os.getcwd(), value) if is_path and value[0] != "~" else value


def _meant(annotation: Any, value: Any, loc: Loc, texts: Mapping[Loc, str]) -> Any:
    """Return `value` with the text in its place wherever `annotation` wants text.

    So it is where a number is wanted and `true` stands, which Python would take for 1.
    """
    may_miss, kind = _plain(annotation)
    if isinstance(value, dict):
        inside = _fields(kind, ())
        under = typing.get_args(kind)[1:] if typing.get_origin(kind) is not None else ()
        return {
            k: _meant(inside[k][0] if k in inside else (under or (Any,))[0], v, (*loc, k), texts)
            for k, v in value.items()
        }
    if isinstance(value, list):
        under = typing.get_args(kind)[:1] if _is_many(kind) else ()
        return [_meant((under or (Any,))[0], v, (*loc, i), texts) for i, v in enumerate(value)]
    if isinstance(value, str) or loc not in texts or (value is None and may_miss):
        return value
    if _is_text(kind) or (isinstance(value, bool) and kind in (int, float)):
        return texts[loc]
    return value


def _sentence(
    kind: type[BaseModel], problem: ErrorDetails, written: Written, origins: Mapping[str, str]
) -> str:
    loc = problem["loc"]
    where = ".".join(str(part) for part in loc)
    place = written.where(loc)
    parts = [".".join(map(str, loc[:n])) for n in range(len(loc), 0, -1)]
    origin = next((origins[part] for part in parts if part in origins), None)
    source = f"{origin} ({where})" if origin else f"{place}: {where}".rstrip(": ")
    parent, name = _fields(kind, loc[:-1]), str(loc[-1:] and loc[-1])
    if problem["type"] in _UNKNOWN:
        if name.split(".")[0] in parent and "." in name:
            value = masked(str(written.texts.get(loc, problem["input"])))[:80]
            return f"{source}: unknown key; write `{nested(name, value)}`"
        close = get_close_matches(name, parent, 1)
        hint = f"did you mean {close[0]!r}? " if close else ""
        return f"{source}: unknown key; {hint}known: {', '.join(sorted(parent))}"
    about = f" ({parent[name][1]})" if parent.get(name, ("", ""))[1] else ""
    if problem["type"] == "missing":
        return f"{source}: missing; add it{about}"
    if problem["input"] is None and loc not in written.texts:
        return f"{source}: nothing stands there; write a value{about}"
    message = str(problem["ctx"]["error"]) if problem["type"] == "value_error" else problem["msg"]
    message = message[:1].lower() + message[1:]
    if problem["type"] == "value_error" and isinstance(problem["input"], dict):
        return (_placed(message, written) if not loc else None) or f"{source}: {message}"
    value = written.texts.get(loc) or repr(problem["input"])
    shown = "***" if _is_secret(parent.get(name, ("", ""))[0]) else masked(value)[:80]
    return f"{source}: {shown}: {message}{about}"


def _annotation(kind: Any, loc: Sequence[int | str]) -> Any:
    """Return the type of what stands at `loc`; Any where nothing is known of it."""
    for name in loc:
        _, kind = _plain(kind)
        inside = _fields(kind, ())
        under = typing.get_args(kind)
        if name in inside:
            kind = inside[str(name)][0]
        else:
            kind = under[1] if typing.get_origin(kind) is not None and len(under) == 2 else Any
    return kind


def _fields(kind: Any, loc: Sequence[int | str]) -> dict[str, tuple[Any, str]]:
    """Return name -> (type, description) of the fields at `loc`; empty where it has none."""
    _, kind = _plain(_annotation(kind, loc))
    if isinstance(kind, type) and issubclass(kind, BaseModel):
        return {n: (f.annotation, f.description or "") for n, f in kind.model_fields.items()}
    if isinstance(kind, type) and dataclasses.is_dataclass(kind):
        hints = typing.get_type_hints(kind)
        return {f.name: (hints[f.name], "") for f in dataclasses.fields(kind)}
    return {}


def _plain(annotation: Any) -> tuple[bool, Any]:
    """Return whether None may stand there, and X of `X | None`, of Annotated[X, ...]."""
    if typing.get_origin(annotation) is typing.Annotated:
        return _plain(typing.get_args(annotation)[0])
    if typing.get_origin(annotation) in (typing.Union, types.UnionType):
        options = typing.get_args(annotation)
        _, kind = _plain(next(a for a in options if a is not type(None)))
        return type(None) in options, kind
    return False, annotation


def _is_many(kind: Any) -> bool:
    return typing.get_origin(kind) in (tuple, list, Sequence)


def _is_free(annotation: Any) -> bool:
    """Return whether it is a mapping whose keys are not ours to know."""
    return typing.get_origin(_plain(annotation)[1]) in (dict, Mapping)


def _is_text(annotation: Any) -> bool:
    kind = _plain(annotation)[1]
    return kind in _TEXT or typing.get_origin(kind) is Literal


def _is_secret(annotation: Any) -> bool:
    return _plain(annotation)[1] is SecretStr
