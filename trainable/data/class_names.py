"""The names of the classes: the files that give them, and what is wrong with them."""

from collections.abc import Sequence
from pathlib import Path

from trainable.data.faults import Fault
from trainable.data.listing import is_file
from trainable.data.lists import lines_of
from trainable.text.shown import is_plain, shown

NAMES_FILE = "classes.txt"
"""One name a line, in the order of the class ids; lies beside the folders or, as some tools have it, in `labels`."""


def names_file_of(root: Path, labels: Path) -> Path | None:
    """The file that gives a data folder's names; None where there is none.

    LabelImg writes one into every folder of labels: they count where there is no other and all of them say the same.
    """
    for file in (root / NAMES_FILE, labels / NAMES_FILE):
        if is_file(file):
            return file
    files = sorted(file for file in labels.rglob(NAMES_FILE) if is_file(file))
    return files[0] if len({names_in(file) for file in files}) == 1 else None


def names_in(file: Path) -> tuple[str, ...] | None:
    """The lines of a file of names; None where it cannot be read."""
    faults: list[Fault] = []
    lines = tuple(text for _, text in lines_of(file, faults))
    return None if faults else lines


def read_names(file: Path, faults: list[Fault]) -> tuple[str, ...]:
    """The names that a file gives.

    Args:
        file: one name a line.
        faults: what is wrong with it is added to them.
    """
    met: list[Fault] = []
    lines = [text for _, text in lines_of(file, met)]
    faults += met
    return () if met else checked_names(lines, str(file), faults)


def checked_names(names: Sequence[str], file: str, faults: list[Fault]) -> tuple[str, ...]:
    """The names, with what is wrong with them added to the faults of the file that they are from."""
    if not names:
        faults.append(Fault("no names", file, None, "", "list the names of the classes in the order of their ids"))
    first_ids: dict[str, int] = {}
    for class_id, name in enumerate(names):
        if not name:
            advice = "give every class id a name; a gap would shift the ones after it"
            faults.append(Fault("empty name", file, None, f"class id {class_id}", advice))
        elif (first := first_ids.setdefault(name, class_id)) != class_id:
            advice = f"class id {first} has that name already; tell them apart"
            faults.append(Fault("repeated name", file, None, name[:80], advice))
        elif not is_plain(name):
            advice = "names are shown in tables and on terminals; take the control characters out"
            faults.append(Fault("name that cannot be shown", file, None, shown(name), advice))
    return tuple(names)
