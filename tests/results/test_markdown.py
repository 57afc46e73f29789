"""A table in Markdown stays a table, whatever its texts hold."""

import html
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st
from markdown_it import MarkdownIt

from results.markdown import markdown_code, markdown_table, markdown_text

TEXTS = st.text(st.sampled_from("ab1 \\`*_[]()|~<>&#!:/.-$é"), max_size=30)


def shown(markdown: str) -> str:
    """What a reader of the page sees."""
    page = MarkdownIt("commonmark").enable("table").enable("strikethrough").render(markdown)
    return " ".join(html.unescape(re.sub(r"<[^>]*>", " ", page)).split())


@given(TEXTS)
def test_a_reader_sees_the_text_as_it_is(text):
    as_read = " ".join(text.split())
    assert shown(f"is {markdown_text(text)} it") == " ".join(f"is {as_read} it".split())
    assert shown(markdown_table(("name", "mAP"), [(text, 1)])).split() == f"name mAP {as_read} 1".split()
    if as_read:
        assert shown(f"is {markdown_code(text)} it") == f"is {as_read} it"


@pytest.mark.parametrize("text", ["[x](https://x.y)", "<img src=x>", "https://x.y", "www.x.y", "**x**", "`x`", "~~x~~"])
def test_nothing_becomes_a_link_an_image_or_emphasis(text):
    page = MarkdownIt("commonmark").enable(["table", "strikethrough"]).render(markdown_text(text))
    assert re.findall(r"<(\w+)", page) == ["p"]
    assert "https://" not in markdown_text(text) and "www." not in markdown_text(text), "GitHub would make it a link"


def test_a_table_has_a_line_a_row():
    assert markdown_table(("name", "mAP"), [("car", 0.5), ("bike", "–")]) == (
        "| name | mAP |\n| --- | --- |\n| car | 0.5 |\n| bike | – |\n"
    )


def test_no_text_leaves_its_cell_or_is_taken_for_html():
    hostile = "a | b\n\n# c <img src=x>"
    assert markdown_table(("name",), [(hostile,)]).splitlines()[2:] == [r"| a \| b # c &lt;img src=x&gt; |"]
