"""Flags: each rule is told with the flag and the value met, and all that are broken together."""

import dataclasses

import pytest
import yaml

from search.options import Options, OptionsError, grace_of, parse_duration

GOOD = {
    "space": "staged",
    "data": None,
    "model": "embedded",
    "trials": 16,
    "max_epochs": 24,
    "grace": 4,
    "storage": "runs",
    "name": "a run_1.2-3@4+5",
}


def faults(**changed) -> list[str]:
    with pytest.raises(OptionsError) as caught:
        Options(**(GOOD | changed))
    return caught.value.faults


def test_good_options_are_taken():
    options = Options(**GOOD)
    assert str(options.run) == "runs/a run_1.2-3@4+5"
    assert (options.reduction, options.sampler, options.cpus_per_trial, options.seed) == (4, "tpe", None, 0)


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"trials": 0}, "--trials: at least 1, got 0"),
        ({"max_epochs": 2, "grace": 1}, "--max-epochs: at least 3, got 2"),
        ({"grace": 0}, "--grace: a whole number of epochs from 1 to --max-epochs (24), got 0"),
        ({"grace": 25}, "--grace: a whole number of epochs from 1 to --max-epochs (24), got 25"),
        ({"reduction": 1}, "--reduction: a number above 1, got 1"),
        ({"max_concurrent": 0}, "--max-concurrent: at least 1, got 0"),
        ({"cpus_per_trial": 0}, "--cpus-per-trial: at least 1, got 0"),
        ({"cache_size": -1}, "--cache-size: GB, at least 0, got -1"),
        ({"cache_size": float("inf")}, "--cache-size: should be a finite number, got inf"),
        ({"gpus_per_trial": -0.5}, "--gpus-per-trial: a number from 0 to 1, got -0.5"),
        ({"subset": 0}, "--subset: at least 1, got 0"),
        ({"seed": -1}, "--seed: a whole number from 0 to 2**32 - 1, got -1"),
        ({"seed": 2**32}, "--seed: a whole number from 0 to 2**32 - 1, got 4294967296"),
        ({"sampler": "grid"}, "--sampler: one of tpe, random, got 'grid'"),
        ({"name": "a/b"}, "--name: a folder's name, printable, without / and not . or .., got 'a/b'"),
        ({"name": ".."}, "--name: a folder's name, printable, without / and not . or .., got '..'"),
        ({"name": ""}, "--name: a folder's name, printable, without / and not . or .., got ''"),
    ],
)
def test_each_rule_names_the_flag_and_the_value(changed, message):
    assert faults(**changed) == [message]


def test_the_limits_themselves_are_allowed():
    Options(**(GOOD | {"trials": 1, "max_epochs": 3, "grace": 3, "reduction": 1.01, "seed": 2**32 - 1, "subset": 1}))
    Options(**(GOOD | {"max_concurrent": 1, "gpus_per_trial": 0, "grace": 24}))


def test_a_ray_client_address_is_refused_with_advice():
    (fault,) = faults(address="ray://head:10001")
    assert fault.startswith("--address: ray://") and "--address auto" in fault and "ray job submit" in fault
    for address in ("auto", "10.0.0.1:6379", None):
        assert Options(**GOOD, address=address).address == address


def test_all_broken_rules_are_told_together():
    broken = faults(trials=0, reduction=0.5, sampler="grid", name="a/b", address="ray://head")
    assert [fault.split(":")[0] for fault in broken] == ["--trials", "--reduction", "--sampler", "--name", "--address"]
    with pytest.raises(OptionsError, match=r"(?s)--trials.*\n--sampler"):
        Options(**(GOOD | {"trials": 0, "sampler": "grid"}))


def test_options_survive_yaml():
    options = Options(**GOOD, gpus_per_trial=0.5, group_by="parent", time_budget=90.0)
    assert Options.from_dict(yaml.safe_load(yaml.safe_dump(dataclasses.asdict(options)))) == options
    plain = dataclasses.asdict(options) | {"a_field_of_a_later_version": 1}
    assert Options.from_dict(plain) == options


def test_types_and_rules_are_told_together():
    plain = GOOD | {"trials": 0, "grace": 25, "seed": True, "keep": 1.5, "sampler": "grid", "time_budget": "1h"}
    with pytest.raises(OptionsError) as caught:
        Options.from_dict({name: value for name, value in plain.items() if name != "model"})
    assert caught.value.faults == [
        "search.yaml: model: is missing",
        "search.yaml: trials: at least 1, got 0",
        "search.yaml: sampler: one of tpe, random, got 'grid'",
        "search.yaml: seed: should be a valid integer, got True",
        "search.yaml: keep: should be a valid integer, got 1.5",
        "search.yaml: time_budget: should be a valid number, got '1h'",
        "search.yaml: grace: a whole number of epochs from 1 to --max-epochs (24), got 25",
    ]


@pytest.mark.parametrize(
    ("text", "seconds"), [("90s", 90), ("30m", 1800), ("1.5h", 5400), (" 2h ", 7200), ("0.5s", 0.5), ("0s", 0)]
)
def test_durations_are_read(text, seconds):
    assert parse_duration(text) == seconds


@pytest.mark.parametrize("text", ["", "90", "-5m", "1d", "1h30m", "one hour", "1e3s", f"1{'0' * 400}h"])
def test_other_durations_are_refused_with_the_text(text):
    with pytest.raises(ValueError, match=r"a duration such as 90s, 30m or 1\.5h, got ") as caught:
        parse_duration(text)
    assert repr(text) in str(caught.value)


@pytest.mark.parametrize(("max_epochs", "grace"), [(3, 2), (6, 2), (24, 4), (25, 5), (120, 20)])
def test_the_default_grace_period_is_a_sixth_rounded_up_at_least_two(max_epochs, grace):
    assert grace_of(max_epochs, None) == grace


def test_a_grace_period_that_was_asked_for_is_kept():
    assert grace_of(24, 7) == 7
    assert grace_of(24, 0) == 0  # for the rule to refuse


def test_a_run_in_a_storage_is_worked_on_in_a_folder_of_this_machine(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    options = Options(**(GOOD | {"storage": "s3://KEY:SECRET@bucket/runs?region=eu-west-1", "name": "a b?"}))
    assert options.remote.uri == "s3://KEY:SECRET@bucket/runs/a%20b%3F?region=eu-west-1"
    assert options.run == options.mirror.local and options.run.is_relative_to(tmp_path) and options.run.name == "a b?"
    assert options.address_of_run == "s3://bucket/runs/a%20b%3F?region=eu-west-1"
    assert (options.shown(), options.shown("best/model")) == (
        "s3://bucket/runs/a b?",
        "s3://bucket/runs/a b?/best/model",
    )


def test_a_run_in_a_folder_is_worked_on_there():
    options = Options(**(GOOD | {"name": "one"}))
    assert options.remote is None and options.mirror is None
    assert str(options.run) == options.address_of_run == options.shown() == "runs/one"
    assert options.shown("best/model") == "runs/one/best/model"
