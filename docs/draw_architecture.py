"""Draws `docs/architecture.svg` from the imports: `python docs/draw_architecture.py`.

A box is a folder of modules, an arrow an import. Folders stand above those that they import; an arrow that follows from
others is left out, and folders that import each other stand side by side.
"""

import ast
import html
import textwrap
from collections.abc import Mapping
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
DRAWING = ROOT / "docs" / "architecture.svg"
COLOURS = {"search": "#dbeafe", "results": "#dcfce7", "spaces": "#fef3c7", "trainable": "#f3e8ff"}
"""Of the four packages; a folder has its package's."""
INK = "#475569"

WIDTH, HEIGHT, GAP, ROW_GAP, MARGIN = 230, 116, 26, 58, 30
"""Of a box and between boxes, in pixels."""
LETTERS = 34
"""That fit into a line of a box."""

Imports = dict[str, set[str]]
"""Of each folder, such as `results.page`, the folders that it imports from."""


def read_imports() -> Imports:
    """Reads which folder imports from which others, within functions too."""
    files = {_module(file): file for package in COLOURS for file in sorted((ROOT / package).rglob("*.py"))}
    found: Imports = {_folder(file): set() for file in files.values()}
    for module, file in files.items():
        for name in _imported(file) & files.keys() - {module}:
            found[_folder(file)].add(_folder(files[name]))
    return {folder: others - {folder} for folder, others in found.items()}


def rows(imports: Imports) -> list[list[str]]:
    """Folders from top to bottom: each above all that it imports, beside those that import it as well."""
    reached = _reached(imports)

    def below(folder: str) -> set[str]:
        return {other for other in reached[folder] if folder not in reached[other]}

    heights: dict[str, int] = {}
    for folder in sorted(imports, key=lambda folder: len(below(folder))):
        heights[folder] = 1 + max((heights[other] for other in below(folder)), default=-1)
    by_height: list[list[str]] = [[] for _ in range(max(heights.values()) + 1)]
    for folder in sorted(heights):
        by_height[heights[folder]].append(folder)
    return by_height[::-1]


def arrows(imports: Imports) -> list[tuple[str, str]]:
    """The imports that do not follow from others."""
    reached = _reached(imports)
    return [
        (folder, other)
        for folder in sorted(imports)
        for other in sorted(imports[folder])
        if not any(
            other in reached[between] and folder not in reached[between] and between not in reached[other]
            for between in imports[folder] - {other}
        )
    ]


def drawing() -> str:
    """The image as SVG; the same imports and docstrings give the same text."""
    imports = read_imports()
    above = rows(imports)
    width = 2 * MARGIN + max(len(row) * (WIDTH + GAP) - GAP for row in above)
    places = {
        folder: ((width - len(row) * (WIDTH + GAP) + GAP) / 2 + column * (WIDTH + GAP), MARGIN + y * (HEIGHT + ROW_GAP))
        for y, row in enumerate(above)
        for column, folder in enumerate(row)
    }
    height = 2 * MARGIN + len(above) * (HEIGHT + ROW_GAP) - ROW_GAP
    lines = [_line(places[folder], places[other]) for folder, other in arrows(imports)]
    boxes = [_box(folder, place) for folder, place in places.items()]
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width:g} {height:g}" font-family="sans-serif">',
            '<defs><marker id="tip" viewBox="0 0 8 8" refX="8" refY="4" markerWidth="8" markerHeight="8" orient="auto">'
            f'<path d="M0 0 L8 4 L0 8 z" fill="{INK}"/></marker></defs>',
            f'<rect width="{width:g}" height="{height:g}" fill="white"/>',
            *lines,
            *boxes,
            "</svg>\n",
        ]
    )


def _module(file: Path) -> str:
    parts = file.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def _folder(file: Path) -> str:
    return ".".join(file.parent.relative_to(ROOT).parts)


def _imported(file: Path) -> set[str]:
    """Names of all that a file imports; of `from a import b` both `a` and `a.b`, one of which is a module."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
    return names


def _reached(imports: Mapping[str, set[str]]) -> Imports:
    """Of each folder, all that it imports, directly or not."""
    reached = {folder: set(others) for folder, others in imports.items()}
    for between in reached:
        for others in reached.values():
            if between in others:
                others |= reached[between]
    return reached


def _box(folder: str, place: tuple[float, float]) -> str:
    x, y = place
    path = ROOT / folder.replace(".", "/")
    docstring = ast.get_docstring(ast.parse((path / "__init__.py").read_text(encoding="utf-8"))) or ""
    question = textwrap.wrap(docstring.partition("\n\n")[0], LETTERS, max_lines=4, placeholder=" ...")
    modules = sum(file.name != "__init__.py" for file in path.glob("*.py"))
    frame = f'x="{x:g}" y="{y:g}" width="{WIDTH}" height="{HEIGHT}" rx="8" fill="{COLOURS[folder.partition(".")[0]]}"'
    left, right = f'<text x="{x + 10:g}"', f'<text x="{x + WIDTH - 10:g}"'
    return "\n".join(
        [
            f'<rect {frame} stroke="{INK}"/>',
            f'{left} y="{y + 21:g}" font-size="15" font-weight="bold">{folder.replace(".", "/")}/</text>',
            *(
                f'{left} y="{y + 40 + 16 * number:g}" font-size="12">{html.escape(line, quote=False)}</text>'
                for number, line in enumerate(question)
            ),
            f'{right} y="{y + HEIGHT - 8:g}" font-size="11" fill="{INK}" text-anchor="end">{modules} modules</text>',
        ]
    )


def _line(start: tuple[float, float], end: tuple[float, float]) -> str:
    """An arrow to a lower row, to the next box, or below those between to another box of the row."""
    (x, y), (other_x, other_y) = start, end
    middle, other_middle, bend = x + WIDTH / 2, other_x + WIDTH / 2, ROW_GAP / 2
    if y < other_y:
        below = f"{middle:g} {y + HEIGHT + bend:g} {other_middle:g} {other_y - bend:g}"
        course = f"M{middle:g} {y + HEIGHT:g} C{below} {other_middle:g} {other_y:g}"
    elif abs(other_x - x) <= WIDTH + GAP:
        sides = (x + WIDTH, other_x) if x < other_x else (x, other_x + WIDTH)
        course = f"M{sides[0]:g} {y + HEIGHT / 2:g} L{sides[1]:g} {y + HEIGHT / 2:g}"
    else:
        y += HEIGHT
        course = f"M{middle:g} {y:g} C{middle:g} {y + bend:g} {other_middle:g} {y + bend:g} {other_middle:g} {y:g}"
    return f'<path d="{course}" fill="none" stroke="{INK}" stroke-width="1.3" marker-end="url(#tip)"/>'


if __name__ == "__main__":
    DRAWING.write_text(drawing(), encoding="utf-8")
