"""The run folder: taking a name, `search.yaml`, and whether a run may be resumed as it is.

A run in a remote storage is worked on in a folder of this machine that is empty at the start and gone at the end: only
what lies in the storage counts.
"""

import contextlib
import os
import shutil
from collections.abc import Callable, Iterator
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import yaml

from results.journal.journal import Journal
from results.journal.objects import JournalObjects
from search.command import search_command
from search.option import described, without_secrets_of
from search.options import Options
from search.run_folder.identity import changes
from search.run_folder.owner import Owner
from trainable.storage.durable_file import write_atomically
from trainable.storage.remote import Remote, is_uri, without_secrets
from trainable.storage.working_folder import begin_work
from trainable.text.command_line import command_line, quoted
from trainable.text.shown import shown
from trainable.text.yaml_file import YamlError, yaml_of

PROJECT = Path(__file__).parent.parent.parent


class RunFolderError(ValueError):
    """The run folder cannot be made or resumed; the message says why."""


@contextlib.contextmanager
def run_folder(options: Options, resumed: bool) -> Iterator[Callable[[], None]]:
    """Keeps the name for this search: seen before anything is written into the folder, and no other has it meanwhile.

    Gives what is to be called before the storage is written to; it raises an OwnerError once another search may have
    taken the run over.

    Raises:
        RunFolderError: a run of this name exists, or the one to be resumed does not; or this machine has no cache
            folder to work on a remote one.
        OwnerError: another search is writing it.
        StorageError: the remote storage cannot be used or reached.
    """
    try:
        mirror = options.mirror
        if mirror:
            mirror.local.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise RunFolderError(
            f"--storage {without_secrets(options.storage)}: this machine works on it in its cache folder, which cannot "
            f"be written: {error}; free it, or set XDG_CACHE_HOME to another"
        ) from None
    if mirror is None:
        if not resumed:
            _refuse_taken_name(options)
        yield lambda: None
        return
    with Owner(mirror.remote.at("owner")) as owner:
        if not resumed:
            _refuse_taken_name(options)
        shutil.rmtree(options.run, ignore_errors=True)
        begin_work(mirror)
        if resumed:
            mirror.pull(options.run / "search.yaml")
        yield owner.check
        shutil.rmtree(options.run, ignore_errors=True)


def _refuse_taken_name(options: Options) -> None:
    if options.remote:
        is_taken = options.remote.written("search.yaml") is not None
    else:
        is_taken = (options.run / "search.yaml").exists()
    if is_taken:
        raise RunFolderError(
            f"--name {options.name}: {options.shown()} is taken; choose another name, or go on with --resume "
            f"{quoted([options.address_of_run])}"
        )


