"""The command line of a search: from flags to options."""

import time
from collections.abc import Mapping
from dataclasses import fields, replace
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from search.command import DURATIONS, SWITCHED_OFF_BY, flag_of, parameters_of
from search.options import CHANGED_BY_RESUME, Options, OptionsError, grace_of, parse_duration
from search.run_folder import RunFolderError, resume_options
from search.supervisor import Line
from spaces.registry import spaces
from trainable.command_line import Command, stop
from trainable.console import guard_output, plain_console
from trainable.remote import StorageError, is_uri
from trainable.sample import EMBEDDED

SAMPLE_EPOCHS, DEFAULT_EPOCHS = 24, 120

app = Command(rich_markup_mode="rich")

# A panel of the help each.
of_data = partial(typer.Option, rich_help_panel="What to learn from")
of_search = partial(typer.Option, rich_help_panel="How to search")
of_machine = partial(typer.Option, rich_help_panel="What it may use")
of_saving = partial(
    typer.Option, rich_help_panel="What is done once (each can be switched off; the results stay the same)"
)
of_run = partial(typer.Option, rich_help_panel="What is written")

BESIDE_RESUME = [parameter for option in CHANGED_BY_RESUME for parameter in parameters_of(option)]


HELP = """Finds the best staged recipe for fine-tuning DETR on moved objects.

python search/run.py --space staged --data my_pairs/
"""


@app.command(help=HELP)
def main(
    context: typer.Context,
    space: Annotated[str, of_search(help="What may vary: a name of --list-spaces, or file.py:function")] = "staged",
    data: Annotated[
        str | None,
        of_data(
            help="Folder with before/, after/, labels/, or a data.yaml; here, or as s3://BUCKET/FOLDER, gs://...",
            show_default="the sample",
        ),
    ] = None,
    test: Annotated[
        str | None,
        of_data(
            help="Folder, data.yaml or URI that the search never sees; the best model is evaluated on all of its pairs"
        ),
    ] = None,
    model: Annotated[
        str | None,
        of_data(
            help="Checkpoint folder or hub name, such as facebook/detr-resnet-50, also NAME@REVISION",
            show_default="the embedded one",
        ),
    ] = None,
    trials: Annotated[int, of_search(help="Recipes to try")] = 16,
    max_epochs: Annotated[
        int | None,
        of_search(help="Most epochs of a trial, at least 3", show_default="24 with the embedded checkpoint, else 120"),
    ] = None,
    grace: Annotated[
        int | None, of_search(help="Epochs before a trial may be pruned", show_default="a sixth of max-epochs")
    ] = None,
    reduction: Annotated[float, of_search(help="One trial in so many goes on past a rung of ASHA")] = 3,
    sampler: Annotated[str, of_search(help="tpe or random")] = "tpe",
    seed: Annotated[int, of_search(help="Of the sampler and of every trial")] = 0,
    skip_bad: Annotated[bool, of_data("--skip-bad", help="Leave faulty pairs out instead of stopping")] = False,
    subset: Annotated[int | None, of_data(help="Only the first N pairs of each split, for a quick try")] = None,
    group_by: Annotated[
        str | None,
        of_data(help="Keep scenes on one side of the split: 'parent' folder, or a regular expression on the pair's id"),
    ] = None,
    min_precision: Annotated[
        float | None, of_run(help="Recommend the best score threshold that keeps this precision")
    ] = None,
    min_recall: Annotated[
        float | None, of_run(help="Recommend the best score threshold that keeps this recall")
    ] = None,
    overlays: Annotated[
        int, of_run(help="Validation pairs to draw with what the best model sees in them: worst, best and some between")
    ] = 12,
    max_concurrent: Annotated[
        int | None,
        of_machine(
            help="Trials at a time; 1 makes a search exactly repeatable", show_default="what the resources allow"
        ),
    ] = None,
    gpus_per_trial: Annotated[
        float | None,
        of_machine(help="GPUs of a trial; fractions share one", show_default="1 where there is a GPU, else 0"),
    ] = None,
    cpus_per_trial: Annotated[
        int | None,
        of_machine(
            help="Cores of a trial; beside a GPU, all but one load images",
            show_default="1; its share of the cores, up to 4, beside a GPU",
        ),
    ] = None,
    cache_size: Annotated[
        float, of_saving(help="GB of each machine's cache folder for pictures and layer outputs made once")
    ] = 10,
    no_cache: Annotated[
        bool, of_saving("--no-cache", help="Keep neither pictures nor layer outputs, as --cache-size 0")
    ] = False,
    no_cache_pictures: Annotated[
        bool, of_saving("--no-cache-pictures", help="Decode, subtract and resize the pictures anew in every epoch")
    ] = False,
    no_cache_layers: Annotated[
        bool, of_saving("--no-cache-layers", help="Run the layers that a stage leaves frozen anew in every epoch")
    ] = False,
    no_share: Annotated[
        bool, of_saving("--no-share", help="Train every stage, also one that another trial has trained already")
    ] = False,
    no_reuse: Annotated[bool, of_saving("--no-reuse", help="Start a process for every trial")] = False,
    checkpoint_every: Annotated[
        str, of_saving(help="What a killed trial trains again at most, beside its running epoch: 0s, 60s, 5m")
    ] = "60s",
    keep: Annotated[int, of_run(help="Trials whose weights are kept, the best ones")] = 10,
    address: Annotated[
        str | None, of_machine(help="A running Ray cluster: auto or HOST:PORT", show_default="start Ray here")
    ] = None,
    placement: Annotated[
        str,
        of_machine(
            help="Of a cluster's nodes, start trials on the emptiest one (spread) or the fullest with room (pack)"
        ),
    ] = "spread",
    time_budget: Annotated[str | None, of_machine(help="Stop after this long: 90s, 30m, 1.5h")] = None,
    storage: Annotated[
        str, of_run(help="Folder of run folders, here or as s3://BUCKET/FOLDER, gs://..., abfs://...")
    ] = "runs",
    name: Annotated[str | None, of_run(help="The run folder's name", show_default="the time")] = None,
    resume: Annotated[
        str | None,
        of_run(
            help="Go on with this run folder, here or as s3://BUCKET/FOLDER/NAME; more --trials extend a finished "
            f"search. Beside it only {', '.join(map(flag_of, BESIDE_RESUME))} and --force"
        ),
    ] = None,
    force: Annotated[
        bool, of_run("--force", help="Resume although data, model, space or results version have changed")
    ] = False,
    list_spaces: Annotated[bool, of_search("--list-spaces", help="Print the spaces and stop")] = False,
) -> None:
    guard_output()
    console, line = plain_console(), context.obj or Line()
    if list_spaces:
        _print_spaces(console)
        return
    try:  # The flags are taken by their names, from the context.
        options = _changed_options(resume, context) if resume else _new_options(context.params)
        # One that a crashed search has begun, by these same flags; it may have been named by the time.
        options = replace(options, name=line.before.name or options.name)
    except (OptionsError, RunFolderError, StorageError) as error:
        stop(error)
    from search.driver import conduct

    resumed = resume is not None or line.before.name is not None
    raise typer.Exit(conduct(options, resumed=resumed, force=force, console=console, line=line))


