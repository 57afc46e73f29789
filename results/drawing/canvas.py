"""Boxes and captions drawn on images, so that they can be told apart in any colours and read at any size."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise

from PIL import Image, ImageDraw, ImageFont

from results.drawing.lettering import default_font, lettering

PANEL_WIDTH = (640, 960)
"""Least and most pixels of an image that is drawn on: small ones are enlarged, large ones made smaller."""
MOST_HEIGHT = 1280
"""Most pixels down, whatever the width."""
CAPTION_SHARE = 0.45
"""Most of an image's width that a caption covers; a longer name is shortened."""
BACKGROUND, TEXT, FAINT = "#15181d", "#f2f4f7", "#a9b1bd"

_SAMPLE = 3.2
"""Length of a legend's line, in letter heights."""

_Area = tuple[float, float, float, float]


@dataclass(frozen=True)
class Pen:
    """How one kind of box is drawn."""

    colour: str
    """One that stands out on dark and, with its black edge, on bright images; captions are black on it."""
    dashes: tuple[float, ...] = ()
    """Lengths of line and gap in turn, in line widths; none is a solid line."""
    thickness: float = 1.0
    """Width of the line, as a multiple of the usual."""


@dataclass(frozen=True)
class Mark:
    """One box to draw."""

    box_xyxy_normalised: Sequence[float]
    pen: Pen
    caption: str = ""
    figure: str = ""
    """Stands after the caption, and is never shortened."""
    otherwise: str = ""
    """Stands in for a caption whose letters no font of the machine has."""


@dataclass(frozen=True)
class Panel:
    """An image and what is written above it."""

    title: str
    image: Image.Image


