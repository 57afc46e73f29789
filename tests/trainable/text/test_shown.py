"""What messages show of users' files is short, on one line, and steers no terminal."""

import pytest

from trainable.text.shown import MOST, is_plain, printable, printable_lines, shown


@pytest.mark.parametrize(
    ("value", "text"),
    [(3, "3"), ("a b", "'a b'"), (None, "None"), ([1, "x"], "[1, 'x']"), ({"a": 1}, "{'a': 1}"), (float("nan"), "nan")],
)
def test_a_short_value_is_shown_as_python_writes_it(value, text):
    assert shown(value) == text


def test_values_without_end_are_cut():
    bomb = ["lol"]
    for _ in range(40):
        bomb = [bomb] * 9
    endless: list = []
    endless.append(endless)
    for value in (bomb, endless, "x" * 10**6, list(range(10**6)), dict.fromkeys(range(99), "x" * 99)):
        assert len(shown(value)) <= MOST


def test_nothing_that_is_shown_steers_a_terminal():
    assert shown("\x1b[2J\udcff\n") == r"'\x1b[2J\udcff\n'"
    assert printable("\x1b[2J\udcff\n\u202e") == r"\x1b[2J\udcff\n\u202e"
    assert printable_lines("größer\n\x1b[2J\r") == "größer\n\\x1b[2J\\r"


def test_names_may_hold_spaces_of_all_kinds_and_joined_emoji_but_no_control_characters():
    assert is_plain("Screenshot 9.00\u202fAM \u3000 👩\u200d👧")
    assert not any(is_plain(f"a{character}") for character in "\n\r\x00\x1b\x7f\x85\udcff")
