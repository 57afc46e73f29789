"""The tree of stages: who is on which node, and that a chart of any size can be read."""

import json

from results.journal.journal import TrialRecord
from results.page.charts.chart import DARK
from results.page.charts.stages import MOST_FIRST_STAGES, stage_blocks, stages_trained_once
from results.page.stage_tree import stage_tree
from tests.made_up import made_up_row
from trainable.recipe import Recipe, Stage


def trial(number: int, *stages: str | None, epochs: int = 2, name: str = "heads") -> TrialRecord:
    """A trial of stages of two epochs, 5 seconds each, from who trained each stage (None: itself).

    Args:
        number: of the trial.
        stages: `shared_from` of each.
        epochs: that the last stage got to.
        name: of every stage.
    """
    history = []
    seconds = 0.0
    for stage, source in enumerate(stages):
        for _ in range(epochs if stage == len(stages) - 1 else 2):
            seconds += 0.0 if source else 5.0
            loss = 9.0 - len(history) - number / 1000
            row = made_up_row(len(history) + 1, loss, stage=stage, seconds=seconds, shared_from=source)
            history.append(row)
    recipe = Recipe((Stage(name, ("class_head",), epochs=2, learning_rate=3e-4),) * 3)
    return TrialRecord(number, {}, recipe, number == 0, 0.0, "COMPLETED", history, [0.0] * len(history))


def outline(nodes):
    """Numbers of the trials of each node, and the same of what follows."""
    return [([record.number for record in node.trials], outline(node.following)) for node in nodes]


def figure_of(records):
    chart = stages_trained_once(records)
    return chart, json.loads(chart.figure)["data"]


def test_trials_that_took_a_stage_over_are_on_the_node_of_the_one_that_trained_it():
    records = [trial(0, None, None), trial(1, "0000", None), trial(2, "0000", "0001", None), trial(3, None)]
    assert outline(stage_tree(records)) == [
        ([0, 1, 2], [([1, 2], [([2], [])]), ([0], [])]),
        ([3], []),
    ]


def test_a_stage_that_was_trained_twice_is_two_nodes():
    assert outline(stage_tree([trial(0, None), trial(1, None)])) == [([1], []), ([0], [])]


def test_a_trial_without_an_epoch_is_on_no_node():
    assert stage_tree([trial(0)]) == []


def test_a_node_has_the_epochs_of_the_trial_that_got_furthest():
    node = stage_tree([trial(0, None), trial(1, "0000", epochs=1)])[0]
    assert (len(node.rows), node.val_loss, node.reused_epochs, node.trained_by) == (2, 8.0, 1, "0000")


def test_a_block_stands_beside_the_one_that_it_goes_on_from():
    tree = stage_tree([trial(0, None, None), trial(1, "0000", None), trial(2, "0000"), trial(3, None, None)])
    places = [(block.stage, block.top, block.trials, block.nodes[0].trained_by) for block in stage_blocks(tree, 1)]
    assert places == [(0, 0, 3, "0000"), (1, 0, 1, "0001"), (1, 1, 1, "0000"), (0, 3, 1, "0003"), (1, 3, 1, "0003")]


def test_stages_of_few_trials_are_drawn_together_and_what_follows_them_is_not():
    tree = stage_tree([trial(0, None, None), trial(1, "0000", None), trial(2, None, None)])
    first, following, rest = stage_blocks(tree, 2)
    assert (first.trials, first.together) == (2, False)
    assert (following.stage, following.trials, len(following.nodes), following.together) == (1, 2, 2, True)
    assert (rest.stage, rest.top, rest.trials, rest.together) == (0, 2, 1, True)


def test_the_title_says_what_was_saved():
    chart, _ = figure_of([trial(0, None, None), trial(1, "0000", None), trial(2, "0000")])
    assert chart.title == (
        "4 of 10 epochs were taken over from another trial, so that 6 had to be trained: 20 s of training saved"
    )


def test_only_what_was_taken_over_is_framed_and_each_block_says_what_it_is():
    _, traces = figure_of([trial(0, None, None, name="a<b>"), trial(1, "0000", None, name="a<b>")])
    framed, alone = (trace for trace in traces if "text" in trace)
    assert framed["text"] == ["a&lt;b&gt; 2 @ 0.0003 · 2 trials"]
    assert framed["customdata"] == [
        "<b>stage 1: a&lt;b&gt;</b><br>trains class head<br>2 of 2 epochs at learning rates up to 0.0003<br>lowest "
        "val_loss 8.000<br>trials 0, 1<br>trained by trial 0, 2 epochs not trained again"
    ]
    assert (framed["marker"]["line"]["width"], alone["marker"]["line"]["width"]) == (1.5, 0)
    assert alone["text"] == ["a&lt;b&gt; 2 @ 0.0003 · trial 1", "a&lt;b&gt; 2 @ 0.0003 · trial 0"]


def test_the_lower_the_loss_the_stronger_the_colour():
    _, traces = figure_of([trial(0, None, None, None), trial(1, "0000", None), trial(2, None)])
    fills = [trace for trace in traces if "opacity" in trace]
    assert [trace["name"] for trace in fills] == sorted(trace["name"] for trace in fills)
    strengths = [trace["opacity"] for trace in fills]
    assert strengths == sorted(strengths, reverse=True) and strengths[0] == 1
    assert {trace["marker"]["color"] for trace in fills} <= set(DARK)


def test_a_wide_search_shows_the_first_stages_of_most_trials_and_says_so():
    shared = [trial(number, None if number % 3 == 0 else f"{number // 3 * 3:04d}", None) for number in range(30)]
    chart, traces = figure_of(shared + [trial(number, None) for number in range(30, 1000)])
    drawn = sum(len(trace["y"]) for trace in traces if "text" in trace)
    assert chart.title.endswith(f"; of 980 first stages, the {MOST_FIRST_STAGES} of most trials are drawn")
    assert (drawn, chart.height <= 1000) == (10 + 30 + MOST_FIRST_STAGES - 10, True)


def test_a_search_that_shared_nothing_has_no_tree():
    assert stages_trained_once([trial(0, None), trial(1, None)]) is None
    assert stages_trained_once([]) is None
