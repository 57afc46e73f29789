"""Finds the best staged recipe for fine-tuning DETR on moved objects.

python search/run.py --space staged --data my_pairs/

What is started here is a small supervisor; the search itself is a process of its own (see `search.supervisor`).
"""

import os
import sys
from pathlib import Path

if __name__ == "__main__":
    # The checkout that this file lies in runs, here and in Ray's workers, whichever one the environment has installed.
    sys.path[0] = str(Path(__file__).resolve().parents[1])
    os.environ["PYTHONPATH"] = os.pathsep.join([sys.path[0], *filter(None, [os.environ.get("PYTHONPATH")])])

from search.supervisor import Line, supervise
from trainable.text.console import guard_output


def search(line: Line) -> None:
    """The search, by the flags of the command line.

    Raises:
        SystemExit: always, with the exit code.
    """
    from search.command_line import app

    app(obj=line)


if __name__ == "__main__":
    guard_output()
    sys.exit(supervise(search))
