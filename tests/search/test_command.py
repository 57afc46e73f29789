"""The command that the report shows for repeating a search is taken by the command line, and asks for that search."""

import dataclasses
import shlex
import sys
from types import SimpleNamespace

import pytest
from typer.testing import CliRunner

from search.command import OF_ONE_RUN, search_command
from search.command_line import app
from search.option import described
from search.options import Options
from search.run_folder.run_folder import create_run

DEFAULTS = Options(
    *("staged", None, "embedded"),
    trials=16,
    max_epochs=24,
    grace=4,
    micro_batch="auto",
    storage="/somewhere/my runs",
    name="first",
)
OTHERS = Options(
    space="/somewhere/mine.py:mine",
    data="/somewhere/my pairs",
    model="facebook/detr-resnet-50",
    trials=5,
    max_epochs=13,
    grace=7,
    storage="s3://bucket/runs?region=eu-west-1&allow_delayed_open=true",
    name="first",
    reduction=2.5,
    sampler="random",
    max_concurrent=2,
    gpus_per_trial=0.5,
    cpus_per_trial=3,
    seed=9,
    forced=True,
    bounded=False,
    numbered=False,
    pruning="stopping",
    portfolio=False,
    patience_epochs="auto",
    metric="map",
    start_from="/somewhere/first,s3://bucket/runs/second",
    earlier=[{"stages": 1}],
    skip_bad=True,
    subset=20,
    group_by=r"^(\w+)_\d+$",
    address="auto",
    micro_batch="8",
    cache_size=0.0,
    cache_pictures=False,
    cache_layers=False,
    reuse_workers=False,
    checkpoint_every=1e-05,
    keep=3,
    confirm=2,
    confirm_seeds=4,
    final_epochs=40,
    time_budget=5400.0,
    test="gs://bucket/test",
    min_precision=0.9,
    min_recall=0.25,
    overlays=0,
    image_size=480,
    align="auto",
)


@pytest.fixture
def asked_for(monkeypatch):
    """The options that the command line makes of a command."""
    asked = []
    driver = SimpleNamespace(run_search=lambda options, **how: asked.append(options) or 0)
    monkeypatch.setitem(sys.modules, "search.driver", driver)

    def run(command: str) -> Options:
        result = CliRunner().invoke(app, shlex.split(command)[2:])
        assert result.exit_code == 0, result.output
        return asked.pop()

    return run


OF_BEFORE = dataclasses.replace(DEFAULTS, micro_batch="recipe", pruning="stopping", portfolio=False)
"""What a run of a version before there were micro-batches is resumed with."""


@pytest.mark.parametrize("options", [DEFAULTS, OTHERS, OF_BEFORE], ids=["defaults", "others", "of before"])
def test_the_command_is_taken_and_asks_for_the_same_search(options, asked_for):
    again = asked_for(search_command(options))
    assert again.name != options.name, "it is taken"
    assert dataclasses.replace(again, **{name: getattr(options, name) for name in OF_ONE_RUN}) == options


def test_every_option_is_part_of_the_command():
    same = {field.name for field in dataclasses.fields(Options) if getattr(OTHERS, field.name) == field.default}
    assert same == set(), "options that OTHERS leaves at their defaults, so that the test above says nothing of them"
    words = shlex.split(search_command(OTHERS))
    assert sum(word.startswith("--") for word in words) == len(dataclasses.fields(Options)) - len(OF_ONE_RUN)


def test_several_models_are_named_one_by_one(asked_for):
    options = dataclasses.replace(OTHERS, model=["facebook/detr-resnet-50", "/somewhere/my model"])
    command = search_command(options)
    assert "--model facebook/detr-resnet-50 --model '/somewhere/my model'" in command
    assert asked_for(command).model == options.model


def test_what_is_left_at_its_default_does_not_clutter_the_command():
    assert search_command(DEFAULTS) == (
        "python search/run.py --space staged --model embedded --trials 16 --max-epochs 24 --grace 4 "
        "--storage '/somewhere/my runs'"
    )


def test_keys_are_not_shown():
    options = dataclasses.replace(OTHERS, data="s3://KEY:SECRET@bucket/pairs", test="abfs://a:SECRET@b/c?sig=SECRET")
    assert "SECRET" not in search_command(options)


def test_what_a_resume_may_change_is_changed_and_nothing_else(asked_for, tmp_path):
    begun = dataclasses.replace(DEFAULTS, storage=str(tmp_path))
    create_run(begun, {})
    others = {field.name: getattr(OTHERS, field.name) for field, option in described(Options) if option.beside_resume}
    changed = dataclasses.replace(begun, **others)
    words = shlex.split(search_command(changed))
    flags = words[words.index("--storage") + 2 :]
    assert asked_for(shlex.join(["python", "run.py", "--resume", str(begun.run), "--trials", "5", *flags])) == changed
    assert asked_for(shlex.join(["python", "run.py", "--resume", str(begun.run), "--no-cache"])).cache_size == 0
    assert asked_for(shlex.join(["python", "run.py", "--resume", str(begun.run)])) == begun


def test_a_flag_that_no_resume_takes_is_refused_as_it_was_written():
    result = CliRunner().invoke(app, ["--resume", "somewhere", "--no-cache-pictures", "--seed", "1", "--no-reuse"])
    assert result.exit_code == 2
    assert "--no-cache-pictures, --seed: cannot be given beside --resume" in result.stderr


def test_the_help_names_every_flag_that_a_resume_takes():
    text = CliRunner().invoke(app, ["--help"], env={"COLUMNS": "1000"}).output
    (line,) = [line for line in text.splitlines() if "--resume " in line]
    for flag in ("--trials", "--cpus-per-trial", "--no-cache", "--no-reuse", "--overlays", "--force"):
        assert f"{flag}," in line or f"{flag} " in line, flag
    assert "--no-cache-pictures" not in line and "--seed" not in line
