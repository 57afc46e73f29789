"""No figure is lost, however narrow the terminal is."""

import io
import re

import pytest
from rich.console import Console
from rich.text import Text

from search.console.fitting import FittingTable

HEADERS = ("trial", "stage", "val_loss", "f1")
ROWS = (("7", "1/3 heads", "0.8476", "0.700"), ("0 (reference)", "[red]x[/] :car: 部品", "not reached", ""))


def printed(width: int) -> str:
    table = FittingTable(HEADERS, frozenset({"stage"}))
    for row in ROWS:
        table.add(*row)
    console = Console(file=io.StringIO(), width=width)
    console.print(table)
    return console.file.getvalue()


def test_where_it_fits_it_is_a_table():
    header, first, second = printed(80).splitlines()
    assert header.split() == list(HEADERS)
    assert first.split() == ["7", "1/3", "heads", "0.8476", "0.700"]
    assert "[red]x[/] :car: 部品" in second


@pytest.mark.parametrize("width", range(29, 80, 3))
def test_every_cell_is_shown_whole_at_any_width(width):
    text = printed(width)
    assert "…" not in text
    for cell in filter(None, sum(ROWS, ())):
        assert cell in text
    assert all(Text(line.rstrip()).cell_len <= width for line in text.splitlines())


def test_where_it_does_not_fit_each_figure_follows_its_header():
    assert [line.rstrip() for line in printed(40).splitlines()] == [
        "trial 7  stage 1/3 heads",
        "  val_loss 0.8476  f1 0.700",
        "trial 0 (reference)",
        "  stage [red]x[/] :car: 部品",
        "  val_loss not reached",
    ]


@pytest.mark.parametrize("width", [20, 10, 3])
def test_a_cell_that_is_longer_than_a_line_is_folded_not_cut(width):
    text = re.sub(r"\s", "", printed(width))
    assert all(re.sub(r"\s", "", cell) in text for cell in sum(ROWS, ()))
