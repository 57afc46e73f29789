"""Markdown of texts that come from users, in `results.md` and a model's card: nothing in them is taken for markup."""

import html
import re
from collections.abc import Iterable, Sequence
from typing import Any

_MARKUP = re.compile(r"[\\`*\[\]|~$]|(?<!\w)_|_(?!\w)|(?<=\w):(?=//)|(?<=www)\.")
"""What makes emphasis, code, links, table cells or formulas, backslashes before anything else."""


def markdown_table(header: Sequence[str], rows: Iterable[Sequence[Any]]) -> str:
    """A header and rows, a line each; no text leaves its cell or is taken for markup."""
    lines = [[markdown_text(value) for value in line] for line in (header, *rows)]
    return "".join(f"| {' | '.join(line)} |\n" for line in (lines[0], ["---"] * len(header), *lines[1:]))


def markdown_text(value: Any) -> str:
    """A value within a line, shown as it is."""
    line = html.escape(" ".join(str(value).split()), quote=False)
    return _MARKUP.sub(lambda found: "&#58;" if found[0] == ":" else f"\\{found[0]}", line)


def markdown_code(value: Any) -> str:
    """A value as code within a line, whatever backticks it holds."""
    text = " ".join(str(value).split())
    fence = "`" * (1 + max(map(len, re.findall("`+", text)), default=0))
    blank = " " if len(fence) > 1 or text.startswith(" ") else ""
    return f"{fence}{blank}{text}{blank}{fence}"
