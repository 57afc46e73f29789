"""Whatever the files of a run hold: the report is made of the others or the line is named, and no text breaks out."""

import json
from html.parser import HTMLParser

import numpy as np
import pytest
from fuzzing import HOSTILE, damaged, damaged_json, fuzz
from hypothesis import strategies as st
from journals import JOURNAL, JOURNALS

import results.report
from results.journal.events import JournalError
from results.measures.bootstrap import bootstrap_intervals
from results.measures.calibration import calibration
from results.measures.errors import count_errors
from results.measures.operating_point import point_of_best_f1
from results.measures.sweep import IOU_THRESHOLDS, sweep
from trainable.detection import Detections, GroundTruth, match
from trainable.recipe import REFERENCE

SECTIONS = ["verdict", "recipe", "operating-point", "images", "search", "parameters", "trials", "repeat"]
BOXES = np.array([[0.1, 0.1, 0.3, 0.3], [0.5, 0.5, 0.8, 0.9]])
NAMES = ("person", HOSTILE)


def best_files() -> dict[str, bytes]:
    """What the evaluation of a model leaves, by path."""
    ground_truth = [GroundTruth(BOXES, np.arange(2))] * 2
    found = [Detections(BOXES, np.array([0.9, 0.2]), np.array([0, 0]))] * 2
    matches = match(found, ground_truth, IOU_THRESHOLDS)
    table = sweep(matches, NAMES)
    point = point_of_best_f1(table)
    figures = {"mAP": 0.125, "mAP50": None, "mAP75": None, "AR": 0.5}
    metrics = figures | {
        "per_class": dict.fromkeys(NAMES, figures),
        "recommended": vars(point) | {"interval": bootstrap_intervals(np.array([[point.tp, point.fp, point.fn]]))},
        "pairs": 2,
        "boxes": 4,
        "errors": count_errors(found, ground_truth, matches, point.score_threshold),
        "calibration": calibration(matches, 0.21),
        "pairs_by_loss": [{"id": HOSTILE, "loss": 1.5, "tp": 1, "fp": 0, "fn": 2, "flagged": True}],
        "flagged": {"count": 1, "ids": [HOSTILE], "rule": HOSTILE, "f1_flagged": 0.25, "f1_unflagged": None},
    }
    recipe = f"# The best recipe: trial 0, val_loss 1\n#  python trainable/train.py\n{REFERENCE.to_yaml()}"
    return {
        "best/metrics.json": json.dumps(metrics).encode(),
        "best/sweep.csv": table.to_csv(index=False).encode(),
        "best/recipe.yaml": recipe.encode(),
    }


OPTIONS = {"space": HOSTILE, "trials": 3, "max_epochs": 3, "grace": 1, "reduction": 3.0, "identity": {"data": HOSTILE}}
FILES = best_files() | {
    "search.yaml": json.dumps(OPTIONS).encode(),
    "environment.json": json.dumps({"python": HOSTILE, "packages": {HOSTILE: "2"}, "resources": {"cpus": 1}}).encode(),
    "notices.json": json.dumps([{"about": "--data", "found": HOSTILE, "names": [HOSTILE], "advice": HOSTILE}]).encode(),
    "data_report.csv": b"kind,file,line,value,advice\n" + HOSTILE.splitlines()[0].encode() * 2 + b",2,met,mend it\n",
}
JSON_FILES = ("best/metrics.json", "environment.json", "notices.json", "search.yaml")
DAMAGED = st.one_of(
    st.tuples(st.just("journal.jsonl"), st.just(JOURNAL) | JOURNALS),
    *(st.tuples(st.just(name), damaged([content]) | st.binary(max_size=40)) for name, content in FILES.items()),
    *(st.tuples(st.just(name), damaged_json([json.loads(FILES[name])])) for name in JSON_FILES),
)


@fuzz(DAMAGED, examples=15)
def test_a_report_is_made_of_whatever_is_left_of_a_run(folder, given):
    for name, content in ({"journal.jsonl": JOURNAL} | FILES | dict([given])).items():
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_bytes(content)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(results.report, "get_plotlyjs", lambda: "")
        try:
            path = results.report.write_report(folder)
        except JournalError as error:
            assert given[0] == "journal.jsonl" and "line " in str(error)
            return
    page = Page()
    page.feed(path.read_text(encoding="utf-8"))
    page.close()
    assert page.sections == SECTIONS
    assert page.scripts_that_run == 2, "plotly's and the page's own"
    assert not page.tags & {"iframe", "object", "embed", "link", "base"}


class Page(HTMLParser):
    """What of a page could do harm."""

    def __init__(self):
        super().__init__()
        self.sections = []
        self.tags = set()
        self.scripts_that_run = 0

    def handle_starttag(self, tag, attrs):
        given = dict(attrs)
        assert [name for name in given if name.startswith("on")] == (["onsubmit"] if tag == "form" else [])
        self.tags.add(tag)
        self.sections += [given["id"]] if tag == "section" else []
        self.scripts_that_run += tag == "script" and "type" not in given
