"""A notice is one line, however many things it names and whatever they are called."""

import json

from trainable.data.notices import Notice, write_notices

MANY = tuple(f"p{index}" for index in range(1200))


def test_a_notice_says_where_and_how_often_in_one_line():
    notice = Notice("1200 of 9000 pairs are black", "see whether they are", MANY, "--data")
    assert str(notice) == "--data: 1200 of 9000 pairs are black: p0, p1, p2 and 1,197 more; see whether they are"
    assert str(Notice("no box", "label some")) == "no box; label some"
    assert str(Notice("odd", "rename", ("a\x1b[2J\udcff",))).isprintable()


def test_the_file_keeps_the_first_names_as_text_that_can_be_shown(tmp_path):
    notices = [Notice("many", "look", MANY, "--test"), Notice("odd", "rename", ("a\udcff",))]
    write_notices(notices, tmp_path / "notices.json")
    many, odd = json.loads((tmp_path / "notices.json").read_text())
    assert many == {"about": "--test", "found": "many", "names": list(MANY[:100]), "advice": "look"}
    assert odd["names"] == ["a\\udcff"]
