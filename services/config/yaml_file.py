"""Reads and writes every YAML file of people's, so that it says what its reader thinks it says.

PyYAML finds the structure; what a value is, is decided here, by YAML 1.2's core schema:

    true false  null ~        those words, and only those: `no`, `on` and `2024-01-01` are text
    12  1_000  0x1f  0o17     whole numbers; one that begins with a needless 0 is text, as a name is
    1e-6  1.5  .5  1_000.5    numbers, with or without a point; .inf and .nan, too
    "12"  'no'  | >           what is in quotes, or a block, is text

Keys are text, always. It refuses what two readers would read differently: a key that stands twice,
merge keys (<<), tags but !!str, several documents. Aliases mean a copy of what they name. Whoever
wants text where a number or a word like null was read gets it as it was written (`Written.texts`).
No sentence repeats what stands in the file but its keys: it may be a secret.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import yaml
from typing_extensions import override

from common.errors import ConfigError
from services.disk.small_file import read_small

Loc = tuple[str | int, ...]
"""Where a value stands: keys, and numbers in lists."""

_MOST_VALUES: Final = 100_000
_MOST_DEEP: Final = 50
_TEXT_TAG: Final = "tag:yaml.org,2002:str"
_PLAIN: Final = "plain"
_TAGS: Final = (_PLAIN, _TEXT_TAG, "tag:yaml.org,2002:map", "tag:yaml.org,2002:seq")
_WORDS: Final[Mapping[str, bool | None]] = {
    **dict.fromkeys(("", "~", "null", "Null", "NULL"), None),
    **dict.fromkeys(("true", "True", "TRUE"), True),
    **dict.fromkeys(("false", "False", "FALSE"), False),
}
_DIGITS: Final = r"[0-9]+(?:_[0-9]+)*"
_WHOLE: Final = r"(?:0|[1-9][0-9]*(?:_[0-9]+)*)"
_INT: Final = re.compile(rf"[-+]?{_WHOLE}")
_BASED: Final = re.compile(r"[-+]?0(?:x[0-9a-fA-F]+|o[0-7]+)")
_FLOAT: Final = re.compile(
    rf"[-+]?(?:{_WHOLE}(?:\.(?:{_DIGITS})?)?|\.{_DIGITS})(?:[eE][-+]?[0-9]+)?"
)
_NOT_FINITE: Final = re.compile(r"[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN)")
_MOST_DIGITS: Final = 400
_LINE_ENDS: Final = "\x85\u2028\u2029"
"""Of YAML 1.1, where they become spaces unless they are escaped."""
_BROKEN: Final = re.compile("[\0\ud800-\udfff]")


@dataclass(slots=True)
class Written:
    """What a file says.

    Args:
        source: the file, as sentences name it.
        value: dicts with text as keys, lists, text, numbers, booleans, None.
        lines: of each value, counted from 1.
        texts: what stands where a value was read that is no text.
    """

    source: str
    value: Any
    lines: dict[Loc, int] = field(default_factory=dict)
    texts: dict[Loc, str] = field(default_factory=dict)

    def where(self, loc: Loc = ()) -> str:
        """Return `FILE:LINE` of a value; of what it would stand in where it is not there."""
        while loc and loc not in self.lines:
            loc = loc[:-1]
        return f"{self.source}:{self.lines[loc]}" if loc else self.source


def read(path: Path) -> Written:
    """Return what a file says.

    Raises:
        OSError: it cannot be read.
        ConfigError: it is no file, too large, or not YAML as described above; names the line.
    """
    try:
        text = read_small(path).decode("utf-8-sig")
    except UnicodeDecodeError as e:
        line = e.object.count(b"\n", 0, e.start) + 1
        raise ConfigError(f"{path}:{line}: not YAML: it is not UTF-8; convert it") from None
    return parse(text, str(path))


def parse(text: str, source: str, *, is_file: bool = True) -> Written:
    """Return what a text says.

    Args:
        source: where it comes from, for sentences.
        is_file: whether a number of a line says anything.

    Raises:
        ConfigError: as `read`.
    """
    written = Written(source, None)
    try:
        root = yaml.compose(text, Loader=_Loader)
        if root is not None:
            written.value = _Built(written).value(root, ())
    except yaml.MarkedYAMLError as e:
        mark = e.problem_mark or e.context_mark
        line = 1 if mark is None else mark.line + 1
        place = f"{source}:{line}" if is_file else source
        raise ConfigError(f"{place}: not YAML: {_told(e)}") from None
    except yaml.reader.ReaderError as e:
        line = text.count("\n", 0, e.position) + 1
        raise ConfigError(
            f"{source}:{line}: not YAML: the character U+{int(e.character):04X} may not stand "
            "in it; delete it"
        ) from None
    except RecursionError:
        raise ConfigError(f"{source}: not YAML: nested too deep") from None
    return written


def scalar(text: str) -> Any:
    """Return what a plain value means: text, a number, a boolean or None.

    Raises:
        ValueError: it is a number beyond all bounds.
    """
    if text in _WORDS:
        return _WORDS[text]
    digits = text.replace("_", "")
    if _INT.fullmatch(text) and len(text) <= _MOST_DIGITS:
        return int(digits)
    if _BASED.fullmatch(text) and len(text) <= _MOST_DIGITS:
        return int(text, 0)
    if _NOT_FINITE.fullmatch(text):
        return float(text.replace(".", ""))
    if _FLOAT.fullmatch(text):
        value = float(digits)
        if value in (float("inf"), float("-inf")):
            raise ValueError("the number is too large")
        return value
    return text


def dump(value: Any) -> str:
    """Return a YAML text that `parse`, and every other reader of YAML 1.1 or 1.2, reads alike."""
    made: str = yaml.dump(value, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=100)
    return made


def quoted(text: str) -> str:
    """Return a name as it stands in a line of YAML: in quotes where it could pass for another."""
    return dump([text]).removeprefix("- ").rstrip("\n")


class _Loader(yaml.SafeLoader):
    """Composes nodes; a plain scalar's tag is `_PLAIN`."""

    @override
    def resolve(self, kind: Any, value: Any, implicit: Any) -> Any:
        if kind is yaml.ScalarNode:
            return _PLAIN if implicit[0] else _TEXT_TAG
        return super().resolve(kind, value, implicit)  # type: ignore[no-untyped-call]


