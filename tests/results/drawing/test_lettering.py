"""Classes whose names are not Latin are told apart, whatever fonts a machine has."""

import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from results.drawing import lettering as module
from results.drawing.canvas import Mark, Panel, Pen, draw_sheet
from results.drawing.lettering import default_font, font_folders, lettering
from results.drawing.overlays import _otherwise

MACHINES_FONTS = [font for folder in font_folders() for font in Path(folder).rglob("DejaVuSans.ttf")]


@pytest.fixture(autouse=True)
def fonts(monkeypatch, tmp_path):
    """A machine with a folder of fonts, empty at first."""
    monkeypatch.setattr(module, "font_folders", lambda: [tmp_path / "missing", tmp_path])
    for cached in (module._font_files, module._font_with):
        cached.cache_clear()
    yield tmp_path
    for cached in (module._font_files, module._font_with):
        cached.cache_clear()


def drawn(caption: str, otherwise: str = "") -> np.ndarray:
    panel = Panel("after", Image.new("RGB", (640, 480)))
    mark = Mark((0.2, 0.2, 0.6, 0.6), Pen("#ffffff"), caption, "0.50", otherwise)
    return np.asarray(draw_sheet("pair", "", [panel], [mark], []))


def test_a_latin_text_is_drawn_in_pillows_own_font():
    assert lettering("a car, 100%", 20).text == "a car, 100%"


def test_where_no_font_has_the_letters_classes_are_told_apart_by_their_ids():
    names = ("部品", "車", "car", "café", "Größe", "Grosse", "cafe")
    drawn_as = [lettering(name, 20, _otherwise(names, index)).text for index, name in enumerate(names)]
    assert drawn_as == ["class 0", "class 1", "car", "class 3", "class 4", "Grosse", "cafe"]
    assert not np.array_equal(drawn("部品", "class 0"), drawn("車", "class 1"))


def test_without_another_name_letters_that_cannot_be_drawn_are_question_marks():
    assert lettering("camera/部品é", 20).text == "camera/??e"


def test_files_that_are_no_fonts_are_passed_over(fonts):
    (fonts / "broken.ttf").write_bytes(b"no font")
    assert lettering("машина", 20, "class 1").text == "class 1"


@pytest.mark.skipif(not MACHINES_FONTS, reason="this machine has no font with other letters")
def test_a_font_of_the_machine_that_has_the_letters_is_used(fonts):
    (fonts / "deep").mkdir()
    shutil.copy(MACHINES_FONTS[0], fonts / "deep")
    for text in ("машина", "αβγ", "Größe"):
        found = lettering(text, 20, "class 1")
        assert found.text == text and found.font.path.endswith("DejaVuSans.ttf")
    assert lettering("部品", 20, "class 1").text == "class 1", "this font lacks them"
    assert not np.array_equal(drawn("машина", "class 1"), drawn("машины", "class 1"))


def test_a_letter_that_steers_is_not_drawn():
    assert lettering("a\nb\x1b\u202e", 20).text == "a b  "


def test_the_size_is_that_which_was_asked_for():
    assert default_font(31).size == 31
