"""A pen that draws in the units of the drawing instead of pixels."""

from collections.abc import Sequence

from PIL import Image, ImageDraw

Point = tuple[float, float]
Colour = tuple[int, ...]
"""Red, green, blue and perhaps opacity, 0-255; opaque without it."""


class Pen:
    """Draws on an image in units of its own; discs and strokes stay round however wide the image is."""

    def __init__(self, image: Image.Image, x_unit: float, y_unit: float):
        """A pen for `image`, whose units are `x_unit` pixels across and `y_unit` pixels down."""
        self._draw = ImageDraw.Draw(image)
        self._x_unit, self._y_unit = x_unit, y_unit

    def area(self, points: Sequence[Point], colour: Colour) -> None:
        """Fill the polygon of `points`."""
        self._draw.polygon([self._pixel(point) for point in points], fill=colour)

    def disc(self, centre: Point, radius: float, colour: Colour) -> None:
        """Fill a circle; `radius` in units down."""
        self._draw.ellipse(self._circle(centre, radius), fill=colour)

    def ring(self, centre: Point, radius: float, width: float, colour: Colour) -> None:
        """Draw a circle whose line of `width` lies inside `radius`, both in units down."""
        self._draw.ellipse(self._circle(centre, radius), outline=colour, width=round(width * self._y_unit))

    def stroke(self, points: Sequence[Point], width: float, colour: Colour) -> None:
        """Draw a line through `points` with round ends; `width` in units down."""
        self._draw.line([self._pixel(p) for p in points], fill=colour, width=max(1, round(width * self._y_unit)))
        for point in points:
            self.disc(point, width / 2, colour)

    def _pixel(self, point: Point) -> Point:
        return point[0] * self._x_unit, point[1] * self._y_unit

    def _circle(self, centre: Point, radius: float) -> tuple[float, float, float, float]:
        (x, y), reach = self._pixel(centre), radius * self._y_unit
        return x - reach, y - reach, x + reach, y + reach
