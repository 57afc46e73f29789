"""The report of searches of every kind: whole, its numbers right, nothing loaded from elsewhere, no name breaks out."""

import json
import re
import shutil
import subprocess
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from PIL import Image
from typer.testing import CliRunner

import results.report
from results.journal.journal import trial_records
from results.measures.bootstrap import bootstrap_intervals
from results.measures.calibration import calibration
from results.measures.errors import count_errors
from results.measures.operating_point import point_of_best_f1, useful_range
from results.measures.sweep import IOU_THRESHOLDS, sweep
from results.page.contents import RunError
from results.report import write_report
from tests.made_up import events_of
from trainable.data.notices import Notice, write_notices
from trainable.detection import Detections, GroundTruth, match
from trainable.recipe import Recipe, Stage, reference

SECTIONS = ["verdict", "recipe", "operating-point", "images", "search", "parameters", "trials", "repeat"]
HOSTILE = '</script><img src="http://evil.example/x" onerror=alert(1)>&amp;'
NOON = 1_767_268_800.0
EPOCHS = 6
BOXES = np.array([[0.1, 0.1, 0.3, 0.3], [0.5, 0.5, 0.8, 0.9], [0.2, 0.6, 0.4, 0.9]])


class Page(HTMLParser):
    """The report as a browser reads it."""

    VOID = ("meta", "img", "input", "br")

    def __init__(self, path: Path):
        super().__init__()
        self.sections: list[str] = []
        self.loads: list[str] = []
        self.tags: list[str] = []
        self.texts: list[str] = []
        self.scripts: dict[str, Any] = {}
        self._open: list[str] = []
        self._script: str | None = None
        self.feed(path.read_text(encoding="utf-8"))
        self.close()
        assert self._open == []
        self.text = re.sub(r"\s+", " ", " ".join(self.texts))

    def handle_starttag(self, tag, attrs):
        given = dict(attrs)
        self.tags.append(tag)
        self.loads += [given[name] for name in ("src", "href", "data", "poster") if given.get(name)]
        self.sections += [given["id"]] if tag == "section" else []
        if given.get("type") == "application/json":
            self._script = given.get("id") or given["data-plot"]
        if tag not in self.VOID:
            self._open.append(tag)

    def handle_endtag(self, tag):
        assert self._open.pop() == tag

    def handle_data(self, data):
        if self._open and self._open[-1] == "script":
            if self._script:
                self.scripts[self._script] = json.loads(data)
            self._script = None
        elif self._open and self._open[-1] != "style":
            self.texts.append(data)


def recipe(trial: int) -> Recipe:
    if trial == 0:
        return reference(EPOCHS)
    heads = Stage("heads", ("box_head", "class_head"), epochs=2, learning_rate=1e-3 * (trial + 1) / 50)
    return Recipe((heads, Stage("decoder", ("decoder", "box_head", "class_head"), EPOCHS - 2, 1e-4)))