def _new_options(flags: Mapping[str, Any]) -> Options:
    values = _option_values(flags)
    epochs = values["max_epochs"]
    if epochs is None:
        epochs = DEFAULT_EPOCHS if values["model"] else SAMPLE_EPOCHS
    values |= {
        "space": _with_absolute_path(values["space"]),
        "data": _absolute(values["data"]) if values["data"] else None,
        "test": _absolute(values["test"]) if values["test"] else None,
        "model": _absolute_if_there(values["model"]) if values["model"] else EMBEDDED,
        "max_epochs": epochs,
        "grace": grace_of(epochs, values["grace"]),
        "storage": _absolute(values["storage"]),
        "name": values["name"] or time.strftime("%Y-%m-%d_%H-%M-%S"),
    }
    return Options(**{field.name: values[field.name] for field in fields(Options) if field.name in values})


def _changed_options(run: str, context: typer.Context) -> Options:
    """Those of the run, with what is given on the command line in the place of what it was begun with."""
    sources = {parameter: context.get_parameter_source(parameter) for parameter in context.params}
    given = {parameter for parameter, source in sources.items() if source and source.name == "COMMANDLINE"}
    if refused := sorted(given - {*BESIDE_RESUME, "resume", "force"}):
        flags = ", ".join(map(flag_of, refused))
        stop(f"{flags}: cannot be given beside --resume; everything else comes from the run's search.yaml")
    values = _option_values(context.params)
    changed = [option for option in CHANGED_BY_RESUME if given.intersection(parameters_of(option))]
    return resume_options(run, {option: values[option] for option in changed})


def _option_values(flags: Mapping[str, Any]) -> dict[str, Any]:
    """What the flags say of each option, by its name in `Options`."""
    values = {**flags, **{option: not flags[flag] for option, flag in SWITCHED_OFF_BY.items()}}
    given = [option for option in DURATIONS if flags[option] is not None]
    values |= {option: _duration(flags[option], flag_of(option)) for option in given}
    if flags["no_cache"]:
        values["cache_size"] = 0.0
    return values


def _duration(text: str, flag: str) -> float:
    try:
        return parse_duration(text)
    except ValueError as error:
        raise typer.BadParameter(str(error), param_hint=flag) from None


def _absolute(location: str) -> str:
    """A path made absolute, so that a run can be resumed from elsewhere; a URI as it is."""
    return location if is_uri(location) else str(Path(location).resolve())


def _absolute_if_there(text: str) -> str:
    """A path that exists, made absolute, so that a run can be resumed from elsewhere; else the text, such as a name."""
    return str(Path(text).resolve()) if Path(text).exists() else text


def _with_absolute_path(space: str) -> str:
    path, colon, function = space.rpartition(":")
    return f"{_absolute_if_there(path)}:{function}" if colon else space


def _print_spaces(console: Console) -> None:
    table = Table(box=None, show_header=False, padding=(0, 2))
    for space in spaces().values():
        table.add_row(Text(space.name, "bold"), space.description)
    console.print(table)


if __name__ == "__main__":
    app()
