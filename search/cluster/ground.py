"""What Ray stands on where it is started here: a Python that it can start again, a folder for its sockets, a token.

Ray itself finds out later, if at all, and then says so by a traceback or by waiting for ever.
"""

import os
import secrets
import shlex
import sys
import tempfile
from collections.abc import MutableMapping
from pathlib import Path

from ray._common.utils import get_default_ray_temp_dir

SOCKET_BYTES = 107
"""Of a socket's path at most (`sun_path` of Linux, without its last 0)."""

LONGEST_SOCKET = "session_2026-01-01_00-00-00_000000_4194304/sockets/plasma_store.1"
"""How Ray 2.60 calls its sockets within its folder, with the longest process id."""

ELSEWHERE = ("/tmp", "/var/tmp", "/dev/shm")
"""Where a folder of this user's own is made when the usual one cannot be used."""


class GroundError(RuntimeError):
    """Ray cannot be started here; the message says why and what to do."""


def check_python(executable: str = sys.executable) -> None:
    """Refuses a Python that Ray could start no worker with: its path goes through a shell unquoted (Ray 2.60).

    Raises:
        GroundError: the shell would take the path for something else.
    """
    if shlex.quote(executable) != executable:
        raise GroundError(
            f"Python is at {executable}, and Ray can start no process by a path with a space or another character that "
            "a shell takes for its own; make the environment (python -m venv) in a folder without, or link to it from "
            "one and start the search with the link's bin/python"
        )


def session_folder() -> tuple[Path, str | None]:
    """The folder for Ray's sockets and logs, and why it is not the usual one where it is not.

    Another one is this user's own, private to it, and taken again by the next search.

    Raises:
        GroundError: none can be used.
    """
    usual = Path(get_default_ray_temp_dir()).absolute()
    why_not = _unusable(usual)
    if why_not is None:
        return usual, None
    runtime = os.environ.get("XDG_RUNTIME_DIR")
    parents = dict.fromkeys([str(usual.parent), *ELSEWHERE, *([runtime] if runtime else [])])
    for parent in parents:
        own = Path(parent) / f"ray-{os.geteuid()}"
        # Ray makes its folder writable for everybody; the one above stays private.
        if _is_private(own) and _unusable(own / "r") is None:
            return own / "r", why_not
    raise GroundError(
        f"Ray needs a folder of a short path ({_most_bytes()} bytes) that can be written, for its sockets: {why_not}; "
        f"nor can one be made in {', '.join(parents)}. Set RAY_TMPDIR to such a folder"
    )


def provide_token(environment: MutableMapping[str, str] = os.environ) -> None:
    """Gives Ray a token of this search's own where the home has none: Ray would write one there, for all to read.

    A home that cannot be written, or that there is none, is no hindrance then.
    """
    given = environment.get("RAY_AUTH_TOKEN") or environment.get("RAY_AUTH_TOKEN_PATH")
    wanted = environment.get("RAY_AUTH_MODE", "token").lower() == "token"
    if wanted and not given and not _has_token(environment.get("HOME")):
        environment["RAY_AUTH_TOKEN"] = secrets.token_hex(32)


def _most_bytes() -> int:
    return SOCKET_BYTES - len(f"/{LONGEST_SOCKET}")


def _unusable(folder: Path) -> str | None:
    """Why Ray cannot work in a folder, which is made; None where it can."""
    if len(os.fsencode(folder)) > _most_bytes():
        return f"the path of {folder}{_variable_of(folder)} is too long for a socket's"
    if shlex.quote(str(folder)) != str(folder):
        return f"{folder}{_variable_of(folder)} has a character that a shell takes for its own"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if folder.stat().st_uid != os.geteuid():
            return f"{folder}{_variable_of(folder)} is another user's"
        with tempfile.TemporaryFile(dir=folder):
            return None
    except OSError as error:
        return f"{folder}{_variable_of(folder)} cannot be written ({error.strerror or error})"


def _variable_of(folder: Path) -> str:
    """Which variable puts the usual folder there."""
    for name in ("RAY_TMPDIR", "TMPDIR"):
        if name in os.environ:
            return f" (from {name})" if str(folder).startswith(os.environ[name]) else ""
    return ""


def _is_private(folder: Path) -> bool:
    """Makes a folder that is this user's alone; whether it is."""
    try:
        folder.mkdir(mode=0o700, exist_ok=True)
        status = folder.lstat()
    except OSError:
        return False
    return folder.is_dir() and not folder.is_symlink() and status.st_uid == os.geteuid() and not status.st_mode & 0o077


def _has_token(home: str | None) -> bool:
    try:
        return bool(home and (Path(home) / ".ray" / "auth_token").read_text().strip())
    except (OSError, UnicodeDecodeError):
        return False
