"""How the readers of files are fuzzed.

Seconds and the same inputs in every run; ten minutes with `pytest -n 0 -m soak`.
"""

import copy
import json
import random
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st

SOAK_SECONDS = 600.0
SOAK_INPUTS = 1_000_000
ROUND = 2_000
"""Inputs between two looks at the clock."""

HOSTILE = "</td><script>alert(1)</script>|=1+1 [red][/x]{{ 7*7 }}\x1b]0;owned\x07\x1b[2J\r\n# `x` &amp; \u202e\0"
"""A text that does harm wherever it is taken for HTML, Markdown, a formula, rich's markup, a template or a terminal."""

FRAGMENTS = (
    *("nan", ".nan", "inf", "-.inf", "1e400", "-0", "0x" + "f" * 4000, "9" * 5000, "1_0", "٣", "1:60", "2024-13-45"),
    *("null", "~", "yes", "''", "\ufeff", "\x85", "\u2028", "\x00", "\x1b[31m", "\ud800", "\U0010ffff", "é", "\\ud800"),
    *("../..", "/etc/passwd", "~nobody-of-that-name/x", "a/../../b", "x" * 300, "<b>", "[/x]", "{{", "|", ","),
    *("&a [*a]", "*a", "<<: *a", "!!python/object/apply:os.getcwd []", "!!timestamp x", "!!bool x", '!!int ""'),
    *('"\\UFFFFFFFF"', '"\\ud800"', '"\\0"', '"\\e[31m"', "!!binary x", "? [a] : b", "{" * 200, "[" * 3000, "- " * 900),
    *("---", "%YAML 9.9", "\t", ": ", "- ", "#", "'", '"', "{", "}", "[", "]", "\r", "\r\n", "\n\n"),
)
"""What is put into files: the words at which parsers of numbers, YAML, JSON, paths and text have stumbled."""

WORDS = st.integers(0, len(FRAGMENTS) - 1).map(FRAGMENTS.__getitem__)
TEXTS = st.text(max_size=12) | WORDS | st.just(HOSTILE)
SCALARS = st.none() | st.booleans() | st.integers() | st.floats() | st.dates() | st.binary(max_size=8) | TEXTS
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(SCALARS, inner, max_size=4),
    max_leaves=12,
)
"""Whatever a YAML document can say."""

Check = Callable[[Path, Any], None]


def fuzz(inputs: st.SearchStrategy, examples: int = 300) -> Callable[[Check], Callable[..., None]]:
    """Makes a test of a check that takes an empty folder and one input: quick and repeatable, and a soak of it.

    Args:
        inputs: what the check is given.
        examples: inputs of the quick test.
    """

    def decorate(check: Check) -> Callable[..., None]:
        @pytest.mark.parametrize("soak", [False, pytest.param(True, marks=pytest.mark.soak)], ids=["quick", "soak"])
        def test(soak: bool, tmp_path: Path) -> None:
            if not soak:
                _run(check, tmp_path, inputs, examples, 0)
                return
            ends, tried = time.monotonic() + SOAK_SECONDS, 0
            while tried < SOAK_INPUTS and time.monotonic() < ends:
                _run(check, tmp_path, inputs, ROUND, tried)
                tried += ROUND
            print(f"{check.__name__}: {tried:,} inputs")

        test.__doc__ = check.__doc__
        return test

    return decorate


def _run(check: Check, folder: Path, inputs: st.SearchStrategy, examples: int, start: int) -> None:
    @seed(start)
    @settings(
        max_examples=examples,
        deadline=None,
        database=None,
        suppress_health_check=list(HealthCheck),
        phases=[Phase.generate, Phase.shrink],
    )
    @given(inputs)
    def one(content: Any) -> None:
        check(folder, content)

    one()


def yaml_bytes(fields: dict[str, st.SearchStrategy]) -> st.SearchStrategy[bytes]:
    """Documents with some of these keys and perhaps others, each with a value that fits or any at all."""
    fitting = st.fixed_dictionaries({}, optional={name: values | VALUES for name, values in fields.items()})
    return st.one_of(fitting, st.builds(lambda a, b: a | b, fitting, st.dictionaries(TEXTS, VALUES, max_size=2))).map(
        _yaml
    )


def damaged(files: Sequence[bytes]) -> st.SearchStrategy[bytes]:
    """Good files with one to four things done to each: bits flipped, cut, lines moved, fragments put in."""
    return st.builds(_damaged, st.sampled_from(files), st.integers(0, 2**32), st.integers(1, 4))


