"""A run that an earlier version of the project began is gone on with and reported by this one."""

import json
import shutil
import tarfile
from pathlib import Path

import pandas as pd
import pytest
import yaml

from results.report import write_report
from results.table import IGNORED
from tests.whole_search import assert_each_event_once, assert_study_is_that_of_the_table, reports_of

RECORDED = sorted((Path(__file__).parent / "old_runs").glob("*.tar.xz"))
PLACE = "/tmp/old_run"
"""Where each was recorded; see `old_runs/record.py`."""
ROUNDING = 1e-5
"""Share by which figures may differ from those of the recording, whose processor adds up in an order of its own."""


@pytest.fixture(scope="module", params=RECORDED, ids=lambda path: path.name.partition(".")[0])
def resumed(request, start, tmp_path_factory):
    """The folder with a recording, its search resumed; and what that printed."""
    folder = tmp_path_factory.mktemp("old")
    with tarfile.open(request.param) as archive:
        archive.extractall(folder, filter="data")
    asked = folder / "broken" / "search.yaml"
    asked.write_text(asked.read_text().replace(PLACE, str(folder)))
    take_over_first_epoch(folder / "broken", trial=4, source="0001")
    shutil.copytree(folder / "broken", folder / "before")
    code, output = start("--resume", folder / "broken", "--gpus-per-trial", 0, "--cpus-per-trial", 1).wait()
    assert code == 0, output
    return folder, output


def take_over_first_epoch(run: Path, trial: int, source: str) -> None:
    """Gives an unfinished trial its first stage, of one epoch, as if taken over from another: that version could."""
    taken_over = {"seconds": 0.0, "shared_from": source}
    lines = [json.loads(line) for line in (run / "journal.jsonl").read_text().splitlines()]
    (metrics,) = [e["metrics"] for e in lines if e["trial"] == trial and e.get("metrics", {}).get("epoch") == 1]
    metrics |= taken_over
    (run / "journal.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    progress = json.loads((run / "trials" / f"{trial:04d}" / "progress.json").read_text())
    progress["history"][0] |= taken_over
    (run / "trials" / f"{trial:04d}" / "progress.json").write_text(json.dumps(progress))
    kept = run / "shared" / ("0" * 64)
    kept.mkdir(parents=True)
    (kept / "stage.json").write_text("{}")


def assert_frames_agree(now: pd.DataFrame, recorded: pd.DataFrame) -> None:
    """What a later version writes beside what was recorded does not count."""
    compared = [name for name in recorded if name not in (*IGNORED, "reported")]
    pd.testing.assert_frame_equal(now[compared], recorded[compared], check_exact=False, rtol=ROUNDING, atol=0)


def test_it_ends_as_the_search_of_that_version_that_nothing_broke(resumed):
    folder, _ = resumed
    for name in ("results", "history"):
        now, recorded = (pd.read_parquet(folder / run / f"{name}.parquet") for run in ("broken", "unbroken"))
        assert_frames_agree(now, recorded)
    assert_each_event_once(folder / "broken")
    assert_study_is_that_of_the_table(folder / "broken")


def test_what_it_had_reported_stands_and_its_unfinished_trial_goes_on_from_its_checkpoint(resumed):
    folder, output = resumed
    before, after = (reports_of(folder / run) for run in ("before", "broken"))
    assert 0 < len(before) < len(after) and after[: len(before)] == before
    assert "is trained again" not in output, "a checkpoint or weights could not be read"


def test_an_epoch_that_a_trial_had_taken_over_from_another_one_counts_as_it_was_recorded(resumed):
    """No later version has trials do so. The epoch is the trial's, took it no time, and says whose it was."""
    folder, _ = resumed
    results, history = (pd.read_parquet(folder / "broken" / f"{name}.parquet") for name in ("results", "history"))
    taken_over = history[history["shared_from"].notna()]
    assert taken_over[["trial_id", "epoch", "seconds", "shared_from"]].to_numpy().tolist() == [["0004", 1, 0.0, "0001"]]
    assert results["epochs"].sum() == len(history)
    assert "share: true" in (folder / "before" / "search.yaml").read_text()
    assert not (folder / "broken" / "shared").exists(), "nothing reads it any more"


def test_its_images_go_through_the_model_as_they_did(resumed):
    """It says nothing of micro-batches: all of its trials have the batches of their recipes, to the last bit."""
    folder, _ = resumed
    assert "--micro-batch recipe" in yaml.safe_load((folder / "broken" / "search.yaml").read_text())["command"]
    assert pd.read_parquet(folder / "broken" / "results.parquet")["micro_batch"].isna().all()


def test_its_report_tells_of_it_as_it_was_left_and_as_it_ended(resumed):
    folder, _ = resumed
    left, ended = (write_report(folder / run).read_text(encoding="utf-8") for run in ("before", "broken"))
    assert "Not finished: 4 of 8 trials ended." in left
    assert "Finished: 8 of 8 trials ended." in ended