def create_run(options: Options, identity: dict[str, str]) -> None:
    """Makes the run folder and writes `search.yaml`, which takes the name.

    Args:
        options: what was asked.
        identity: see `provenance`.

    Raises:
        RunFolderError: the name is taken, or the folder cannot be written.
    """
    path = options.run / "search.yaml"
    text = _search_yaml(options, identity)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("x", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
    except FileExistsError:  # Another search took it while this one checked its data.
        _refuse_taken_name(options)
        raise RunFolderError(f"--name {options.name}: {options.run} is a file") from None
    except OSError as error:
        raise RunFolderError(
            f"--storage {without_secrets(options.storage)}: {options.run} cannot be written: {error.strerror}"
        ) from None
    publish(options, "search.yaml")


def update_run(options: Options, identity: dict[str, str]) -> None:
    """Writes what a resume has changed into `search.yaml`, in one step: the next resume goes on from there."""
    write_atomically(options.run / "search.yaml", _search_yaml(options, identity))
    publish(options, "search.yaml")


def publish(options: Options, *names: str) -> None:
    """Copies files and folders of the run folder to the storage, where that is remote; those that there are.

    Raises:
        StorageError: the remote storage cannot be used or reached.
    """
    for path in (options.run / name for name in names):
        if options.mirror and path.exists():
            options.mirror.push(path)


def open_journal(options: Options, within: str = "") -> Journal:
    """The run's journal, or that of a folder within it, which is made.

    Raises:
        JournalError: it is damaged, or another process is writing it.
        StorageError: the remote storage cannot be used or reached.
    """
    folder = options.run / within
    folder.mkdir(exist_ok=True)
    name = f"{within}/journal" if within else "journal"
    objects = JournalObjects(options.remote.at(name)) if options.remote else None
    return Journal(folder / "journal.jsonl", objects)


def resume_options(run: str | Path, changed: dict[str, Any]) -> Options:
    """The options of a run, from its `search.yaml`, with what may be changed on resuming.

    The folder may have been moved or renamed since.

    Args:
        run: the folder, or the URI of one in a remote storage.
        changed: options by their names.

    Raises:
        RunFolderError: there is no `search.yaml` that can be read.
        OptionsError: a changed option breaks a rule.
        StorageError: the remote storage cannot be used or reached.
    """
    if is_uri(str(run)):
        storage, name = _split(str(run))
        asked = _parsed(Remote(storage).at(name).read("search.yaml"), str(Remote(storage).at(name)))
    else:
        asked, path = _read(Path(run)), Path(run).resolve()
        storage, name = str(path.parent), path.name
    return replace(Options.from_dict(asked), storage=storage, name=name, **changed)


def check_identity(options: Options, identity: dict[str, str]) -> None:
    """Whether a run is resumed with what it was started with.

    Raises:
        RunFolderError: data, model, space or results version are others; shows which.
    """
    if differences := changes(_read(options.run).get("identity", {}), identity):
        raise RunFolderError(
            f"{options.shown()}: cannot be resumed, since what it was started with has changed:\n"
            + "\n".join(differences)
            + "\n--force goes on all the same; its trials are then not comparable"
        )


def resume_command(options: Options) -> str:
    """The command that goes on with a run."""
    return command_line("resume", options.address_of_run)


def _search_yaml(options: Options, identity: dict[str, str]) -> str:
    asked = asdict(options)
    for field, option in described(options):
        if option.location and asked[field.name]:
            asked[field.name] = without_secrets_of(option, asked[field.name])
    asked["command"] = search_command(options)
    fields = yaml.safe_dump({**asked, "identity": identity}, sort_keys=False, allow_unicode=True)
    # As a comment, so that it can be copied from there: YAML would fold and quote it.
    return f"# Go on with this search:\n#   {resume_command(options)}\n{fields}"


def _split(uri: str) -> tuple[str, str]:
    """The URI of the folder that a run lies in, and the run's name; the query belongs to the first."""
    address, mark, query = uri.partition("?")
    parent, _, name = address.rstrip("/").rpartition("/")
    if not is_uri(parent):
        raise RunFolderError(f"--resume {without_secrets(uri)}: names no run; it is s3://BUCKET/FOLDER/NAME")
    return f"{parent}{mark}{query}", unquote(name)


def _read(run: Path) -> dict[str, Any]:
    path = run / "search.yaml"
    try:
        return _parsed(path.read_bytes(), str(run))
    except OSError as error:
        raise RunFolderError(f"--resume {run}: {path} cannot be read, so this is no run folder: {error}") from None


def _parsed(data: bytes | None, run: str) -> dict[str, Any]:
    """What a `search.yaml` says; None is one that is not there."""
    if data is None:
        raise RunFolderError(f"--resume {run}: there is no search.yaml, so this is no run folder")
    try:
        plain = yaml_of(data)
    except YamlError as error:
        raise RunFolderError(
            f"--resume {run}: its search.yaml cannot be read, so this is no run folder: {error}"
        ) from None
    if not isinstance(plain, dict) or "space" not in plain or not isinstance(plain.get("identity", {}), dict):
        raise RunFolderError(f"--resume {run}: its search.yaml holds no options of a search, but {shown(plain)}")
    return plain
