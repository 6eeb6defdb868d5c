import string
from html.parser import HTMLParser

from hypothesis import given
from hypothesis import strategies as st

from commands.report.markup import document, el

TEXTS = st.text(st.characters(codec=None, exclude_categories=()) | st.sampled_from("<>&\"'`/\0"))


class Reader(HTMLParser):
    """What a browser would find."""

    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""

    def handle_starttag(self, tag, attributes):
        self.tags.append((tag, dict(attributes)))

    def handle_data(self, data):
        self.text += data


@given(TEXTS, TEXTS)
def test_no_text_becomes_markup(text, attribute):
    page = document(el("p", text, el("b", text), text, title=attribute))
    page.encode()  # no half characters
    reader = Reader()
    reader.feed(page)
    assert [tag for tag, _ in reader.tags] == ["p", "b"]
    assert set(reader.tags[0][1]) == {"title"}
    assert not any(c in page for c in "\0\x1b\u202e\ufeff")


def test_plain_text_stays_as_it_is():
    for text in (string.printable.replace("\r", "").replace("\x0b", "").replace("\x0c", ""), "ü✓"):
        reader = Reader()
        reader.feed(document(el("p", text)))
        assert reader.text.removeprefix("\n").removesuffix("\n") == text.replace("\r", "")


def test_children_numbers_and_names_of_attributes():
    element = el("rect", None, [el("title", "a"), None, "b"], x=1.0, y=0.123, fill_opacity=None,
                 class_="c", aria_label="d", width=3)  # fmt: skip
    assert document(element).splitlines()[1] == (
        '<rect x="1" y="0.12" class="c" aria-label="d" width="3"><title>a</title>b</rect>'
    )
