"""Records a run of the version that is checked out, for later versions to resume; see `tests/search/test_old_runs.py`.

    python -m pytest tests/search/old_runs/record.py

It writes `VERSION.tar.xz`: `pairs/` and `model/`, the data set and the checkpoint; `broken/`, a run folder whose search
was killed while a trial stood between two checkpoints; `unbroken/`, the tables of the same search undisturbed.
Where the results version has been raised, recordings of before are refused: one of the new version takes their place.
"""

import json
import shutil
import subprocess
import tarfile
from pathlib import Path

from tests.faults.test_driver_killed import checkpoints_of_unfinished
from tests.whole_search import ROOT, ended_in

PLACE = Path("/tmp/old_run")
"""Where it is recorded: `search.yaml` holds the paths of data and model, which who resumes it has to change."""
FLAGS = ("--space", "staged", "--trials", 8, "--max-epochs", 12, "--max-concurrent", 1, "--seed", 3, "--keep", 1)
LEFT_OUT = ("tune", "report.html")
"""What is left out of a run folder: what no version reads again."""


def test_record(start, data_folder, checkpoint):
    shutil.rmtree(PLACE, ignore_errors=True)
    shutil.copytree(data_folder, PLACE / "pairs")
    shutil.copytree(checkpoint, PLACE / "model")
    given = ("--data", PLACE / "pairs", "--model", PLACE / "model", "--storage", PLACE, *FLAGS)
    code, output = start(*given, "--name", "unbroken").wait()
    assert code == 0, output

    broken = PLACE / "broken"
    search = start(*given, "--name", broken.name, "--checkpoint-every", "0s")
    search.wait_for(lambda: len(ended_in(broken)) >= 4 and checkpoints_of_unfinished(broken), "checkpoint")
    search.kill()
    (checkpoint_folder,) = checkpoints_of_unfinished(broken)
    history = json.loads((checkpoint_folder.parents[1] / "progress.json").read_text())["history"]
    assert not history[-1]["final"], "killed too late; record again"

    version = subprocess.check_output(["git", "rev-parse", "--short", "HEAD"], cwd=ROOT, text=True).strip()
    with tarfile.open(Path(__file__).with_name(f"{version}.tar.xz"), "w:xz") as archive:
        for name in ("pairs", "model", "broken", "unbroken/results.parquet", "unbroken/history.parquet"):
            archive.add(PLACE / name, name, filter=_kept)


def _kept(member: tarfile.TarInfo) -> tarfile.TarInfo | None:
    """A member without what tells of this machine's users; None for what is left out."""
    if member.name.split("/")[1:2] and member.name.split("/")[1] in LEFT_OUT:
        return None
    member.uid = member.gid = 0
    member.uname = member.gname = ""
    return member
