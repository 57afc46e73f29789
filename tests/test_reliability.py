"""`docs/reliability.md` names tests that there are, for every fault."""

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PAGE = (ROOT / "docs" / "reliability.md").read_text()
ROWS = [row for row in PAGE.splitlines() if row.startswith("| ") and not row.startswith("| fault ")]
NAMED = re.findall(r"`(tests/[\w/]+\.py)(?:::(\w+))?`", PAGE)


def functions_of(path: str) -> dict[str, str]:
    """By its name, each function of a file with its decorators."""
    tree = ast.parse((ROOT / path).read_text())
    found = [node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)]
    return {node.name: " ".join(map(ast.unparse, node.decorator_list)) for node in found}


@pytest.mark.parametrize(("path", "name"), NAMED, ids=lambda part: part.rpartition("/")[2])
def test_a_test_that_is_named_exists(path, name):
    assert (ROOT / path).exists()
    assert not name or name in functions_of(path)


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.split("|")[1].strip())
def test_every_fault_has_a_test_and_a_soak_where_it_says_so(row):
    _, _, _, _, soak, held_by, _ = (cell.strip() for cell in row.split("|"))
    named = re.findall(r"`(tests/[\w/]+\.py)(?:::(\w+))?`", held_by)
    assert named
    assert bool(soak) == any("soak" in functions_of(path).get(name, "") for path, name in named)


def test_every_test_of_a_fault_is_in_the_table():
    assert {f"tests/faults/{path.name}" for path in (ROOT / "tests" / "faults").glob("test_*.py")} <= dict(NAMED).keys()
