"""What a person sees while a search runs."""

import io
import re
import time
from collections import Counter

import pytest
from rich.console import Console

from results.formatting import duration
from search.console.progress import Progress
from spaces.registry import Space, load_space


def build(trial, max_epochs):
    recipe = load_space("staged").build(trial, max_epochs)
    if trial.number == 3:
        raise ValueError("no recipe to be had: " + "far too long for a line " * 10)
    return recipe


MINE = Space("mine", "", build, load_space("staged").reference_parameters)


def losses(recipe, epoch):
    return "FloatingPointError: val_loss is nan" if len(recipe["stages"]) == 1 else 3 - epoch / 10


@pytest.fixture
def terminal() -> Console:
    return Console(record=True, width=100, force_terminal=True, file=io.StringIO())


def new_events(search):
    """What a trial that runs now writes into the journal."""
    before = len(search.journal.events)
    search.run_trial()
    return search.journal.events[before:]


def panel_of(search, console: Console, trials: int = 16) -> str:
    progress = Progress(search.study, trials, 1, console)
    progress.started -= 100
    console.print(progress.panel())
    return console.export_text()


def test_the_panel_stands_before_the_first_trial(search, terminal):
    text = panel_of(search(), terminal)
    assert "0/16 trials · 1 min 40 s gone" in text and "left" not in text
    assert "0 completed · 0 paused · 0 pruned · 0 failed" in text
    assert "no epoch has been evaluated yet" in text


def test_the_panel_shows_a_trial_that_has_just_started(search, terminal):
    started = search(max_epochs=24)
    started.start_trial()
    assert "0 (reference)  1/3 heads   0/24  starting" in panel_of(started, terminal)


def test_the_panel_shows_how_far_the_search_is(search, terminal, report):
    started = search(MINE, max_epochs=12, losses=losses)
    progress = Progress(started.study, 16, 1, terminal)
    progress.started -= 100
    started.run(7)
    going_on = started.start_trial()
    started.searcher.on_trial_result(going_on.trial_id, report(1, 1.25, f1=0.125))
    lefts = [duration(progress.seconds_left())]
    terminal.print(progress.panel())
    lefts.append(duration(progress.seconds_left()))  # The clock may have gone on to the next second.
    text = terminal.export_text()
    statuses = [record.status for record in started.study.finished]
    counts = [f"{statuses.count(status)} {status.lower()}" for status in ("COMPLETED", "PAUSED", "PRUNED", "FAILED")]
    assert statuses[3] == "FAILED" and 0 < statuses.count("COMPLETED") < 7
    assert any(f"7/16 trials · 1 min 40 s gone · about {left} left" in text for left in lefts)
    assert " · ".join(counts) in text
    assert "best so far  val_loss 1.2500  f1 0.125  trial 7, epoch 1" in text
    assert "reference    val_loss 1.8000  f1 0.333  trial 0, epoch 12" in text
    stages = going_on.config["recipe"].stages
    assert f"7  1/{len(stages)} {stages[0].name}" in text and "1/12    1.2500  0.125" in text


def test_the_panel_keeps_its_lines_on_a_narrow_terminal(search, report):
    started = search(max_epochs=24).run(5)
    started.start_trial()
    lines = panel_of(started, Console(record=True, width=80, force_terminal=True, file=io.StringIO())).splitlines()
    assert len(lines) == 7


@pytest.mark.parametrize("width", [40, 50, 60, 80, 120])
def test_the_panel_loses_no_figure_on_a_narrow_terminal(search, report, width):
    started = search(MINE, max_epochs=12, losses=losses).run(5)
    going_on = started.start_trial()
    started.searcher.on_trial_result(going_on.trial_id, report(1, 1.25, f1=0.125))
    wide, narrow = (
        panel_of(started, Console(record=True, width=columns, force_terminal=True, file=io.StringIO()))
        for columns in (200, width)
    )
    figures = r"\d[\d.:/]*"
    assert "…" not in narrow
    assert not Counter(re.findall(figures, wide)) - Counter(re.findall(figures, narrow))


def test_the_time_left_follows_the_epochs_still_to_come(search, terminal):
    started = search(max_epochs=8)
    progress = Progress(started.study, 4, 1, terminal)
    assert progress.seconds_left() is None
    started.run_trial()
    progress.started = time.monotonic() - 80
    # Eight epochs took 80 s. Three more trials have two each, half of them two more, half of those four more.
    assert progress.seconds_left() == pytest.approx(120, abs=1)


def test_where_trials_stop_the_time_left_follows_those_that_ended(search, terminal):
    started = search(max_epochs=8, pruning="stopping")
    progress = Progress(started.study, 4, 1, terminal)
    started.run_trial()
    progress.started = time.monotonic() - 80
    assert progress.seconds_left() == pytest.approx(240, abs=1)


def test_a_trial_that_waits_at_a_rung_is_told_when_it_does_and_when_it_goes_on(search):
    console = Console(file=io.StringIO(), width=100)
    started = search(max_epochs=8, losses=lambda recipe, epoch: 3 - epoch / 10)
    started.searcher.trials = 4
    with Progress(started.study, 4, 1, console) as progress:
        while started.study.left(4):
            progress.tick(new_events(started))
        started.searcher.close()
    told = [line.split()[1:3] for line in console.file.getvalue().splitlines() if line.startswith("trial")]
    assert {what for _, what in told} == {"completed", "paused", "promoted"}, "no trial that waited is told of again"


def test_the_pace_of_a_resumed_search_is_its_own(search, terminal):
    search(max_epochs=8).run(2).journal.close()
    resumed = search(max_epochs=8)
    progress = Progress(resumed.study, 4, 1, terminal)
    progress.started -= 1000
    assert progress.seconds_left() is None


def test_without_a_terminal_each_end_is_one_line(search, monkeypatch):
    monkeypatch.setattr("search.console.progress.SECONDS_BETWEEN_LINES", -1.0)
    started = search(MINE, max_epochs=12, losses=losses)
    console = Console(file=io.StringIO(), width=40)
    with Progress(started.study, 5, 1, console) as progress:
        for _ in range(5):
            progress.tick(new_events(started))
    lines = console.file.getvalue().splitlines()
    ends = [line for line in lines if line.startswith("trial")]
    assert [line.split()[1] for line in ends] == list("01234")
    assert ends[0] == "trial   0 completed epoch  12  val_loss 1.8000  f1 0.333  the reference recipe"
    assert ends[3].startswith("trial   3 failed     space mine raised ValueError: no recipe to be had: far too")
    assert lines[1].startswith("1/5 trials · 0 s gone") and "best val_loss 1.8000 (trial 0)" in lines[1]


def test_on_a_terminal_each_end_is_told_at_once_and_the_panel_drawn_seldom(search, terminal, monkeypatch):
    drawn = []
    monkeypatch.setattr(Progress, "panel", lambda progress: drawn.append(time.monotonic()) or "the panel")
    monkeypatch.setattr("search.console.progress.SECONDS_BETWEEN_PANELS", 3600.0)
    started = search(max_epochs=8)
    with Progress(started.study, 5, 1, terminal) as progress:
        progress.tick([])
        before = len(drawn)
        for number in range(5):
            progress.tick(new_events(started))
            assert f"trial   {number}" in terminal.export_text()
        assert len(drawn) == before > 0
