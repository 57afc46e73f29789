"""Tables in Markdown, as in `results.md` and in a model's card."""

import html
from collections.abc import Iterable, Sequence
from typing import Any


def markdown_table(header: Sequence[str], rows: Iterable[Sequence[Any]]) -> str:
    """A header and rows, a line each; no text leaves its cell or is taken for HTML."""
    lines = [header, ["---"] * len(header), *rows]
    return "".join(f"| {' | '.join(_cell(value) for value in line)} |\n" for line in lines)


def _cell(value: Any) -> str:
    return html.escape(" ".join(str(value).split()), quote=False).replace("|", r"\|")
