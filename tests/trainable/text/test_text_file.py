"""Text files come with and without a byte-order mark and with the line ends of all systems."""

import codecs

import pytest

from trainable.text.text_file import read_text


@pytest.mark.parametrize("mark", [b"", codecs.BOM_UTF8])
@pytest.mark.parametrize("line_end", [b"\n", b"\r\n", b"\r"])
def test_marks_and_line_ends_make_no_difference(tmp_path, mark, line_end):
    (tmp_path / "a.txt").write_bytes(mark + "größer".encode() + line_end * 2 + b"b")
    assert read_text(tmp_path / "a.txt") == "größer\n\nb"


@pytest.mark.parametrize("content", [b"\xef", b"\xef\xbb", b"a\xff", "a".encode("utf-16")])
def test_what_is_not_utf8_is_refused_and_a_torn_mark_is_no_empty_file(tmp_path, content):
    (tmp_path / "a.txt").write_bytes(content)
    with pytest.raises(UnicodeDecodeError):
        read_text(tmp_path / "a.txt")