class _Built:
    """Turns nodes into values, and notes where they stand."""

    def __init__(self, written: Written) -> None:
        self._written = written
        self._num_values = 0

    def value(self, at: yaml.Node, loc: Loc) -> Any:
        self._num_values += 1
        if self._num_values > _MOST_VALUES or len(loc) > _MOST_DEEP:
            raise _refusal(
                f"more than {_MOST_VALUES} values, or {_MOST_DEEP} inside each other; does an "
                "alias (*) stand in what it names?",
                at,
            )
        self._written.lines.setdefault(loc, at.start_mark.line + 1)
        if at.tag not in _TAGS:
            raise _refusal("a tag (!...) has no meaning here; delete it", at)
        match at:
            case yaml.MappingNode():
                return self._mapping(at, loc)
            case yaml.SequenceNode():
                return [self.value(each, (*loc, i)) for i, each in enumerate(at.value)]
        text = str(at.value)
        if _BROKEN.search(text):
            raise _refusal("a character that no file and no program takes; delete it", at)
        if at.tag != _PLAIN:
            return text
        try:
            found = scalar(text)
        except ValueError as e:
            raise _refusal(str(e), at) from None
        if text and not isinstance(found, str):
            self._written.texts[loc] = text
        return found

    def _mapping(self, at: yaml.MappingNode, loc: Loc) -> dict[str, Any]:
        found: dict[str, Any] = {}
        for key, under in at.value:
            if not isinstance(key, yaml.ScalarNode):
                raise _refusal("a key has to be a word", key)
            name, line = str(key.value), key.start_mark.line + 1
            if name == "<<" and key.tag == _PLAIN:
                raise _refusal("merge keys (<<) are not taken; write out what they stand for", key)
            if name in found:
                first = self._written.lines[(*loc, name)]
                lines = f"line {line}" if line == first else f"lines {first} and {line}"
                raise _refusal(f"{name!r} stands twice, {lines}; delete one", key)
            self._written.lines[(*loc, name)] = line
            found[name] = self.value(under, (*loc, name))
        return found


class _RefusedError(yaml.MarkedYAMLError):
    """YAML, and refused here."""


def _refusal(problem: str, at: yaml.Node) -> _RefusedError:
    return _RefusedError(problem=problem, problem_mark=at.start_mark)


def _told(e: yaml.MarkedYAMLError) -> str:
    problem = " ".join((e.problem or e.context or "").split())
    if isinstance(e, _RefusedError):
        return problem
    if any(word in f"{e.context} {problem}" for word in ("alias", "anchor", "tag", "directive")):
        return "what begins with &, *, ! or % is an anchor's name to YAML: put such text in quotes"
    if "mapping values are not allowed" in problem or "found ':'" in problem:
        return f'{problem}; put text with a colon or brackets in quotes, such as "::"'
    context = " ".join((e.context or "").split())
    return f"{context}: {problem}" if context and context not in problem else problem


class _Dumper(yaml.SafeDumper):
    """Puts in quotes whatever YAML 1.1 or `scalar` would not read as text."""

    @override
    def ignore_aliases(self, data: Any) -> bool:
        return True


def _text(dumper: yaml.SafeDumper, text: str) -> yaml.Node:
    try:
        plain = isinstance(scalar(text), str)
    except ValueError:
        plain = False
    style = None if plain else "'"
    if any(c in text for c in _LINE_ENDS):
        style = '"'
    return dumper.represent_scalar(_TEXT_TAG, text, style=style)


_Dumper.add_representer(str, _text)
