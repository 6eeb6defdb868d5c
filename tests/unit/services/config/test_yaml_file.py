import math
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import example, given
from hypothesis import strategies as st

from common.errors import ConfigError
from services.config.yaml_file import dump, parse, quoted, read, scalar


def said(text: str) -> Any:
    return parse(text, "a.yaml").value


def refused(text: str) -> str:
    with pytest.raises(ConfigError) as caught:
        parse(text, "a.yaml")
    return str(caught.value)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1e-6", 1e-6),
        ("1E5", 1e5),
        ("1.0e-6", 1e-6),
        ("-.5", -0.5),
        ("5.", 5.0),
        ("1_000", 1000),
        ("1_000.5", 1000.5),
        ("+12", 12),
        ("0", 0),
        ("0.1", 0.1),
        ("0x1F", 31),
        ("0o17", 15),
        (".inf", math.inf),
        ("true", True),
        ("False", False),
        ("null", None),
        ("~", None),
    ],
)
def test_a_word_is_what_people_mean_by_it(text: str, value: object) -> None:
    found = said(f"a: {text}")["a"]
    assert (found, type(found)) == (value, type(value))


@pytest.mark.parametrize(
    "text",
    [
        *("no", "yes", "on", "Off", "y", "001", "007.5", "0777", "1:30", "190:20:30", "2026-13-01"),
        *("2024-01-01", "2024-01-01T10:00:00Z", "1__0", "_1", "1_", "e3", "1e", "0x", "0b1", "="),
        *("'1e3'", '"null"', "!!str 5", "| \n  7", "> \n  true", "12abc", "inf", "nan", "::1"),
    ],
)
def test_everything_else_is_text(text: str) -> None:
    assert isinstance(said(f"a: {text}")["a"], str)


def test_keys_are_text_and_what_was_written_is_kept() -> None:
    written = parse("001: 1e3\nno: {null: 2024}\ntrue: [x, 0x10]", "a.yaml")
    assert written.value == {"001": 1000.0, "no": {"null": 2024}, "true": ["x", 16]}
    assert written.texts[("001",)] == "1e3"
    assert written.texts[("true", 1)] == "0x10"
    assert written.where(("no", "null")) == "a.yaml:2"
    assert written.where(("true", 1, "not there")) == "a.yaml:3"


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("a: 1\nb: 2\na: 3", "a.yaml:3: not YAML: 'a' stands twice, lines 1 and 3; delete one"),
        ("x:\n  a: 1\n  'a': 2", "a.yaml:3: not YAML: 'a' stands twice, lines 2 and 3"),
        ("x: {1: a, '1': b}", "'1' stands twice, line 1"),
        ("x:\n- {a: 1,\n   b: 2, a: 3}", "'a' stands twice, lines 2 and 3"),
        ("a: &x {b: 1}\nc: {<<: *x}", "a.yaml:2: not YAML: merge keys (<<) are not taken"),
        ("a: !!int '3'", "a.yaml:1: not YAML: a tag (!...) has no meaning here"),
        ("a: 1\nb: !!python/object:os.system {}", "a.yaml:2: not YAML: a tag"),
        ("a: !!set {b}", "a tag"),
        ("a: !include x.yaml", "a tag"),
        ("? [a]\n: b", "a key has to be a word"),
        ("a: 1\n--- \nb: 2", "a.yaml:2: not YAML: expected a single document"),
        ("a: &x [*x]", "does an alias (*) stand in what it names?"),
        (
            "a: *x",
            "what begins with &, *, ! or % is an anchor's name to YAML: put such text in quotes",
        ),
        ("a: 1\nb: [", "a.yaml:2: not YAML"),
        ("a: 1\nb:\n\t- c", "a.yaml:3: not YAML"),
        ("a: 1\nb: \x01", "a.yaml:2: not YAML: the character U+0001"),
        ('a: 1\nb: "\\0"', "a.yaml:2: not YAML: a character that no file"),
        ('a: "\\ud800"', "a character that no file and no program takes"),
        ("host: ::", 'put text with a colon or brackets in quotes, such as "::"'),
        ("host: [::]", 'in quotes, such as "::"'),
        ("a: 1e999", "a.yaml:1: not YAML: the number is too large"),
        ("[" * 5000, "nested too deep"),
        ("a: [" * 60 + "]" * 60, "a.yaml:1: not YAML"),
    ],
)
def test_what_could_be_read_in_two_ways_is_refused_with_its_line(text: str, sentence: str) -> None:
    assert sentence in refused(text)


