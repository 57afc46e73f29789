"""What the commands share: how they refuse, and the flags that mean the same in all of them."""

from collections.abc import Iterable
from typing import Annotated, NoReturn

import typer
from rich.console import Console

from trainable.data.notices import Notice

Data = Annotated[
    str | None, typer.Option(help="Folder or data.yaml; here, or as s3://BUCKET/FOLDER", show_default="the sample")
]
SkipBad = Annotated[bool, typer.Option("--skip-bad", help="Leave faulty pairs out instead of stopping")]
Subset = Annotated[int | None, typer.Option(min=1, help="Only the first N pairs of each split")]
Threads = Annotated[int, typer.Option(min=1, help="Threads; as many as the search gave a trial give the same numbers")]


def stop(message: object, code: int = 2) -> NoReturn:
    """Prints why a command stops, as it is: names of files may look like rich's markup.

    Args:
        message: an error, or what to say.
        code: of the exit; 2 is that of wrong input.

    Raises:
        typer.Exit: always.
    """
    Console(stderr=True).print(str(message), style="red", markup=False, highlight=False, soft_wrap=True)
    raise typer.Exit(code)


def print_notices(notices: Iterable[Notice], console: Console) -> None:
    """Prints a line for each notice, as it is: names of files may look like rich's markup."""
    for notice in notices:
        console.print(str(notice), style="yellow", markup=False, highlight=False, soft_wrap=True)
