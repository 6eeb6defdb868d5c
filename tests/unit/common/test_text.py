from hypothesis import given
from hypothesis import strategies as st

from common.text import printable


@given(st.text())
def test_whatever_was_written_is_one_line_without_controls(text: str) -> None:
    shown = printable(text)
    assert not any(ord(c) < 0x20 or 0x7F <= ord(c) < 0xA0 for c in shown)
    assert len(shown.splitlines()) <= 1
    assert printable(shown) == shown
    shown.encode()


@given(st.text(st.characters(categories=("L", "N", "P", "S"), include_characters=" ")))
def test_signs_and_letters_of_any_script_stay_as_they_are(text: str) -> None:
    assert printable(text) == text