def trial_events(
    trial: int, epochs: int = EPOCHS, status: str | None = "COMPLETED", loss: float = 1.0
) -> list[dict[str, Any]]:
    """A trial whose `val_loss` falls to `loss` in its last epoch, 10 seconds an epoch, on one of two workers."""
    start = NOON + 100 * (trial // 2)
    made = recipe(trial)
    parameters = {"rate": made.stages[0].learning_rate, "stages": len(made.stages), "kind": "ab"[trial % 2]}
    asked = {"event": "asked", "trial": trial, "parameters": parameters, "recipe": made.to_dict(), "time": start}
    events = [asked | {"reference": trial == 0}]
    for epoch in range(1, epochs + 1):
        value = loss + (epochs - epoch) / 2
        metrics = {
            "epoch": epoch,
            "stage": 0 if epoch < 3 else 1,
            "train_loss": value - 0.1,
            "val_loss": value,
            "learning_rate": 1e-4,
            "precision": 0.5,
            "recall": 0.5,
            "f1": 0.5 / value,
            "seconds": 10.0 * epoch,
            "final": epoch == EPOCHS,
            "within_epoch": [],
            "node": "node",
            "pid": trial % 2,
        }
        events.append({"event": "reported", "trial": trial, "metrics": metrics, "time": start + 10 * epoch})
    end = {"event": "ended", "trial": trial, "status": status, "error": None, "time": start + 10 * epochs + 1}
    if status == "FAILED":
        end["error"] = f"OutOfMemoryError: {HOSTILE}\nsecond line"
    return [*events, end] if status else events


def full_search(trials: int = 22) -> list[dict[str, Any]]:
    """The reference at 1.0, one trial at 0.75, every third pruned at the second epoch."""
    events = trial_events(0)
    for trial in range(1, trials):
        pruned = trial % 3 == 0
        loss = 0.75 if trial == 4 else 1 + trial / 10
        events += trial_events(trial, 2 if pruned else EPOCHS, "PRUNED" if pruned else "COMPLETED", loss)
    return events


def write_run(run: Path, events: list[dict[str, Any]], trials: int | None = None, torn: str = "", **more: Any) -> Path:
    run.mkdir()
    trials = trials or len({event["trial"] for event in events})
    asked = {"space": "staged", "trials": trials, "max_epochs": EPOCHS, "grace": 2, "reduction": 3.0, **more}
    asked["command"] = f"python search/run.py --space staged --trials {trials}"
    (run / "search.yaml").write_text(yaml.safe_dump(asked | {"identity": {"data": "abc123"}}, sort_keys=False))
    (run / "journal.jsonl").write_text("".join(json.dumps(event) + "\n" for event in events) + torn)
    return run


def fill_best(
    run: Path, trial: int, names: list[str], ground_truth: list[GroundTruth], found: list[Detections]
) -> dict[str, Any]:
    """Writes `best/` as an evaluation of these detections would."""
    best = run / "best"
    (best / "overlays").mkdir(parents=True)
    (best / "recipe.yaml").write_text(
        f"# The best recipe of {run.name}: trial {trial}, val_loss 1 after epoch 6.\n# Train it again:\n"
        f"#   python trainable/train.py --recipe best/recipe.yaml\n{recipe(trial).to_yaml()}"
    )
    matches = match(found, ground_truth, IOU_THRESHOLDS)
    table = sweep(matches, names)
    table.to_csv(best / "sweep.csv", index=False)
    point = point_of_best_f1(table)
    metrics = {
        "val_loss": 1.0,
        "mAP": 0.25,
        "mAP50": 0.5,
        "mAP75": None,
        "AR": 0.5,
        "per_class": {name: {"mAP": 0.125, "mAP50": None, "mAP75": None, "AR": 0.5} for name in names},
        "recommended": vars(point) | {"interval": bootstrap_intervals(np.array([[point.tp, point.fp, point.fn]]))},
        "pairs": len(ground_truth),
        "boxes": sum(len(image.class_ids) for image in ground_truth),
        "errors": count_errors(found, ground_truth, matches, point.score_threshold),
        "calibration": calibration(matches, (useful_range(table) or (None,))[0]),
        "pairs_by_loss": [{"id": HOSTILE, "loss": 1.5, "tp": 1, "fp": 0, "fn": 2, "flagged": True}],
        "flagged": {"count": 1, "ids": [HOSTILE], "rule": "it differs", "f1_flagged": 0.25, "f1_unflagged": None},
    }
    (best / "metrics.json").write_text(json.dumps(metrics))
    for name in ("worst-10_b", "worst-2_a", "best-1_c"):
        Image.new("RGB", (40, 20)).save(best / "overlays" / f"{name}.png")
    return metrics


def labelled(classes: int) -> list[GroundTruth]:
    return [GroundTruth(BOXES, np.arange(3) % classes)] * 2


def detected(classes: int) -> list[Detections]:
    """Two of three objects at high scores, and one box beside everything at a low one."""
    boxes = np.concatenate([BOXES[:2], [[0.85, 0.0, 1.0, 0.1]]])
    return [Detections(boxes, np.array([0.9, 0.8, 0.2]), np.array([0, 1, 0]) % classes)] * 2


@pytest.fixture
def no_plotly(monkeypatch):
    """The page without plotly's 5 MB, which say nothing of it."""
    monkeypatch.setattr(results.report, "get_plotlyjs", lambda: "")


@pytest.fixture
def full_run(tmp_path):
    run = write_run(tmp_path / "full", full_search())
    fill_best(run, 4, ["person", HOSTILE], labelled(2), detected(2))
    (run / "data_report.csv").write_text("kind,file,line,value,advice\nno label,labels/3.txt,2,met,mend it\n")
    (run / "environment.json").write_text(
        json.dumps({"command": "python search/run.py --trials 22", "python": "3.11.7"})
    )
    return run


def page_of(run: Path) -> Page:
    page = Page(write_report(run))
    assert page.sections == SECTIONS
    return page


@pytest.mark.usefixtures("no_plotly")
def test_a_full_search_is_told_in_numbers(full_run):
    page = page_of(full_run)
    assert "Finished: 22 of 22 trials ended." in page.text
    assert "Trial 4 has the best recipe of 22 trials: val_loss 0.7500 against 1.000 of the reference" in page.text
    assert "in the same 6 epochs, 25 % lower; F1 0.667 against 0.500, 33 % higher" in page.text
    assert "Run its model at score ≥ 0.80: precision 1.000 (1.000 to 1.000), recall 0.667" in page.text
    assert "Scores from 0.21 on (below it, F1 is under 95 % of its best) are 0.150 off" in page.text
    assert "epochs saved 21 % 28 of 132, by stopping weak trials early" in page.text
    assert "to compare. Below 20" not in page.text, "22 trials are enough to compare"
    assert "python search/run.py --space staged" in page.text and "--trials 22" in page.text
    assert "python trainable/train.py --recipe best/recipe.yaml" in page.text
    assert "no label" in page.text and "mend it" in page.text


@pytest.mark.usefixtures("no_plotly")
def test_every_chart_of_a_full_search_is_in_the_page_and_has_a_title(full_run):
    page = page_of(full_run)
    drawn = [name.removeprefix("plot-") for name in page.scripts if name.startswith("plot-")]
    assert drawn == [
        *("recipe-timeline", "f1-surface", "precision-recall", "score-curves", "error-split", "calibration"),
        *("best-over-epochs", "learning-curves", "rungs", "workers"),
        *("importance", "slice-0", "slice-1", "slice-2"),
    ]
    images = 3
    assert page.tags.count("figcaption") == len(drawn) + images
    assert all(page.scripts[f"plot-{name}"]["data"] for name in drawn)


@pytest.mark.usefixtures("no_plotly")
def test_each_trial_is_a_row_that_opens_its_recipe_and_curves(full_run):
    page = page_of(full_run)
    detail = page.scripts["details"]["4"]
    assert [stage["name"] for stage in detail["stages"]] == ["heads", "decoder"]
    assert detail["stages"][0] == {
        "name": "heads",
        "trains": "box head, class head",
        "epochs": "2",
        "learning_rate": "0.0001",
        "cycles": "1",
        "reached": "2.750",
    }
    fields = re.search(r"const fields = (\[.*?\]);", (full_run / "report.html").read_text())
    assert fields and json.loads(fields[1]) == list(detail["stages"][0])
    assert detail["val_loss"] == [3.25, 2.75, 2.25, 1.75, 1.25, 0.75]
    assert len(page.scripts["details"]) == 22


@pytest.mark.usefixtures("no_plotly")
def test_a_run_whose_trials_took_epochs_over_from_each_other_is_reported_by_a_version_in_which_none_does(tmp_path):
    events = full_search(6)
    for event in events:
        if event["event"] == "reported":
            taken_over = event["trial"] in (2, 5) and event["metrics"]["epoch"] <= 2
            event["metrics"] |= {"shared_from": "0001", "seconds": 0.0} if taken_over else {"shared_from": None}
    run = write_run(tmp_path / "run", events)
    (run / "search.yaml").write_text((run / "search.yaml").read_text() + "share: true\n")
    page = page_of(run)
    assert "4 of 36, by stopping weak trials early" in page.text
    assert page.scripts["details"]["2"]["epoch"][:2] == [1, 2]


@pytest.mark.usefixtures("no_plotly")
def test_the_worst_pairs_come_first(full_run):
    titles = re.findall(r"<figcaption>((?:worst|best)[^<]*)", write_report(full_run).read_text())
    assert titles == ["worst 2: a", "worst 10: b", "best 1: c"]


@pytest.mark.usefixtures("no_plotly")
def test_no_name_of_a_class_a_pair_or_an_error_breaks_out_of_the_text(full_run):
    with (full_run / "journal.jsonl").open("a") as journal:
        journal.writelines(json.dumps(event) + "\n" for event in trial_events(22, 1, "FAILED"))
    page = page_of(full_run)
    assert page.tags.count("img") == 3
    assert page.text.count(HOSTILE) == 4  # the class, the pair twice, the error
    assert page.scripts["details"]["22"]["error"] == f"OutOfMemoryError: {HOSTILE}\nsecond line"
    assert [load for load in page.loads if not load.startswith(("#", "data:"))] == []


def test_the_page_is_whole_below_8_mb_and_loads_nothing(full_run):
    path = write_report(full_run)
    text = path.read_text(encoding="utf-8")
    assert path.stat().st_size < 8_000_000
    assert "plotly.js v" in text
    assert re.findall(r"<(?:script|link|img|iframe)[^>]*(?:src|href)=[\"']?(?:https?:)?//", text) == []


@pytest.mark.usefixtures("no_plotly")
def test_a_search_killed_half_way_has_a_report_from_its_journal(tmp_path):
    events = [*full_search(4), *trial_events(4, 3, None), *trial_events(5, 0, None)]
    page = page_of(write_run(tmp_path / "killed", events, trials=40, torn='{"event": "rep'))
    assert "Not finished: 4 of 40 trials ended." in page.text
    assert "The best model has not been evaluated yet" in page.text
    assert "No model has been evaluated" in page.text
    assert "2 trials unfinished" in page.text
    assert "The environment is written when the search ends." in page.text
    assert "python search/run.py --space staged --trials 40" in page.text
    assert f"--resume {tmp_path / 'killed'}" in page.text


@pytest.mark.usefixtures("no_plotly")
def test_a_run_in_a_bucket_is_gone_on_with_there(tmp_path):
    storage = {"storage": "s3://KEY:SECRET@bucket/my runs?region=eu-west-1", "name": "a b"}
    text = page_of(write_run(tmp_path / "work", trial_events(0), **storage)).text
    assert "python search/run.py --resume 's3://bucket/my runs/a%20b?region=eu-west-1'" in text


@pytest.mark.usefixtures("no_plotly")
def test_a_run_that_keeps_no_command_has_a_report_without_it(tmp_path):
    run = write_run(tmp_path / "old", trial_events(0))
    (run / "search.yaml").write_text("space: staged\nmax_epochs: 6\ngrace: 2\nreduction: 3.0\n")
    assert "The same search" not in page_of(run).text


@pytest.mark.usefixtures("no_plotly")
def test_a_single_trial_is_compared_with_nothing(tmp_path):
    page = page_of(write_run(tmp_path / "one", trial_events(0)))
    assert "Only the reference recipe has a result: val_loss 1.000; there is nothing to compare it with." in page.text
    assert "Nothing: the reference itself is the best recipe." in page.text
    assert "Too few trials have a result to say what mattered" in page.text


@pytest.mark.usefixtures("no_plotly")
def test_a_reference_that_wins_is_said_to_win(tmp_path):
    page = page_of(write_run(tmp_path / "run", trial_events(0, loss=1.0) + trial_events(1, loss=1.2)))
    assert "The reference recipe is the best of 2 trials: val_loss 1.000." in page.text
    assert "The best of the others, trial 1, has 1.200, 20 % higher." in page.text


@pytest.mark.usefixtures("no_plotly")
def test_an_unfinished_reference_is_compared_over_as_many_epochs_as_it_has(tmp_path):
    page = page_of(write_run(tmp_path / "run", trial_events(0, 2, None, 4.0) + trial_events(1, loss=1.0)))
    assert "val_loss 3.000 against 4.000 of the reference in the same 2 epochs so far, 25 % lower" in page.text


@pytest.mark.usefixtures("no_plotly")
def test_only_failed_trials_leave_empty_sections_that_say_so(tmp_path):
    events = trial_events(0, 0, "FAILED") + trial_events(1, 0, "FAILED")
    page = page_of(write_run(tmp_path / "failed", events))
    assert "No trial succeeded: all 2 failed." in page.text
    assert "There is no best recipe yet" in page.text
    assert "No epoch has been reported" in page.text
    assert page.text.count("OutOfMemoryError") == 2


@pytest.mark.usefixtures("no_plotly")
def test_a_search_that_broke_before_its_first_trial_has_a_report(tmp_path):
    run = write_run(tmp_path / "run", [], trials=4)
    (run / "journal.jsonl").unlink()
    assert "No trial has been started." in page_of(run).text


@pytest.mark.usefixtures("no_plotly")
def test_a_data_set_of_one_class_has_one_row_and_the_sum(tmp_path):
    run = write_run(tmp_path / "run", full_search(5))
    fill_best(run, 4, ["thing"], labelled(1), detected(1))
    page = page_of(run)
    table = re.search(r"Each class: .*?</table>", (run / "report.html").read_text(), re.DOTALL)
    assert re.findall(r'<th scope="row">(.*?)</th>', table[0]) == ["thing", "all classes"]
    assert [trace["name"] for trace in page.scripts["plot-precision-recall"]["data"]] == [
        "all classes",
        "operating point",
    ]


@pytest.mark.usefixtures("no_plotly")
@pytest.mark.parametrize(
    ("ground_truth", "found", "sentence"),
    [
        (
            [GroundTruth(BOXES[:0], np.zeros(0, int))] * 2,
            detected(1),
            "There is nothing to measure: no validation pair has a labelled object. Recall, F1 and mAP",
        ),
        (
            labelled(1),
            [Detections(BOXES[:0], np.zeros(0), np.zeros(0, int))] * 2,
            "The best model finds none of the 6 objects at any score threshold, so none can be recommended.",
        ),
    ],
    ids=["nothing to detect", "nothing detected"],
)
def test_nothing_to_find_and_nothing_found_are_said_instead_of_drawn(tmp_path, ground_truth, found, sentence):
    run = write_run(tmp_path / "run", full_search(5))
    fill_best(run, 4, ["thing"], ground_truth, found)
    page = page_of(run)
    assert page.text.count(sentence) == 2, "in the verdict and in the place of the curves"
    assert "score threshold – none can be recommended" in page.text and "≥ 1.00" not in page.text
    assert ("F1 0.667 against 0.500" in page.text) == bool(len(ground_truth[0].class_ids))
    assert not {"plot-f1-surface", "plot-precision-recall", "plot-score-curves"} & set(page.scripts)


@pytest.mark.usefixtures("no_plotly")
def test_what_was_noticed_in_the_data_is_a_line_of_the_verdict_and_older_runs_have_none(full_run):
    assert "What was noticed" not in page_of(full_run).text
    notices = [
        Notice("2 of 4 validation pairs have the images of a training pair", "losses look better", ("v1", HOSTILE)),
        Notice("no validation pair has a box", "nothing can be measured", about="--test"),
    ]
    write_notices(notices, full_run / "notices.json")
    text = page_of(full_run).text
    assert "2 of 4 validation pairs have the images of a training pair; losses look better. v1, </script>" in text
    assert "--test no validation pair has a box; nothing can be measured." in text


@pytest.mark.usefixtures("no_plotly")
def test_an_evaluation_of_an_earlier_best_trial_is_marked_as_such(full_run):
    with (full_run / "journal.jsonl").open("a") as journal:
        journal.writelines(json.dumps(event) + "\n" for event in trial_events(22, loss=0.5))
    assert "The search has found a better trial since" in page_of(full_run).text


@pytest.mark.usefixtures("no_plotly")
def test_older_and_damaged_files_are_left_out_and_named(full_run):
    (full_run / "best" / "sweep.csv").write_text("what\n1\n")
    metrics = json.loads((full_run / "best" / "metrics.json").read_text())
    kept = {name: metrics[name] for name in ("mAP", "per_class", "recommended", "pairs", "boxes")}
    (full_run / "best" / "metrics.json").write_text(json.dumps(kept))
    page = page_of(full_run)
    assert "best/sweep.csv cannot be read and is left out" in page.text
    assert "Errors have not been split by cause for this run." in page.text


@pytest.mark.usefixtures("no_plotly")
def test_a_live_page_looks_for_its_next_version_and_a_final_one_does_not(full_run):
    assert "<body data-live>" in write_report(full_run, live=True).read_text()
    assert "<body data-live>" not in write_report(full_run).read_text()


def test_a_large_search_is_thinned(tmp_path):
    events = (event for trial in range(1500) for event in trial_events(trial, loss=1 + trial % 7 / 10))
    records = trial_records(events_of(events))
    run = write_run(tmp_path / "run", [])
    path = write_report(run, records)
    text = path.read_text()
    assert path.stat().st_size < 6_500_000
    assert "The best 500 of 1500 trials; results.csv has them all." in text
    assert text.count("<tr data-trial=") == 500


def test_a_folder_that_is_no_run_is_refused(tmp_path):
    with pytest.raises(RunError, match=r"has no journal\.jsonl and no search\.yaml"):
        write_report(tmp_path)
    result = CliRunner().invoke(results.report.app, [str(tmp_path)])
    assert (result.exit_code, "has no journal.jsonl" in result.output) == (2, True)


CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)


@pytest.mark.skipif(CHROMIUM is None, reason="needs Chromium")
def test_a_browser_draws_every_chart_without_network_and_without_an_error(full_run, tmp_path):
    path = write_report(full_run)
    command = [
        *(str(CHROMIUM), "--headless", "--no-sandbox", "--disable-gpu", f"--user-data-dir={tmp_path / 'profile'}"),
        *("--host-resolver-rules=MAP * ~NOTFOUND", "--enable-logging=stderr", "--virtual-time-budget=60000"),
        *("--dump-dom", path.resolve().as_uri()),
    ]
    result = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert [line for line in result.stderr.splitlines() if "CONSOLE" in line] == []
    assert 'data-charts="14/14"' in result.stdout
    drawn = {
        name: len(re.findall(r'class="main-svg"', section))
        for name, section in re.findall(r'<section id="([a-z-]+)">(.*?)</section>', result.stdout, re.DOTALL)
    }
    assert all(drawn[name] >= 2 for name in ("recipe", "operating-point", "search", "parameters")), drawn
