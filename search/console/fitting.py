"""Rows of figures that lose none of them, however narrow the terminal is."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from rich.cells import cell_len
from rich.console import Console, ConsoleOptions, RenderResult
from rich.measure import Measurement
from rich.table import Table
from rich.text import Text

_INDENT = "  "
"""Of a row's further lines."""

_ANY_WIDTH = 10_000
"""Columns that a table may take while it is measured."""


@dataclass
class FittingTable:
    """A table where all of it fits into the width; else each row as text, every figure after its header.

    Attributes:
        headers: one a column; an empty one names nothing.
        left: headers of the columns that are flush left, as those with words are.
        padding: columns beside a cell, left and right.
    """

    headers: Sequence[str]
    left: frozenset[str] = frozenset({""})
    padding: tuple[int, int] = (1, 1)
    _rows: list[tuple[list[Text], str]] = field(default_factory=list)

    def add(self, *cells: str | Text, style: str = "") -> None:
        """Adds a row, of one cell a column; what it holds is shown as it is."""
        assert len(cells) == len(self.headers), "a cell a column"
        self._rows.append(([Text(cell) if isinstance(cell, str) else cell for cell in cells], style))

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        """What rich shows."""
        table = self._table()
        wanted = Measurement.get(console, options.update(width=_ANY_WIDTH), table).maximum
        if wanted <= options.max_width:
            yield table
        else:
            for cells, style in self._rows:
                yield Text("\n", style).join(self._lines(cells, options.max_width))

    def _table(self) -> Table:
        right, left = self.padding[1], self.padding[0]
        table = Table(box=None, padding=(0, right, 0, left), header_style="dim", show_header=any(self.headers))
        for header in self.headers:
            table.add_column(Text(header), justify="left" if header in self.left else "right", no_wrap=True)
        for cells, style in self._rows:
            table.add_row(*cells, style=style)
        return table

    def _lines(self, cells: Sequence[Text], width: int) -> Iterator[Text]:
        """A row's figures in as few lines as hold them; one that is longer than a line is left to rich to fold."""
        line = Text()
        for header, cell in zip(self.headers, cells, strict=True):
            if not cell.plain:
                continue
            item = Text.assemble(f"{header} " if header else "", cell)
            if line.plain.strip() and cell_len(line.plain) + len(_INDENT) + item.cell_len > width:
                yield line
                line = Text(_INDENT)
            elif line.plain.strip():
                line.append(_INDENT)
            line.append_text(item)
        yield line
