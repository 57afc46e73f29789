"""A terminal that nodes of Ray's clusters are started in, apart from all others of the machine."""

import os
import shlex
import shutil
import socket
import sys
import tempfile
from pathlib import Path

from tests.whole_search import Program

USUAL_PORT = "6379"
"""Of a cluster's head; commands that name it get the terminal's own."""


def free_port() -> int:
    """A port of this machine that nobody listens at."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])


class Terminal:
    """Types commands, with a home, a folder and a port of Ray's that are its alone.

    Attributes:
        environment: what commands get beside this process's own.
        port: of a cluster's head.
    """

    def __init__(self, home: Path):
        self._ray_folder = tempfile.mkdtemp(prefix="ray-")  # The paths of its sockets are limited to 107 characters.
        self.environment = {
            "HOME": str(home),
            "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
            "RAY_TMPDIR": self._ray_folder,
            "RAY_AUTH_MODE": "disabled",
            "XDG_CACHE_HOME": str(home / "cache"),
        }
        self.port = free_port()
        self._typed: list[Program] = []

    def type_in(self, command: str, *more: object) -> Program:
        """Starts a command, with more words behind it."""
        words = shlex.split(command.replace(USUAL_PORT, str(self.port)))
        self._typed.append(Program(*words, *more, environment=self.environment))
        return self._typed[-1]

    def start_node(self, command: str, *more: object) -> Program:
        """Types a `ray start`; returns when the node is up."""
        node, printed = self.type_in(command, *more), []
        for line in node.process.stdout or ():
            printed.append(line)
            if "Ray runtime started" in line:
                return node
        raise AssertionError("".join(printed))

    def close(self) -> None:
        """Ends what is left of the commands, the last one first."""
        for program in reversed(self._typed):
            program.clean_up()
        shutil.rmtree(self._ray_folder, ignore_errors=True)