def draw_sheet(
    title: str, note: str, panels: Sequence[Panel], marks: Sequence[Mark], legend: Sequence[tuple[Pen, str]]
) -> Image.Image:
    """One image: a headline, the panels side by side with all marks on each, and a legend.

    Args:
        title: the headline; shortened where it is too long.
        note: on the right of the headline, fainter.
        panels: images of one size, at least one.
        marks: drawn in this order, their captions on top of all boxes.
        legend: pens and what they stand for.
    """
    scaled = [Panel(panel.title, _scaled(panel.image)) for panel in panels]
    width, height = scaled[0].image.size
    font = default_font(max(14, width // 42))
    line, gap = round(1.9 * font.size), round(font.size / 2)
    panels_width = len(panels) * (width + gap) - gap
    sheet_width = max(panels_width, round(_legend_width(legend, font)))
    margin = (sheet_width - panels_width) // 2
    sheet = Image.new("RGB", (sheet_width, 2 * line + height + line), BACKGROUND)
    draw = ImageDraw.Draw(sheet)
    title_width = sheet_width - font.getlength(note) - 4 * gap
    lettered = lettering(title, round(font.size))
    headline = _shortened(lettered.text, lettered.font, title_width)
    draw.text((gap, line / 2), headline, TEXT, lettered.font, anchor="lm")
    draw.text((sheet_width - gap, line / 2), note, FAINT, font, anchor="rm")
    for index, panel in enumerate(scaled):
        left = margin + index * (width + gap)
        draw.text((left + gap, 1.45 * line), panel.title, FAINT, font, anchor="lm")
        _draw_marks(panel.image, marks, font)
        sheet.paste(panel.image, (left, 2 * line))
    _draw_legend(draw, legend, 2 * line + height, line, font)
    return sheet


def _scaled(image: Image.Image) -> Image.Image:
    width, height = image.size
    least, most = PANEL_WIDTH
    wanted = min(max(width, least), most)
    scale = min(wanted / width, MOST_HEIGHT / height)
    size = max(1, round(width * scale)), max(1, round(height * scale))
    return image.resize(size, Image.Resampling.LANCZOS if scale < 1 else Image.Resampling.BICUBIC)


def _draw_marks(image: Image.Image, marks: Sequence[Mark], font: ImageFont.FreeTypeFont) -> None:
    draw = ImageDraw.Draw(image)
    width, height = image.size
    unit = max(2.0, width / 240)
    areas = []
    for mark in marks:
        left, top, right, bottom = (
            min(max(share, 0.0), 1.0) * (side - 1)
            for share, side in zip(mark.box_xyxy_normalised, (width, height) * 2, strict=True)
        )
        areas.append((left, top, right, bottom))
        corners = [(left, top), (right, top), (right, bottom), (left, bottom), (left, top)]
        _draw_line(draw, corners, mark.pen, unit)
    taken: list[_Area] = []
    for mark, area in zip(marks, areas, strict=True):
        if mark.caption:
            taken.append(_draw_plate(draw, mark, area, taken, font, image.size))


def _draw_line(draw: ImageDraw.ImageDraw, points: Sequence[tuple[float, float]], pen: Pen, unit: float) -> None:
    """A line along `points`, each step of which goes straight across or down; every dash has a thin black edge."""
    half, edge = unit * pen.thickness / 2, max(1.0, unit / 2.5)
    dashes = [dash for start, end in pairwise(points) for dash in _dashes(start, end, pen, unit)]
    for grown, colour in ((half + edge, "black"), (half, pen.colour)):
        for left, top, right, bottom in dashes:
            draw.rectangle((left - grown, top - grown, right + grown, bottom + grown), colour)


def _dashes(start: tuple[float, float], end: tuple[float, float], pen: Pen, unit: float) -> Iterable[_Area]:
    """The middle lines of the dashes from `start` to `end`; a solid line is one dash."""
    length = abs(end[0] - start[0]) + abs(end[1] - start[1])
    pattern = [share * unit for share in pen.dashes] or [length + 1, 0]
    at, step = 0.0, 0
    while at <= length:
        dash = pattern[step % len(pattern)]
        if step % 2 == 0:
            ends = [_between(start, end, share / max(length, 1)) for share in (at, min(at + dash, length))]
            (x0, y0), (x1, y1) = sorted(ends)
            yield x0, min(y0, y1), x1, max(y0, y1)
        at, step = at + dash, step + 1


def _between(start: tuple[float, float], end: tuple[float, float], share: float) -> tuple[float, float]:
    return start[0] + share * (end[0] - start[0]), start[1] + share * (end[1] - start[1])


def _draw_plate(
    draw: ImageDraw.ImageDraw,
    mark: Mark,
    area: _Area,
    taken: Sequence[_Area],
    font: ImageFont.FreeTypeFont,
    size: tuple[int, int],
) -> _Area:
    """Writes a caption beside its box, within the image, where it covers least of other captions; returns where."""
    pad = font.size / 4
    figure = f" {mark.figure}" if mark.figure else ""
    room = min(max(CAPTION_SHARE * size[0], 10 * font.size), size[0] - 2 * pad - 1) - font.getlength(figure)
    lettered = lettering(mark.caption, round(font.size), mark.otherwise)
    font = lettered.font
    text = _shortened(lettered.text, font, room) + figure
    width, height = font.getlength(text) + 2 * pad, 1.3 * font.size
    left, top, right, bottom = area
    corners = [
        *((left, top - height), (left, bottom), (right - width, top - height), (right - width, bottom)),
        *((left, top), (right - width, bottom - height), (right, top), (left - width, top)),
    ]
    plates = [_within(x, y, width, height, size) for x, y in corners]
    plate = min(plates, key=lambda plate: sum(_overlap(plate, other) for other in taken))
    draw.rectangle(plate, mark.pen.colour, "black")
    draw.text(((plate[0] + plate[2]) / 2, (plate[1] + plate[3]) / 2), text, "black", font, anchor="mm")
    return plate


def _within(x: float, y: float, width: float, height: float, size: tuple[int, int]) -> _Area:
    x, y = (max(0.0, min(at, side - 1 - span)) for at, side, span in ((x, size[0], width), (y, size[1], height)))
    return x, y, x + width, y + height


def _overlap(area: _Area, other: _Area) -> float:
    across = min(area[2], other[2]) - max(area[0], other[0])
    down = min(area[3], other[3]) - max(area[1], other[1])
    return max(across, 0.0) * max(down, 0.0)


def _draw_legend(
    draw: ImageDraw.ImageDraw,
    legend: Sequence[tuple[Pen, str]],
    top: int,
    line: int,
    font: ImageFont.FreeTypeFont,
) -> None:
    x, y, sample = font.size / 2, top + line / 2, _SAMPLE * font.size
    for pen, text in legend:
        _draw_line(draw, [(x, y), (x + sample, y)], pen, font.size / 6)
        draw.text((x + sample + font.size / 2, y), text, TEXT, font, anchor="lm")
        x += _entry_width(text, font)


def _legend_width(legend: Sequence[tuple[Pen, str]], font: ImageFont.FreeTypeFont) -> float:
    return sum(_entry_width(text, font) for _, text in legend)


def _entry_width(text: str, font: ImageFont.FreeTypeFont) -> float:
    return (_SAMPLE + 2) * font.size + font.getlength(text)


def _shortened(text: str, font: ImageFont.FreeTypeFont, width: float) -> str:
    if font.getlength(text) <= width:
        return text
    while text and font.getlength(f"{text}...") > width:
        text = text[:-1]
    return f"{text}..."
