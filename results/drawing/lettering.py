"""Text for images, in a font that has its letters: Pillow's own for Latin ones, else one of the machine's."""

import functools
import os
import sys
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from PIL import ImageFont

MOST_FONTS = 300
"""Font files that are tried for a text; each takes a few milliseconds."""

_PREFERRED = ("notosanscjk", "notosans", "dejavusans", "arialunicode", "arial")
"""Beginnings of file names, those of many letters and a plain style first."""


@dataclass(frozen=True)
class Lettering:
    """A text and the font that it is drawn in."""

    text: str
    font: ImageFont.FreeTypeFont


def lettering(text: str, size: int, otherwise: str = "") -> Lettering:
    """The text in a font of the machine that has its letters.

    Args:
        text: of any letters.
        size: of the font, in pixels.
        otherwise: what is drawn where no font has them; empty is the text without accents, with `?` for other letters.
    """
    composed = unicodedata.normalize("NFC", text)
    letters = frozenset(letter for letter in composed if letter.isprintable() and not letter.isspace())
    plain = "".join(letter if letter in letters else " " for letter in composed)
    font = default_font(size)
    if _has(font, letters):
        return Lettering(plain, font)
    if path := _font_with(letters):
        return Lettering(plain, ImageFont.truetype(path, size))
    return Lettering(otherwise or in_ascii(text), font)


def default_font(size: int) -> ImageFont.FreeTypeFont:
    """Pillow's own font, which every machine has."""
    font = ImageFont.load_default(size)
    assert isinstance(font, ImageFont.FreeTypeFont), "Pillow's own builds have FreeType"
    return font


def font_folders() -> list[Path]:
    """Where systems keep fonts, and a user's own."""
    home, windows = Path.home(), os.environ.get("WINDIR", "")
    folders = {
        "darwin": [home / "Library/Fonts", Path("/Library/Fonts"), Path("/System/Library/Fonts")],
        "win32": [Path(windows, "Fonts")],
    }
    linux = [home / ".fonts", home / ".local/share/fonts", Path("/usr/local/share/fonts"), Path("/usr/share/fonts")]
    return folders.get(sys.platform, linux)


@functools.lru_cache(maxsize=256)
def _font_with(letters: frozenset[str]) -> str | None:
    """The file of a font that has all of these letters."""
    for path in _font_files():
        try:
            font = ImageFont.truetype(path, 16)
        except OSError:
            continue
        if _has(font, letters):
            return path
    return None


@functools.lru_cache(maxsize=1)
def _font_files() -> tuple[str, ...]:
    found = sorted(_files(), key=lambda path: (_rank(path), path.name))
    return tuple(str(path) for path in found[:MOST_FONTS])


def _files() -> Iterator[Path]:
    for folder in font_folders():
        # Unlike Path.rglob, it goes on where a folder may not be read.
        for parent, _, names in os.walk(folder):
            yield from (Path(parent, name) for name in names if name.lower().endswith((".ttf", ".otf", ".ttc")))


def _rank(path: Path) -> tuple[int, int]:
    """Preferred fonts first, of these the one of the shortest name: that of the regular style."""
    name = path.stem.lower().replace(" ", "").replace("-", "").replace("regular", "")
    rank = next((index for index, start in enumerate(_PREFERRED) if name.startswith(start)), len(_PREFERRED))
    return rank, len(name)


def _has(font: ImageFont.FreeTypeFont, letters: frozenset[str]) -> bool:
    """Whether a font draws each of these letters as something else than its box for those it lacks."""
    lacking = _drawn(font, "\uffff")
    return all(ord(letter) < 0x7F or _drawn(font, letter) != lacking for letter in letters)


def _drawn(font: ImageFont.FreeTypeFont, letter: str) -> tuple[tuple[int, int], bytes]:
    mask = font.getmask(letter)
    return mask.size, bytes(mask)


def in_ascii(text: str) -> str:
    """Accents are dropped, other letters become `?`."""
    decomposed = unicodedata.normalize("NFKD", text)
    plain = "".join(letter for letter in decomposed if not unicodedata.combining(letter))
    return plain.encode("ascii", "replace").decode()
