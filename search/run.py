"""Finds the best staged recipe for fine-tuning DETR on moved objects.

python search/run.py --space staged --data my_pairs/
"""

import time
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from search.options import CHANGED_BY_RESUME, Options, OptionsError, grace_of, parse_duration
from search.run_folder import RunFolderError, resume_options
from spaces.registry import spaces
from trainable.remote import StorageError, is_uri
from trainable.sample import EMBEDDED

SAMPLE_EPOCHS, DEFAULT_EPOCHS = 24, 120

app = typer.Typer(add_completion=False, rich_markup_mode="rich", pretty_exceptions_enable=False)


def _duration(text: str, flag: str) -> float:
    try:
        return parse_duration(text)
    except ValueError as error:
        raise typer.BadParameter(str(error), param_hint=flag) from None


DATA, SEARCH, MACHINE, RUN = "What to learn from", "How to search", "What it may use", "What is written"
ONCE = "What is done once (each can be switched off; the results stay the same)"
SETS = {"no_cache": "cache_size", "no_share": "share", "no_reuse": "reuse_workers"}
"""Flags that set an option of another name."""


@app.command(help=__doc__)
def main(
    context: typer.Context,
    space: Annotated[
        str,
        typer.Option(
            help="What may vary: a name of --list-spaces, or file.py:function",
            rich_help_panel=SEARCH,
        ),
    ] = "staged",
    data: Annotated[
        Path | None,
        typer.Option(
            help="Folder with before/, after/, labels/, or a data.yaml",
            show_default="the sample",
            rich_help_panel=DATA,
        ),
    ] = None,
    test: Annotated[
        Path | None,
        typer.Option(
            help="Folder or data.yaml that the search never sees; the best model is evaluated on all of its pairs",
            rich_help_panel=DATA,
        ),
    ] = None,
    model: Annotated[
        str | None,
        typer.Option(
            help="Checkpoint folder or hub name, such as facebook/detr-resnet-50",
            show_default="the embedded one",
            rich_help_panel=DATA,
        ),
    ] = None,
    trials: Annotated[
        int,
        typer.Option(
            help="Recipes to try",
            rich_help_panel=SEARCH,
        ),
    ] = 16,
    max_epochs: Annotated[
        int | None,
        typer.Option(
            help="Most epochs of a trial, at least 3",
            show_default="24 with the embedded checkpoint, else 120",
            rich_help_panel=SEARCH,
        ),
    ] = None,
    grace: Annotated[
        int | None,
        typer.Option(
            help="Epochs before a trial may be pruned",
            show_default="a sixth of max-epochs",
            rich_help_panel=SEARCH,
        ),
    ] = None,
    reduction: Annotated[
        float,
        typer.Option(
            help="One trial in so many goes on past a rung of ASHA",
            rich_help_panel=SEARCH,
        ),
    ] = 3,
    sampler: Annotated[
        str,
        typer.Option(
            help="tpe or random",
            rich_help_panel=SEARCH,
        ),
    ] = "tpe",
    seed: Annotated[
        int,
        typer.Option(
            help="Of the sampler and of every trial",
            rich_help_panel=SEARCH,
        ),
    ] = 0,
    skip_bad: Annotated[
        bool,
        typer.Option(
            "--skip-bad",
            help="Leave faulty pairs out instead of stopping",
            rich_help_panel=DATA,
        ),
    ] = False,
    subset: Annotated[
        int | None,
        typer.Option(
            help="Only the first N pairs of each split, for a quick try",
            rich_help_panel=DATA,
        ),
    ] = None,
    group_by: Annotated[
        str | None,
        typer.Option(
            help="Keep scenes on one side of the split: 'parent' folder, or a regular expression on the pair's id",
            rich_help_panel=DATA,
        ),
    ] = None,
    min_precision: Annotated[
        float | None,
        typer.Option(
            help="Recommend the best score threshold that keeps this precision",
            rich_help_panel=RUN,
        ),
    ] = None,
    min_recall: Annotated[
        float | None,
        typer.Option(
            help="Recommend the best score threshold that keeps this recall",
            rich_help_panel=RUN,
        ),
    ] = None,
    overlays: Annotated[
        int,
        typer.Option(
            help="Validation pairs to draw with what the best model sees in them: worst, best and some between",
            rich_help_panel=RUN,
        ),
    ] = 12,
    max_concurrent: Annotated[
        int | None,
        typer.Option(
            help="Trials at a time; 1 makes a search exactly repeatable",
            show_default="what the resources allow",
            rich_help_panel=MACHINE,
        ),
    ] = None,
    gpus_per_trial: Annotated[
        float | None,
        typer.Option(
            help="GPUs of a trial; fractions share one",
            show_default="1 where there is a GPU, else 0",
            rich_help_panel=MACHINE,
        ),
    ] = None,
    cpus_per_trial: Annotated[
        int | None,
        typer.Option(
            help="Cores of a trial",
            show_default="1; its share of the cores, up to 4, beside a GPU",
            rich_help_panel=MACHINE,
        ),
    ] = None,
    cache_size: Annotated[
        float,
        typer.Option(
            help="GB of each machine's cache folder for pictures and layer outputs made once",
            rich_help_panel=ONCE,
        ),
    ] = 10,
    no_cache: Annotated[
        bool,
        typer.Option(
            "--no-cache",
            help="Keep neither pictures nor layer outputs, as --cache-size 0",
            rich_help_panel=ONCE,
        ),
    ] = False,
    no_cache_pictures: Annotated[
        bool,
        typer.Option(
            "--no-cache-pictures",
            help="Decode, subtract and resize the pictures anew in every epoch",
            rich_help_panel=ONCE,
        ),
    ] = False,
    no_cache_layers: Annotated[
        bool,
        typer.Option(
            "--no-cache-layers",
            help="Run the layers that a stage leaves frozen anew in every epoch",
            rich_help_panel=ONCE,
        ),
    ] = False,
    no_share: Annotated[
        bool,
        typer.Option(
            "--no-share",
            help="Train every stage, also one that another trial has trained already",
            rich_help_panel=ONCE,
        ),
    ] = False,
    no_reuse: Annotated[
        bool,
        typer.Option(
            "--no-reuse",
            help="Start a process for every trial",
            rich_help_panel=ONCE,
        ),
    ] = False,
    checkpoint_every: Annotated[
        str,
        typer.Option(
            help="What a killed trial trains again at most, beside its running epoch: 0s, 60s, 5m",
            rich_help_panel=ONCE,
        ),
    ] = "60s",
    keep: Annotated[
        int,
        typer.Option(
            help="Trials whose weights are kept, the best ones",
            rich_help_panel=RUN,
        ),
    ] = 10,
    address: Annotated[
        str | None,
        typer.Option(
            help="A running Ray cluster: auto or HOST:PORT",
            show_default="start Ray here",
            rich_help_panel=MACHINE,
        ),
    ] = None,
    time_budget: Annotated[
        str | None,
        typer.Option(
            help="Stop after this long: 90s, 30m, 1.5h",
            rich_help_panel=MACHINE,
        ),
    ] = None,
    storage: Annotated[
        str,
        typer.Option(
            help="Folder of run folders, here or as s3://BUCKET/FOLDER, gs://..., abfs://...",
            rich_help_panel=RUN,
        ),
    ] = "runs",
    name: Annotated[
        str | None,
        typer.Option(
            help="The run folder's name",
            show_default="the time",
            rich_help_panel=RUN,
        ),
    ] = None,
    resume: Annotated[
        str | None,
        typer.Option(
            help="Go on with this run folder, here or as s3://BUCKET/FOLDER/NAME; beside it only --trials (more of "
            "them extend a finished search), --max-concurrent, the resources, --address, --time-budget, --cache-size, "
            "--no-cache, --no-share, --no-reuse, --checkpoint-every, --keep, --min-precision, --min-recall, --overlays "
            "and --force",
            rich_help_panel=RUN,
        ),
    ] = None,
    force: Annotated[
        bool,
        typer.Option(
            "--force",
            help="Resume although data, model, space or code have changed",
            rich_help_panel=RUN,
        ),
    ] = False,
    list_spaces: Annotated[
        bool,
        typer.Option(
            "--list-spaces",
            help="Print the spaces and stop",
            rich_help_panel=SEARCH,
        ),
    ] = False,
) -> None:
    console = Console()
    if list_spaces:
        _print_spaces(console)
        return
    given = {
        key for key, source in ((key, context.get_parameter_source(key)) for key in context.params)
        if source is not None and source.name == "COMMANDLINE"
    }  # fmt: skip
    seconds = _duration(time_budget, "--time-budget") if time_budget else None
    once: dict[str, Any] = {
        "cache_size": 0.0 if no_cache else cache_size,
        "share": not no_share,
        "reuse_workers": not no_reuse,
        "checkpoint_every": _duration(checkpoint_every, "--checkpoint-every"),
    }
    try:
        if resume:
            given = {SETS.get(flag, flag) for flag in given}
            _refuse_beside_resume(given)
            values = context.params | once | {"time_budget": seconds}
            options = resume_options(resume, {key: values[key] for key in CHANGED_BY_RESUME if key in given})
        else:
            epochs = max_epochs if max_epochs is not None else (DEFAULT_EPOCHS if model else SAMPLE_EPOCHS)
            options = Options(
                space=_with_absolute_path(space),
                data=str(data.resolve()) if data else None,
                model=_absolute_if_there(model) if model else EMBEDDED,
                trials=trials,
                max_epochs=epochs,
                grace=grace_of(epochs, grace),
                reduction=reduction,
                sampler=sampler,
                max_concurrent=max_concurrent,
                gpus_per_trial=gpus_per_trial,
                cpus_per_trial=cpus_per_trial,
                **once,
                cache_pictures=not no_cache_pictures,
                cache_layers=not no_cache_layers,
                keep=keep,
                storage=storage if is_uri(storage) else str(Path(storage).resolve()),
                name=name or time.strftime("%Y-%m-%d_%H-%M-%S"),
                seed=seed,
                skip_bad=skip_bad,
                subset=subset,
                group_by=group_by,
                address=address,
                time_budget=seconds,
                test=str(test.resolve()) if test else None,
                min_precision=min_precision,
                min_recall=min_recall,
                overlays=overlays,
            )
    except (OptionsError, RunFolderError, StorageError) as error:
        _stop(str(error))
    from search.driver import conduct

    raise typer.Exit(conduct(options, resumed=resume is not None, force=force, console=console))


def _absolute_if_there(text: str) -> str:
    """A path that exists, made absolute, so that a run can be resumed from elsewhere; else the text, such as a name."""
    return str(Path(text).resolve()) if Path(text).exists() else text


def _with_absolute_path(space: str) -> str:
    path, colon, function = space.rpartition(":")
    return f"{_absolute_if_there(path)}:{function}" if colon else space


def _refuse_beside_resume(given: set[str]) -> None:
    allowed = {*CHANGED_BY_RESUME, "resume", "force"}
    if refused := sorted(given - allowed):
        flags = ", ".join("--" + name.replace("_", "-") for name in refused)
        _stop(f"{flags}: cannot be given beside --resume; everything else comes from the run's search.yaml")


def _print_spaces(console: Console) -> None:
    table = Table(box=None, show_header=False, padding=(0, 2))
    for space in spaces().values():
        table.add_row(f"[bold]{space.name}[/]", space.description)
    console.print(table)


def _stop(message: str) -> Any:
    Console(stderr=True).print(message, style="red", highlight=False, soft_wrap=True)
    raise typer.Exit(2)


if __name__ == "__main__":
    app()
