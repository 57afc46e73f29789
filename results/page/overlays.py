"""The overlays as the report carries them: small, and within the page."""

import base64
import io
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from PIL import Image, UnidentifiedImageError

MOST_WIDTH = 1400
"""Pixels; wider images are made smaller."""
MOST_BYTES = 1_400_000
"""Most bytes of all images together, as they stand in the page."""
QUALITY, METHOD = 78, 1
"""WebP's; methods above 1 take three times as long for a twentieth of the bytes."""

KINDS = ("worst", "middle", "best")


@dataclass(frozen=True)
class Overlay:
    """One overlay."""

    title: str
    """Such as `worst 1: camera/0012`."""
    data_uri: str
    width: int
    height: int
    """Pixels."""


def read_overlays(paths: Sequence[Path]) -> list[Overlay]:
    """Reads as many overlays as fit, the worst first, then the middle and the best ones; damaged files are left out.

    Args:
        paths: as `overlays.write_overlays` names them.
    """
    overlays: list[Overlay] = []
    size = 0
    for path in sorted(paths, key=_order):
        try:
            overlay = _overlay(path)
        except (OSError, UnidentifiedImageError):
            continue
        size += len(overlay.data_uri)
        if size > MOST_BYTES:
            break
        overlays.append(overlay)
    return overlays


def _overlay(path: Path) -> Overlay:
    with Image.open(path) as opened:
        image = opened.convert("RGB")
    image.thumbnail((MOST_WIDTH, 4 * MOST_WIDTH))
    buffer = io.BytesIO()
    image.save(buffer, "WEBP", quality=QUALITY, method=METHOD)
    encoded = base64.b64encode(buffer.getvalue()).decode()
    return Overlay(_title(path), f"data:image/webp;base64,{encoded}", *image.size)


def _order(path: Path) -> tuple[int, int, str]:
    kind, rank, _ = _parts(path)
    return (KINDS.index(kind) if kind in KINDS else len(KINDS), rank, path.name)


def _title(path: Path) -> str:
    kind, rank, name = _parts(path)
    return f"{kind} {rank}: {name}" if kind else name


def _parts(path: Path) -> tuple[str, int, str]:
    """Kind, rank and pair of a name such as `worst-1_camera_0012`."""
    found = re.fullmatch(r"([a-z]+)-(\d+)_(.*)", path.stem, re.DOTALL)
    return (found[1], int(found[2]), found[3]) if found else ("", 0, path.stem)
