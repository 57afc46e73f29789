"""The run folder: taking a name, `search.yaml`, and whether a run may be resumed as it is."""

import hashlib
import shlex
from dataclasses import asdict
from pathlib import Path
from typing import Any

import yaml

from search.options import Options

PROJECT = Path(__file__).parent.parent


class RunFolderError(ValueError):
    """The run folder cannot be made or resumed; the message says why."""


def refuse_taken_name(options: Options) -> None:
    """Whether a run of this name exists, seen before anything is written into its folder.

    Raises:
        RunFolderError: it does.
    """
    if (options.run / "search.yaml").exists():
        raise RunFolderError(
            f"--name {options.name}: {options.run} is taken; choose another name, or go on with --resume {options.run}"
        )


def create_run(options: Options, identity: dict[str, str]) -> None:
    """Makes the run folder and writes `search.yaml`, which takes the name.

    Args:
        options: what was asked.
        identity: see `identity_of`.

    Raises:
        RunFolderError: the name is taken, or the folder cannot be written.
    """
    path = options.run / "search.yaml"
    text = _search_yaml(options, identity)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("x", encoding="utf-8") as file:
            file.write(text)
    except FileExistsError:  # Another search took it while this one checked its data.
        refuse_taken_name(options)
        raise RunFolderError(f"--name {options.name}: {options.run} is a file") from None
    except OSError as error:
        raise RunFolderError(
            f"--storage {options.storage}: {options.run} cannot be written: {error.strerror}"
        ) from None


def update_run(options: Options, identity: dict[str, str]) -> None:
    """Writes what a resume has changed into `search.yaml`, in one step: the next resume goes on from there."""
    path = options.run / "search.yaml"
    scratch = path.with_name("search.yaml.tmp")
    scratch.write_text(_search_yaml(options, identity), encoding="utf-8")
    scratch.replace(path)


def resume_options(run: Path, changed: dict[str, Any]) -> Options:
    """The options of a run, from its `search.yaml`, with what may be changed on resuming.

    The folder may have been moved or renamed since.

    Raises:
        RunFolderError: there is no `search.yaml` that can be read.
        OptionsError: a changed option breaks a rule.
    """
    asked = _read(run)
    run = run.resolve()
    return Options.from_dict({**asked, **changed, "storage": str(run.parent), "name": run.name})


def check_identity(run: Path, identity: dict[str, str]) -> None:
    """Whether a run is resumed with what it was started with.

    Raises:
        RunFolderError: data, model, space or code are others; shows which.
    """
    before = _read(run).get("identity", {})
    differences = [
        f"  {name}: was {before.get(name)}, is {now}" for name, now in identity.items() if before.get(name) != now
    ]
    if differences:
        raise RunFolderError(
            f"{run}: cannot be resumed, since what it was started with has changed:\n"
            + "\n".join(differences)
            + "\n--force goes on all the same; its trials are then not comparable"
        )


def identity_of(fingerprint: str, checkpoint: str, space: str) -> dict[str, str]:
    """Short hashes of what decides a trial's result.

    Args:
        fingerprint: the data set's.
        checkpoint: a folder, or a name on the hub, which stands for itself.
        space: `path/to/file.py:function` or a name of `spaces/`.
    """
    space_file = [Path(space.rpartition(":")[0])] if ":" in space else []
    weights = sorted(path for path in Path(checkpoint).glob("*") if path.suffix in (".json", ".safetensors"))
    return {
        "data": fingerprint[:16],
        "model": _hash(weights) if weights else checkpoint,
        "space": space.rpartition(":")[2] + (f" {_hash(space_file)}" if space_file else ""),
        "code": code_version(),
    }


def code_version() -> str:
    """Short hash of the project's own code, as far as it decides a trial's result."""
    return _hash(sorted([*(PROJECT / "spaces").glob("*.py"), *(PROJECT / "trainable").rglob("*.py")]))


def identity_text(run: Path) -> str:
    """What `identity_of` gave for a run, as one text; empty where the run folder has none."""
    return repr(_read(run).get("identity", {})) if (run / "search.yaml").exists() else ""


def resume_command(run: Path) -> str:
    """The command that goes on with a run."""
    return shlex.join(["python", "search/run.py", "--resume", str(run)])


def _search_yaml(options: Options, identity: dict[str, str]) -> str:
    return yaml.safe_dump({**asdict(options), "identity": identity}, sort_keys=False, allow_unicode=True)


def _hash(files: list[Path]) -> str:
    digest = hashlib.sha256()
    for path in files:
        digest.update(path.name.encode() + b"\0" + path.read_bytes())
    return digest.hexdigest()[:16]


def _read(run: Path) -> dict[str, Any]:
    path = run / "search.yaml"
    try:
        plain = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise RunFolderError(f"--resume {run}: {path} cannot be read, so this is no run folder: {error}") from None
    if not isinstance(plain, dict) or "space" not in plain:
        raise RunFolderError(f"--resume {run}: {path} holds no options of a search")
    return plain