def damaged_events(journals: Sequence[Sequence[Any]]) -> st.SearchStrategy[bytes]:
    """Good journals in which values, keys or whole events are not what they were; every line is sound JSON."""
    return st.builds(_damaged_events, st.sampled_from(journals), st.integers(0, 2**32), st.integers(1, 3))


def damaged_json(contents: Sequence[Any]) -> st.SearchStrategy[bytes]:
    """The same of good JSON files."""
    return st.builds(
        lambda content, start, changes: json.dumps(_damaged_tree(content, start, changes)).encode(),
        *(st.sampled_from(contents), st.integers(0, 2**32), st.integers(1, 3)),
    )


def _yaml(content: Any) -> bytes:
    return yaml.safe_dump(content, allow_unicode=True, sort_keys=False).encode("utf-8", "surrogatepass")


def _damaged(content: bytes, start: int, changes: int) -> bytes:
    chance = random.Random(start)
    for _ in range(changes):
        content = chance.choice(_CHANGES)(content, chance)
    return content


def _flip(content: bytes, chance: random.Random) -> bytes:
    changed = bytearray(content or b"\0")
    changed[chance.randrange(len(changed))] ^= 1 << chance.randrange(8)
    return bytes(changed)


def _cut(content: bytes, chance: random.Random) -> bytes:
    return content[: chance.randint(0, len(content))]


def _remove(content: bytes, chance: random.Random) -> bytes:
    start = chance.randint(0, len(content))
    return content[:start] + content[start + chance.randint(1, 12) :]


def _insert(content: bytes, chance: random.Random) -> bytes:
    fragment = chance.choice(FRAGMENTS).encode("utf-8", "surrogatepass")
    start = chance.randint(0, len(content))
    return content[:start] + fragment + content[start:]


def _replace_word(content: bytes, chance: random.Random) -> bytes:
    words = content.split(b" ")
    words[chance.randrange(len(words))] = chance.choice(FRAGMENTS).encode("utf-8", "surrogatepass")
    return b" ".join(words)


def _shuffle_lines(content: bytes, chance: random.Random) -> bytes:
    lines = content.splitlines(keepends=True) or [b""]
    lines.insert(chance.randrange(len(lines)), lines[chance.randrange(len(lines))])
    if chance.random() < 0.5:
        del lines[chance.randrange(len(lines))]
    return b"".join(lines)


def _encode(content: bytes, chance: random.Random) -> bytes:
    text = content.decode("utf-8", "replace")
    return text.encode(chance.choice(["utf-16", "utf-8-sig", "utf-32-le", "cp1252"]), "replace")


def _line_ends(content: bytes, chance: random.Random) -> bytes:
    return content.replace(b"\n", chance.choice([b"\r\n", b"\r", b"\n\n", b"\0\n", b"\x0b", b" "]))


_CHANGES = (_flip, _flip, _cut, _remove, _insert, _insert, _replace_word, _shuffle_lines, _encode, _line_ends)


def _damaged_events(events: Sequence[Any], start: int, changes: int) -> bytes:
    return "".join(json.dumps(event) + "\n" for event in _damaged_tree(events, start, changes)).encode()


def _damaged_tree(tree: Any, start: int, changes: int) -> Any:
    chance, changed = random.Random(start), json.loads(json.dumps(tree))
    for _ in range(changes):
        _damage(changed, chance)
    return changed


def _damage(tree: Any, chance: random.Random) -> None:
    """Replaces, removes, repeats or renames something somewhere below."""
    places = list(_places(tree))
    if not places:
        return
    where, key = chance.choice(places)
    action = chance.randrange(4)
    if action == 0:
        del where[key]
    elif action == 1 and isinstance(where, list):
        where.insert(chance.randint(0, len(where)), where[key])
    elif action == 1:
        where[chance.choice(["other", "", HOSTILE])] = where.pop(key)
    else:
        where[key] = copy.deepcopy(chance.choice(_JSON_VALUES))


def _places(tree: Any) -> Any:
    for key in list(tree) if isinstance(tree, dict) else range(len(tree)) if isinstance(tree, list) else ():
        yield tree, key
        yield from _places(tree[key])


_JSON_VALUES = (
    *(None, True, False, 0, -1, 1, 2, 3.5, -0.0, 10**30, -(2**63), 1e308, 1e-320, float("nan"), float("inf")),
    *("", "1", "COMPLETED", "RUNNING", "asked", HOSTILE, "\ud800", "stages", [], {}, [[]], [1, "a"], {"a": {"b": [1]}}),
    *({"epoch": 1}, [{"epoch": 0.5}], ["decoder"]),
)
