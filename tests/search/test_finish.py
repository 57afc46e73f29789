"""The end of a search loses nothing, whatever goes wrong in it."""

from rich.console import Console

from search import finish
from search.cluster import Resources
from search.inputs import Inputs
from search.options import Options
from trainable.data.difference import PictureError


def test_a_picture_that_went_away_costs_the_evaluation_and_no_trial(search, monkeypatch, tmp_path, pair_data):
    ended = search().run(2)

    def gone(*arguments):
        raise PictureError("before/v0.png: there is no such file")

    monkeypatch.setattr(finish, "_evaluate_best", gone)
    asked = {"trials": 2, "max_epochs": 8, "grace": 2, "storage": str(tmp_path.parent), "name": tmp_path.name}
    options = Options(space="learning_rate", data=None, model="embedded", **asked)
    inputs = Inputs(pair_data, None, ended.study.space, "embedded")
    console = Console(record=True, width=200)
    assert finish.write_results(options, ended.study, inputs, Resources(1, 0.0, 1), console) == 1
    said = console.export_text()
    assert "before/v0.png: there is no such file" in said
    assert f"--resume {tmp_path}" in said
    assert (tmp_path / "results.csv").exists() and (tmp_path / "report.html").exists()
