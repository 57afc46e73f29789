"""The command line of a search: from flags to options."""

import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from inspect import Parameter, Signature, signature
from pathlib import Path
from typing import Annotated, Any, NamedTuple, cast

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from search.command import duration_text
from search.option import Option, default_of, described, flag_of
from search.options import OUTPUT, SEARCH, Options, OptionsError, grace_of, parse_duration
from search.run_folder.run_folder import RunFolderError, resume_options
from search.supervisor import Line
from spaces.registry import spaces
from trainable.sample import EMBEDDED
from trainable.sample.data_set import is_sample
from trainable.storage.remote import StorageError, is_uri
from trainable.text.command_line import Command, stop
from trainable.text.console import guard_output, plain_console

SAMPLE_EPOCHS, DEFAULT_EPOCHS = 24, 120

of_search = partial(typer.Option, rich_help_panel=SEARCH.title)
of_output = partial(typer.Option, rich_help_panel=OUTPUT.title)
ABOUT_RESUME = "Go on with this run folder, here or as s3://BUCKET/FOLDER/NAME; more --trials extend a finished search."
ABOUT_FORCE = "Resume although data, model, space or results version have changed"


class Flag(NamedTuple):
    """A flag of the command line and the option that it sets: to `sets`, or to the value that follows the flag."""

    parameter: Parameter
    option: str
    about: Option
    sets: Any


def command_line_of(kind: type[Options]) -> Command:
    """The command line that takes the options of a class, and beside them --resume, --force and --list-spaces."""
    app, flags = Command(rich_markup_mode="rich"), list(_flags(kind))
    about_resume = f"{ABOUT_RESUME} Beside it only {', '.join(map(flag_of, beside_resume(kind)))} and --force"

    def main(
        context: typer.Context,
        *,
        resume: Annotated[str | None, of_output(help=about_resume)] = None,
        force: Annotated[bool, of_output("--force", help=ABOUT_FORCE)] = False,
        list_spaces: Annotated[bool, of_search("--list-spaces", help="Print the spaces and stop")] = False,
        **given: Any,
    ) -> None:
        """Finds the best staged recipe for fine-tuning DETR on moved objects.

        python search/run.py --space staged --data my_pairs/
        """
        guard_output()
        console, line = plain_console(), context.obj or Line()
        if list_spaces:
            _print_spaces(console)
            return
        try:
            options = _changed_options(resume, flags, context) if resume else _new_options(kind, flags, given)
            # One that a crashed search has begun, by these same flags; it may have been named by the time.
            if line.before.name:
                options = replace(options, name=line.before.name)
                if options.start_from:  # What it stood for then.
                    options = replace(options, earlier=resume_options(options.address_of_run, {}).earlier)
        except (OptionsError, RunFolderError, StorageError) as error:
            stop(error)
        from search.driver import run_search

        resumed = resume is not None or line.before.name is not None
        raise typer.Exit(run_search(options, resumed=resumed, force=force, console=console, line=line))

    # typer reads the flags from the signature: those of the options take the place of `given`.
    context, *own, _ = signature(main).parameters.values()
    cast(Any, main).__signature__ = Signature([context, *(flag.parameter for flag in flags), *own])
    app.command()(main)
    return app


def beside_resume(kind: type[Options]) -> list[str]:
    """The parameters that set options which may be given beside --resume."""
    return [flag.parameter.name for flag in _flags(kind) if flag.about.beside_resume]


def _flags(kind: type[Options]) -> Iterator[Flag]:
    for field, option in described(kind):
        flag = partial(_flag, field.name, option)
        if option.switch:
            yield flag(option.switch, bool, False, option.help, not field.default)
            continue
        default = default_of(field, option)
        if option.duration and default is not None:
            default = duration_text(default)
        of_type: Any = list[str] if option.repeated else str if option.duration else field.type
        yield flag(field.name, of_type | None if default is None else of_type, default, option.help)
        if option.zero:
            yield flag(option.zero[0], bool, False, option.zero[1], 0.0)


def _flag(name: str, about: Option, written: str, of_type: Any, default: Any, help: str, sets: Any = None) -> Flag:
    how = typer.Option(flag_of(written), help=help, rich_help_panel=about.panel.title, show_default=about.shown or True)
    parameter = Parameter(written, Parameter.KEYWORD_ONLY, default=default, annotation=Annotated[of_type, how])
    return Flag(parameter, name, about, sets)


def _new_options(kind: type[Options], flags: Sequence[Flag], given: Mapping[str, Any]) -> Options:
    values = _values(flags, given)
    for field, option in described(kind):
        if option.location:
            location = values[field.name] or option.flag_default
            parts = location.split(",") if location and option.several else [location]
            values[field.name] = ",".join(map(_absolute, parts)) if location else None
    if values["max_epochs"] is None:
        values["max_epochs"] = DEFAULT_EPOCHS if values["model"] else SAMPLE_EPOCHS
    values |= {
        "space": _with_absolute_path(values["space"]),
        "model": _models(values["model"]),
        "grace": grace_of(values["max_epochs"], values["grace"]),
        "name": values["name"] or time.strftime("%Y-%m-%d_%H-%M-%S"),
    }
    return kind(**values)


def _changed_options(run: str, flags: Sequence[Flag], context: typer.Context) -> Options:
    """Those of the run, with what is given on the command line in the place of what it was begun with."""
    sources = {parameter: context.get_parameter_source(parameter) for parameter in context.params}
    given = {parameter for parameter, source in sources.items() if source and source.name == "COMMANDLINE"}
    changing = [flag for flag in flags if flag.parameter.name in given and flag.about.beside_resume]
    if refused := sorted(given - {flag.parameter.name for flag in changing} - {"resume", "force"}):
        names = ", ".join(map(flag_of, refused))
        stop(f"{names}: cannot be given beside --resume; everything else comes from the run's search.yaml")
    return resume_options(run, _values(changing, context.params))


def _values(flags: Sequence[Flag], given: Mapping[str, Any]) -> dict[str, Any]:
    """What the command line says of each option, by its name; a switch that is not given says nothing."""
    values = {}
    for flag in flags:
        value = given[flag.parameter.name]
        if flag.about.duration and value is not None:
            try:
                value = parse_duration(value)
            except ValueError as error:
                raise typer.BadParameter(str(error), param_hint=flag_of(flag.parameter.name)) from None
        if flag.about.repeated:
            value = value[0] if value and len(value) == 1 else value or None
        if flag.sets is None or value:
            values[flag.option] = value if flag.sets is None else flag.sets
    return values


def _absolute(location: str) -> str:
    """A path made absolute, so that a run can be resumed from elsewhere; a URI or a sample's name as it is."""
    return location if is_uri(location) or is_sample(location) else str(Path(location).resolve())


def _models(given: str | list[str] | None) -> str | list[str]:
    if isinstance(given, list):
        return list(map(_absolute_if_there, given))
    return _absolute_if_there(given) if given else EMBEDDED


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


app = command_line_of(Options)