def test_an_alias_is_a_copy_and_many_of_many_are_too_many() -> None:
    assert said("a: &x {b: 1}\nc: *x") == {"a": {"b": 1}, "c": {"b": 1}}
    lines = ["a0: &a0 [1, 2, 3, 4, 5, 6, 7, 8, 9]"]
    lines += [f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 9)}]" for i in range(1, 9)]
    assert "values" in refused("\n".join(lines))


def test_no_sentence_repeats_a_value() -> None:
    texts = (
        'redis_url: "redis://:S3cret@host',
        "redis_url: redis://:S3cret: x",
        "redis_url: *S3cret",
        "redis_url: !S3cret x",
        "redis_url: [S3cret",
        "redis_url: 'a' S3cret",
        "redis_url: {S3cret: 1, S3cret",
        "redis_url: @S3cret",
        "a: &S3cret 1\nb: &S3cret 2\nc: *S3cre",
        "redis_url: %S3cret",
        "%S3cret",
    )
    for text in texts:
        with pytest.raises(ConfigError) as caught:
            parse(text, "a.yaml")
        assert "S3cret" not in str(caught.value), text


def test_bytes_that_are_no_text_are_refused_with_their_line(tmp_path: Path) -> None:
    path = tmp_path / "a.yaml"
    path.write_bytes(b"a: 1\nb: \xff\n")
    with pytest.raises(ConfigError, match=r"a\.yaml:2: not YAML: it is not UTF-8"):
        read(path)
    path.write_bytes(b"\xef\xbb\xbfa: 1\r\nb: 2\r\n")
    assert read(path).value == {"a": 1, "b": 2}


NAMES = st.from_regex(r"[a-z0-9]([a-z0-9-]{0,20}[a-z0-9])?", fullmatch=True)
WORDS = st.sampled_from(
    ["001", "no", "1e3", "null", "true", "on", "y", "2024-01-01", "0x1f", "1-2", "0", "0e0", "~"]
)


@given(NAMES | WORDS | st.text())
@example("\x85")
@example("a\u2028b\u2029")
def test_text_that_we_write_is_read_as_it_was(text: str) -> None:
    if any(c == "\0" or "\ud800" <= c <= "\udfff" for c in text):
        return
    assert said(dump({"a": [text], text: 1})) == {"a": [text], text: 1}


@given(NAMES | WORDS)
def test_a_name_in_a_line_is_text_for_every_reader(name: str) -> None:
    line = f"{{name: {quoted(name)}, {quoted(name)}x: 1}}" if name != "~" else "{name: '~'}"
    assert yaml.safe_load(f"- {{name: {quoted(name)}}}") == [{"name": name}]
    assert parse(f"- {{name: {quoted(name)}}}", "a").value == [{"name": name}], line


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | NAMES | WORDS,
    lambda inner: st.lists(inner) | st.dictionaries(NAMES | WORDS, inner),
    max_leaves=20,
)


@given(VALUES)
def test_values_that_we_write_are_read_as_they_were(value: object) -> None:
    assert said(dump({"a": value})) == {"a": value}


@given(st.text(alphabet="ab:-[]{}&*!|>'\"%@#,?~<=\n \t019.e_+", max_size=40))
def test_any_text_is_read_or_refused_with_a_line(text: str) -> None:
    problem = ""
    try:
        parse(text, "a.yaml")
    except ConfigError as e:
        problem = str(e)
    assert not problem or problem.startswith("a.yaml:")


@given(st.text(alphabet="0123456789eE+-._xo", max_size=12))
def test_a_number_is_what_python_and_json_call_one_or_text(text: str) -> None:
    try:
        found = scalar(text)
    except ValueError:
        assert math.isinf(float(text.replace("_", "")))
        return
    if isinstance(found, float) and math.isfinite(found):
        assert found == float(text)
    elif isinstance(found, int) and not text.lstrip("+-").startswith("0"):
        assert found == int(text)
