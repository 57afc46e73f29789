"""Which room may import which, and what must stay light enough to answer a wrong flag at once."""

import ast
import re
import runpy
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
ALLOWED = {
    "search": {"spaces", "results", "trainable"},
    "spaces": {"trainable"},
    "results": {"trainable"},
    "trainable": set(),
}
HEAVY = ("torch", "ray", "transformers")

FLOORS = {
    "trainable": (
        ("alignment", "compute", "detection", "imports", "metric", "model_signal", "storage", "text"),
        ("coco", "data", "precision", "readout", "recipe", "sample"),
        ("detector", "history", "micro_batch"),
        ("reuse",),
        ("training",),
        ("train", "tune_trainable"),
    ),
    "spaces": (
        ("budget", "schedule"),
        ("freeze", "optimizer", "registry"),
        ("models",),
        ("flat", "learning_rate", "staged"),
        ("scenes",),
    ),
    "results": (
        ("environment", "formatting", "journal", "markdown", "measures", "rungs", "schema"),
        ("description", "drawing", "retrained", "selection", "tensorboard_log"),
        ("prediction",),
        ("evaluate", "model", "page", "table"),
        ("export", "export_model", "predict", "report"),
    ),
    "search": (
        ("option", "patience", "raylet", "rungs", "sampling", "signals", "study_database", "trials"),
        ("options", "study", "supervisor"),
        ("command", "earlier_runs", "retraining"),
        ("run_folder",),
        ("cluster", "console", "inputs"),
        ("micro_batch", "searcher"),
        ("scheduler",),
        ("tuner",),
        ("finish",),
        ("driver",),
        ("command_line",),
        ("entry_point", "run"),
    ),
}
"""The rooms of each package, a folder or a module of its own, by floors from the ground up: each imports from below."""


def modules_of(package):
    return sorted((ROOT / package).rglob("*.py"))


def name_of(file):
    parts = file.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def imports_of(file):
    """Full names of all that a file imports, within functions too."""
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{file}: imports are written in full"
            full = [f"{node.module}.{alias.name}" for alias in node.names]
            yield from (name if name in MODULES else node.module for name in full)


MODULES = {name_of(file) for package in ALLOWED for file in modules_of(package)}
LIGHT = sorted(
    {"search.run", "search.entry_point", "search.command_line", "search.options"}
    | {name_of(file) for file in modules_of("spaces")}
    | {name_of(file) for file in modules_of("trainable/data")}
    - {f"trainable.data.{name}" for name in ("augmented_pairs", "dataset", "image_cache", "resizing", "trial_data")}
)


def room_of(module):
    """The folder of a module within its package, or the module itself; None for the package."""
    parts = module.split(".")
    return parts[1] if len(parts) > 1 else None


@pytest.mark.parametrize("package", ALLOWED)
def test_imports_point_one_way_only(package):
    files = modules_of(package)
    assert files
    for file in files:
        packages = {name.split(".")[0] for name in imports_of(file)} & set(ALLOWED)
        wrong = packages - ALLOWED[package] - {package}
        assert not wrong, f"{name_of(file)} imports {', '.join(sorted(wrong))}"


@pytest.mark.parametrize("package", FLOORS)
def test_every_room_has_its_floor(package):
    rooms = {room_of(name_of(file)) for file in modules_of(package)} - {None}
    listed = [room for floor in FLOORS[package] for room in floor]
    assert sorted(listed) == sorted(rooms)


@pytest.mark.parametrize("package", FLOORS)
def test_a_room_imports_only_from_the_floors_below_it(package):
    floor_of = {room: floor for floor, rooms in enumerate(FLOORS[package]) for room in rooms}
    for file in modules_of(package):
        room = room_of(name_of(file))
        imported = {room_of(name) for name in imports_of(file) if name.split(".")[0] == package} - {room, None}
        wrong = [other for other in imported if floor_of[other] >= floor_of[room]]
        assert not wrong, f"{name_of(file)} imports from {', '.join(sorted(wrong))}"


def test_no_modules_import_each_other_on_whatever_way_round():
    waiting = {name_of(file): set(imports_of(file)) & MODULES for package in ALLOWED for file in modules_of(package)}
    while free := {module for module, imported in waiting.items() if not imported & waiting.keys() - {module}}:
        waiting = {module: imported for module, imported in waiting.items() if module not in free}
    assert not waiting, f"these are in a circle, or above one: {', '.join(sorted(waiting))}"


@pytest.mark.parametrize("package", ALLOWED)
def test_nothing_imports_the_tests(package):
    assert not [file for file in modules_of(package) for name in imports_of(file) if name.split(".")[0] == "tests"]


def test_no_room_has_the_name_of_a_library():
    """`python results/export.py` has its own folder first on the path: there, such a room would be found instead."""
    rooms = {room_of(module) for module in MODULES} - {None}
    assert not rooms & set(sys.stdlib_module_names)
    imported = {name.split(".")[0] for package in ALLOWED for file in modules_of(package) for name in imports_of(file)}
    assert not rooms & (imported - set(ALLOWED))


def test_flags_data_and_spaces_are_read_without_torch_ray_and_transformers():
    program = (
        "import importlib, sys\n"
        f"for name in {LIGHT}:\n"
        "    importlib.import_module(name)\n"
        f"    heavy = [heavy for heavy in {HEAVY} if heavy in sys.modules]\n"
        "    assert not heavy, f'{name} imports {heavy}'\n"
    )
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


@pytest.fixture(scope="module")
def script():
    """The names of `docs/draw_architecture.py`."""
    return runpy.run_path(str(ROOT / "docs" / "draw_architecture.py"))


def test_the_drawing_is_that_of_the_imports(script):
    assert script["DRAWING"].read_text(encoding="utf-8") == script["drawing"](), (
        "the imports have changed; draw them again: python docs/draw_architecture.py"
    )


def test_a_folder_is_drawn_above_all_that_it_imports_and_beside_those_that_import_each_other(script):
    imports = {"a": {"b", "c", "d"}, "b": {"c"}, "c": {"b", "d"}, "d": set(), "e": {"a", "d"}}
    assert script["rows"](imports) == [["e"], ["a"], ["b", "c"], ["d"]]
    assert script["arrows"](imports) == [("a", "b"), ("a", "c"), ("b", "c"), ("c", "b"), ("c", "d"), ("e", "a")]


@pytest.mark.parametrize("page", ["docs/architecture.md", "CONTRIBUTING.md"])
def test_every_file_and_name_of_the_pages_is_there(page):
    text = (ROOT / page).read_text(encoding="utf-8")
    paths = re.findall(r"`([\w.]+/[\w./]*)`", text) + re.findall(r"\]\((?!http)([^)#]+)\)", text)
    assert len(paths) > 5
    for path in paths:
        assert (ROOT / path).exists() or (ROOT / page).parent.joinpath(path).exists(), path
    for path, name in re.findall(r"`([\w/]+\.py):(\w+)`", text):
        assert re.search(rf"^\s*(def|class) {name}\b|^{name}\b.*=", (ROOT / path).read_text(), re.MULTILINE), name
