"""YAML holds plain values only; what is not sound is refused with its line, and nothing runs or blows up."""

import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trainable.text.yaml_file import YamlError, read_yaml, yaml_text

# PyYAML writes the line breaks beyond ASCII so that they are read back as blanks; no text of ours may have them.
TEXTS = st.text(st.characters(codec="utf-8", exclude_characters="\x85\u2028\u2029"))
PLAIN = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**63 - 1) | st.floats(allow_nan=False) | TEXTS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXTS, inner, max_size=3),
    max_leaves=8,
)


def read(folder, text):
    (folder / "a.yaml").write_bytes(text if isinstance(text, bytes) else text.encode())
    return read_yaml(folder / "a.yaml")


def laughs(line):
    """A few hundred bytes that stand for 9 ** 30 values."""
    return "a0: &a0 {x: 1}\n" + "".join(line.format(now=level, before=level - 1) for level in range(1, 31))


@settings(deadline=None, derandomize=True)
@given(plain=PLAIN)
def test_what_is_written_is_read_back(tmp_path_factory, plain):
    path = tmp_path_factory.getbasetemp() / "round-trip.yaml"
    path.write_text(yaml_text(plain), encoding="utf-8")
    assert read_yaml(path) == plain


def test_numbers_marks_and_aliases_are_read_as_people_write_them(tmp_path):
    assert read(tmp_path, "\ufeffa: 1e-4\r\nb: &b {c: 1}\r\nd: {<<: *b, e: 2}\r\nf: [*b, *b]\r\n") == {
        "a": 1e-4,
        "b": {"c": 1},
        "d": {"c": 1, "e": 2},
        "f": [{"c": 1}, {"c": 1}],
    }


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a: [", "line 1: while parsing a flow node"),
        ("a: 1\nb: 2\na: 3", "line 3: the key 'a' is there twice"),
        ("a: {b: 1, b: 1}", "line 1: the key 'b' is there twice"),
        ("a: !!python/object/apply:os.getcwd []", "line 1: could not determine a constructor"),
        ("a: 1\nb: 2024-13-45", "line 2: '2024-13-45' is no timestamp"),
        ("a: !!bool x", "line 1: 'x' is no bool"),
        ("a: !!timestamp x", "line 1: 'x' is no timestamp"),
        ('a: !!int ""', "line 1: '' is no int"),
        ("a: !!float x", "line 1: 'x' is no float"),
        ("a: 9223372036854775808", "line 1: a whole number of more than 64 bits: '9223372036854775808'"),
        ("a: 0x" + "f" * 10_000, "line 1: a whole number of more than 64 bits"),
        ("a: " + "9" * 10_000, "line 1: '9+...9+' is no int"),
        ('a: 1\nb: "\\UFFFFFFFF"', "line 2: "),
        ("a: &a [*a]", "line 1: it holds itself"),
        ("[" * 5000, "it is nested too deep"),
        ("? [a]\n: 1", "line 1: while constructing a mapping, found unhashable key"),
        ("a: \x1b", "special characters are not allowed"),
        (b"\xff\xfe", "can't decode"),
        ("a\n---\nb", "line 2: expected a single document"),
        (laughs("a{now}: &a{now} [" + "*a{before}, " * 8 + "*a{before}]\n"), "line 1: its aliases repeat more than"),
        (laughs("a{now}: &a{now} {{<<: [" + "*a{before}, " * 8 + "*a{before}]}}\n"), "its aliases repeat more than"),
    ],
)
def test_what_cannot_be_read_is_told_with_its_line_and_at_once(tmp_path, text, message):
    started = time.process_time()
    with pytest.raises(YamlError, match=message) as caught:
        read(tmp_path, text)
    assert time.process_time() - started < 5
    assert str(caught.value).isprintable() and len(str(caught.value)) < 500


@pytest.mark.parametrize("name", ["none.yaml", "a\0b", "\ud800", "x" * 300])
def test_a_path_that_cannot_be_read_is_told(tmp_path, name):
    with pytest.raises(YamlError):
        read_yaml(tmp_path / name)
