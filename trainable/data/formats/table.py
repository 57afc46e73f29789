"""CSV files: rows by the names of their columns, each with its line."""

import csv
from collections.abc import Mapping, Sequence
from pathlib import Path

from trainable.data.faults import Fault
from trainable.data.lists import lines_of


def read_table(
    file: Path, columns: Mapping[str, Sequence[str]], optional: Sequence[str], faults: list[Fault]
) -> list[tuple[int, dict[str, str]]]:
    """The rows of a CSV file with a line of column names; each as its line and what it has in the columns.

    Fields are parted by what the first line has most of: commas, semicolons or tabs.

    Args:
        file: the table.
        columns: that are read, by what they are called here: the names that each may have, in small letters.
        optional: those that may be missing; they are empty then.
        faults: what is wrong with the table is added to them.
    """
    lines = [(number, text) for number, text in lines_of(file, faults) if text]
    if not lines:
        return []
    delimiter = max(",;\t", key=lines[0][1].count)
    rows = [[field.strip() for field in row] for row in csv.reader([text for _, text in lines], delimiter=delimiter)]
    header = [field.casefold() for field in rows[0]]
    places = {name: [header.index(alias) for alias in aliases if alias in header] for name, aliases in columns.items()}
    if missing := [name for name, found in places.items() if not found and name not in optional]:
        words = "; ".join(f"{name} may be called {' or '.join(columns[name])}" for name in missing)
        faults.append(Fault("missing column", str(file), lines[0][0], lines[0][1][:80], words))
        return []
    found = []
    for (number, text), row in zip(lines[1:], rows[1:], strict=False):
        if len(row) != len(header):
            advice = f"line {lines[0][0]} names {len(header)} columns"
            faults.append(Fault("fields do not fit the columns", str(file), number, text[:80], advice))
        else:
            found.append((number, {name: row[at[0]] if at else "" for name, at in places.items()}))
    return found
