import errno
import os

import psutil
import pytest

from trainable.storage.durable_file import checksum, is_sound, wait_for_disk, write_atomically


def test_texts_and_bytes_are_written_as_they_are_and_nothing_is_left_over(tmp_path):
    path = tmp_path / "progress.json"
    for content, expected in [("old", b"old"), ("ä\r\n", "ä\r\n".encode()), (b"\x00\xff", b"\x00\xff")]:
        write_atomically(path, content)
        assert path.read_bytes() == expected
    assert list(tmp_path.iterdir()) == [path]


def test_a_write_that_the_disk_breaks_off_leaves_the_old_text(tmp_path, monkeypatch):
    path = tmp_path / "progress.json"
    write_atomically(path, "old")

    def disk_is_full(descriptor):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patch, pytest.raises(OSError, match="No space left"):
        patch.setattr(os, "fsync", disk_is_full)
        write_atomically(path, "new")
    assert path.read_text() == "old"
    write_atomically(path, "newer")
    assert path.read_text() == "newer"
    assert list(tmp_path.iterdir()) == [path]


def test_a_text_that_no_file_can_hold_leaves_the_old_one(tmp_path):
    path = tmp_path / "progress.json"
    write_atomically(path, "old")
    with pytest.raises(UnicodeEncodeError):
        write_atomically(path, "new \ud800")
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_files_and_folders_can_be_waited_for(tmp_path):
    (tmp_path / "file").write_text("text")
    descriptors = psutil.Process().num_fds()
    wait_for_disk(tmp_path / "file")
    wait_for_disk(tmp_path)
    with pytest.raises(FileNotFoundError):
        wait_for_disk(tmp_path / "gone")
    assert psutil.Process().num_fds() == descriptors


@pytest.mark.parametrize("damage", [lambda path: path.unlink(), lambda path: path.write_bytes(b"changed")])
def test_a_file_that_changed_or_went_is_not_sound(tmp_path, damage):
    path = tmp_path / "weights"
    path.write_bytes(bytes(range(256)) * 5000)
    written = checksum(path)
    assert is_sound(path, written)
    damage(path)
    assert not is_sound(path, written)
