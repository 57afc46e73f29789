"""The command `moved-object-search` of an installed project: its scripts, each as a sub-command.

Nothing but the sub-command's own script is imported, and that only once it is known: help is there at once.
"""

import sys
from collections.abc import Sequence
from functools import partial
from importlib import import_module
from typing import Annotated, Any

import typer
from typer.core import TyperCommand

from search.supervisor import Line, supervise
from trainable.text.command_line import ENTRY_POINT, SCRIPTS, Command
from trainable.text.console import guard_output

SUMMARIES = {
    "search": "Find the best staged recipe for fine-tuning DETR on moved objects.",
    "resume": "Go on with a search: one that was stopped, that broke, or that is to try more.",
    "train": "Train one recipe, without a search.",
    "predict": "Find what moved in pairs of images, with a trained model.",
    "evaluate": "Evaluate a model on a data set.",
    "report": "Write the report of a run.",
    "export": "Write the table of a run.",
    "export-model": "Write the model of any trial whose weights were kept.",
    "convert": "Write labels of COCO, VOC, CSV or MOT as before/after pairs.",
}
"""What each sub-command does; its own help says more."""

SUPERVISED = ("search", "resume")
"""Sub-commands that run in a process of their own, as `search/run.py` does."""

app = Command(no_args_is_help=True)


@app.callback()
def moved_object_search() -> None:
    """Finds the best staged recipe for fine-tuning DETR on moved objects, and uses what it found."""


class _Forwarding(TyperCommand):
    """A sub-command that leaves all its words, `--help` and `--` too, to the script that it stands for."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        ctx.args = list(args)
        return []


def _forward(context: typer.Context) -> None:
    name, arguments = str(context.info_name), context.args
    if name in SUPERVISED:
        sys.exit(supervise(partial(_run, name, arguments)))
    _run(name, arguments)


for _name, _summary in SUMMARIES.items():
    app.command(_name, help=_summary, cls=_Forwarding)(_forward)


def main() -> None:
    """Runs the sub-command that the command line names.

    Raises:
        SystemExit: always, with the exit code.
    """
    guard_output()
    app(prog_name=ENTRY_POINT)


def _run(name: str, arguments: Sequence[str], line: Line | None = None) -> None:
    """Runs a script's command in this process, as if it had been called by the sub-command's name.

    Raises:
        SystemExit: always, with the exit code.
    """
    script = SCRIPTS[name][0]
    # The search's own process has its flags beside the supervisor that the script starts.
    module = "search.command_line" if name in SUPERVISED else script.removesuffix(".py").replace("/", ".")
    command = typer.main.get_command(import_module(module).app)
    command.help = (command.help or "").replace(f"python {script}", f"{ENTRY_POINT} {name}")
    if name == "resume":
        _take_run_as_argument(command)
    command(args=arguments, prog_name=f"{ENTRY_POINT} {name}", obj=line)


def _take_run_as_argument(command: Any) -> None:
    """Makes `resume RUN` of a search's `--resume RUN`; flags that a resume refuses are left out of its help."""
    from search.command_line import beside_resume
    from search.options import Options

    command.help = SUMMARIES["resume"]
    shown = {*beside_resume(Options), "force", "help"}
    for parameter in command.params:
        parameter.hidden = parameter.name not in shown
        parameter.show_default = False  # It is what the run was begun with.
    others = [parameter for parameter in command.params if parameter.name != "resume"]
    command.params = [*typer.main.get_command(_run_argument).params[:1], *others]


_run_argument = typer.Typer(add_completion=False)


@_run_argument.command()
def _of_resume(
    resume: Annotated[str, typer.Argument(metavar="RUN", help="The run folder, here or as s3://BUCKET/FOLDER/NAME")],
) -> None:
    """Declares the argument in the place of `--resume`."""
