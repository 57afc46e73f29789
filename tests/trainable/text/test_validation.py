import math
from dataclasses import dataclass
from typing import Annotated, Literal

import pytest
from pydantic import BaseModel, ConfigDict, Field, StrictInt, StrictStr, TypeAdapter

from trainable.text.validation import broken_rules, faults_of, rule


@dataclass(frozen=True)
class Step:
    __pydantic_config__ = ConfigDict(extra="forbid", revalidate_instances="always")
    name: Annotated[StrictStr, rule(str.isprintable, "a text without line breaks")]
    epochs: Annotated[StrictInt, Field(ge=1)] = 1


class Plan(BaseModel):
    model_config = ConfigDict(strict=True, extra="forbid", allow_inf_nan=False)
    steps: list[Step]
    kind: Literal["a", "b"] = "a"
    share: float = 0


PLAN = TypeAdapter(Plan)


@pytest.mark.parametrize("sound", [{"steps": []}, {"steps": [{"name": "x"}], "share": 1}, {"steps": [Step("x", 3)]}])
def test_what_is_sound_has_no_faults(sound):
    assert faults_of(PLAN, sound) == []


def test_every_fault_is_told_with_its_place_rule_and_value():
    steps = [{"name": "a\nb", "epochs": 1.5}, {"epochs": 0, "nmae": "x"}, "x", Step("x", -1), {"name": "x", 3: 1}]
    assert faults_of(PLAN, {"steps": steps, "kind": "c", "share": math.nan, "\x1b[2J": 1, 7: 2}) == [
        r"steps[0].name: a text without line breaks, got 'a\nb'",
        "steps[0].epochs: should be a valid integer, got 1.5",
        "steps[1].name: is missing",
        "steps[1].epochs: should be greater than or equal to 1, got 0",
        "steps[1].nmae: no such field; there are name, epochs",
        "steps[2]: should be a mapping of fields, got 'x'",
        "steps[3].epochs: should be greater than or equal to 1, got -1",
        "steps[4][3]: no such field; there are name, epochs",
        "kind: should be 'a' or 'b', got 'c'",
        "share: should be a finite number, got nan",
        r"\x1b[2J: no such field; there are steps, kind, share",
        "[7]: no such field; there are steps, kind, share",
    ]


@pytest.mark.parametrize("value", [None, 3, "x", [1]])
def test_what_is_no_mapping_is_told_without_a_place(value):
    assert faults_of(PLAN, value) == [f"should be a mapping of fields, got {value!r}"]


@pytest.mark.parametrize("value", ["x" * 9999, 10**4000, ["\x1b[31m"] * 99, {"\ud800": 1}])
def test_a_fault_is_a_short_line_whatever_the_value(value):
    for fault in faults_of(PLAN, {"steps": value, str(value)[:999]: 1} if value != {"\ud800": 1} else value):
        assert fault.isprintable() and len(fault) < 300


def test_a_broken_rule_has_its_place_rule_and_value_apart():
    broken = broken_rules(PLAN, {"steps": 1, "kin": 1})
    assert broken == [
        ("steps", "should be a valid list", "1"),
        ("kin", "no such field; there are steps, kind, share", None),
    ]
