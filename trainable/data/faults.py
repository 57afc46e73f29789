"""What can be wrong with a data set, and how it is told: as one error, and as `data_report.csv`."""

import csv
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from trainable.text.shown import printable

MOST_PRINTED = 50


@dataclass(frozen=True)
class Fault:
    """One thing that is wrong, and what to do about it."""

    kind: str
    """The rule that is broken, worded the same for every fault of that rule, so that faults can be counted by it."""
    file: str
    """Path of the file or folder; the flag, where a flag is at fault."""
    line: int | None
    """Line of the file, from 1; None where there is none to name."""
    value: str
    """What was met."""
    advice: str
    """What to do."""

    def __str__(self) -> str:
        where = self.file if self.line is None else f"{self.file}:{self.line}"
        value = f" (met: {self.value})" if self.value else ""
        return printable(f"{where}: {self.kind}{value}; {self.advice}")


class DataError(ValueError):
    """A data set that cannot be used. `faults` lists all that is wrong; the message is a report of them."""

    def __init__(self, faults: Iterable[Fault]):
        self.faults = tuple(faults)
        super().__init__(self.faults)

    def __str__(self) -> str:
        counts = Counter(fault.kind for fault in self.faults)
        lines = [f"the data has {len(self.faults)} fault(s):"]
        lines += [f"  {count} x {kind}" for kind, count in counts.most_common()]
        lines += [f"  - {fault}" for fault in self.faults[:MOST_PRINTED]]
        if (more := len(self.faults) - MOST_PRINTED) > 0:
            lines.append(f"  ... and {more} more in data_report.csv")
        return "\n".join(lines)


def write_report(faults: Iterable[Fault], path: Path) -> None:
    """Writes every fault as a row of kind, file, line, value and advice; opens in a spreadsheet as it stands."""
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(("kind", "file", "line", "value", "advice"))
        for fault in faults:
            line = "" if fault.line is None else fault.line
            writer.writerow((fault.kind, _cell(fault.file), line, _cell(fault.value), fault.advice))


def _cell(text: str) -> str:
    """Text that no spreadsheet takes for a formula: the user's files may come from anyone."""
    return printable(f"'{text}" if text.startswith(("=", "+", "-", "@")) else text)
