"""What is allowed in a data set or a model, but would surprise whoever does not know of it.

It is said before a search, kept in its run folder and shown in its report.
"""

import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console

from trainable.storage.durable_file import write_atomically
from trainable.text.shown import printable

NOTICES = "notices.json"
"""Their file in a run folder; older runs have none."""
MOST_NAMED = 3
"""Names that the sentence says."""
MOST_KEPT = 100
"""Names that the file keeps."""


@dataclass(frozen=True)
class Notice:
    """One such thing, with how often it was met and where."""

    found: str
    """What was met, with its count, such as `3 of 40 training pairs have no box that can be seen`."""
    advice: str
    """What it means, or what to do about it."""
    names: tuple[str, ...] = ()
    """Where: ids of pairs, names of classes or paths of files, all of them; none where there is nothing to name."""
    about: str = ""
    """The flag that is meant, such as `--data`; whoever reads the flags fills it in, see `about`."""

    def __str__(self) -> str:
        named = ", ".join(self.names[:MOST_NAMED])
        more = f" and {len(self.names) - MOST_NAMED:,} more" if len(self.names) > MOST_NAMED else ""
        where = f": {named}{more}" if named else ""
        return printable(f"{self.about}{': ' if self.about else ''}{self.found}{where}; {self.advice}")


def write_notices(notices: Iterable[Notice], path: Path) -> None:
    """Writes notices as JSON, of each at most `MOST_KEPT` names; `found` has the count."""
    kept = [
        {
            "about": notice.about,
            "found": printable(notice.found),
            "names": [printable(name) for name in notice.names[:MOST_KEPT]],
            "advice": printable(notice.advice),
        }
        for notice in notices
    ]
    write_atomically(path, json.dumps(kept, indent=2) + "\n")


def print_notices(notices: Iterable[Notice], console: Console) -> None:
    """Prints a line for each notice, as it is: names of files may look like rich's markup."""
    for notice in notices:
        console.print(str(notice), style="yellow", markup=False, highlight=False, soft_wrap=True)
