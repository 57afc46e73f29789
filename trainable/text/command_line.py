"""What the commands share: how they print and refuse, the flags that mean the same in all, and how each is called."""

import os
import shlex
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, NoReturn

import typer

from trainable.text.console import guard_output, plain_console

Data = Annotated[
    str | None, typer.Option(help="Folder or data.yaml; here, or as s3://BUCKET/FOLDER", show_default="the sample")
]
SkipBad = Annotated[bool, typer.Option("--skip-bad", help="Leave faulty pairs out instead of stopping")]
Subset = Annotated[int | None, typer.Option(min=1, help="Only the first N pairs of each split")]
Threads = Annotated[int, typer.Option(min=1, help="Threads; as many as the search gave a trial give the same numbers")]

PROJECT = Path(__file__).resolve().parent.parent.parent

ENTRY_POINT = "moved-object-search"
"""The command of an installed project; see `search.entry_point`."""

SCRIPTS = {
    "search": ("search/run.py",),
    "resume": ("search/run.py", "--resume"),
    "train": ("trainable/train.py",),
    "predict": ("results/predict.py",),
    "evaluate": ("results/evaluate.py",),
    "report": ("results/report.py",),
    "export": ("results/export.py",),
    "export-model": ("results/export_model.py",),
    "convert": ("trainable/data/convert.py",),
}
"""What each sub-command of the entry point is without it: a script, and what comes before the user's own words."""


class Command(typer.Typer):
    """A command whose output cannot end it, also where that is its help or what is wrong with its flags."""

    def __init__(self, **how: Any):
        super().__init__(**{"add_completion": False, "pretty_exceptions_enable": False} | how)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        guard_output()
        return super().__call__(*args, **kwargs)


def stop(message: object, code: int = 2) -> NoReturn:
    """Prints why a command stops, as it is: names of files may look like rich's markup.

    Args:
        message: an error, or what to say.
        code: of the exit; 2 is that of wrong input.

    Raises:
        typer.Exit: always.
    """
    plain_console(stderr=True).print(str(message), style="red", soft_wrap=True)
    raise typer.Exit(code)


def command_line(name: str, *words: str) -> str:
    """A command of this project as a shell takes it, wherever on this machine it is pasted.

    Args:
        name: a key of `SCRIPTS`. It is a sub-command of the entry point where that started this process, else a
            script: relative where the project is the working directory, else by its whole path.
        words: its arguments.
    """
    if entry_point := _entry_point():
        return quoted([entry_point, name, *words])
    script, *first = SCRIPTS[name]
    return quoted([_python(), script if _is_working_directory(PROJECT) else str(PROJECT / script), *first, *words])


def documented(name: str) -> str:
    """How texts that are read elsewhere call a command of this project, without a path of this machine."""
    return f"{ENTRY_POINT} {name}" if _entry_point() else " ".join(["python", *SCRIPTS[name]])


def this_command() -> str:
    """The command that this process was started by, to be given again."""
    entry_point = _entry_point()
    return quoted([entry_point, *sys.argv[1:]] if entry_point else [_python(), *sys.argv])


def quoted(words: Sequence[str]) -> str:
    """Words as a POSIX shell takes them, on one line whatever they hold."""
    return " ".join(map(_quoted_word, words))


def _entry_point() -> str | None:
    """The installed command, if it started this process; by its whole path where a shell would find another one."""
    if Path(sys.argv[0]).name != ENTRY_POINT:
        return None
    here, found = Path(sys.argv[0]).absolute(), shutil.which(ENTRY_POINT)
    return ENTRY_POINT if found and Path(found).absolute() == here else str(here)


def _is_working_directory(folder: Path) -> bool:
    try:
        return Path.cwd() == folder
    except OSError:  # It has been deleted.
        return False


def _python() -> str:
    """`python`, where that is the interpreter that runs this, with the packages that it has; else its path."""
    found = shutil.which("python")
    if found and os.path.realpath(Path(found).parent) == os.path.realpath(Path(sys.executable).parent):
        return "python"
    return sys.executable or "python"


def _quoted_word(word: str) -> str:
    if word.isprintable():
        return shlex.quote(word)
    # As bash, zsh and POSIX's shells of 2024 read it: control characters and bytes that are no text have no other way
    # into one line.
    return "$'" + "".join(map(_escaped, word)) + "'"


def _escaped(character: str) -> str:
    if character in "\\'":
        return f"\\{character}"
    if character.isprintable():
        return character
    return "".join(f"\\{byte:03o}" for byte in os.fsencode(character))
