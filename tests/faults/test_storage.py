"""A disk that is full and a storage that is gone pause a search; nothing is lost, and it goes on afterwards."""

import errno
import shutil
import subprocess
from pathlib import Path

import pytest

from results.journal.events import Asked
from results.journal.journal import Journal, read_journal
from tests.whole_search import assert_same_search
from trainable.storage.remote import StorageError
from trainable.training.exhaustion import storage_fault

PAUSED = 4


@pytest.fixture
def small_disk(tmp_path):
    """A folder on a disk of 48 MB."""
    folder = tmp_path / "small"
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=48m", "tmpfs", folder]
    mount = subprocess.run(command, capture_output=True, check=False)
    if mount.returncode:
        pytest.skip("mounting a small disk needs the right to")
    yield folder
    subprocess.run(["umount", folder], check=True)


def fill(disk: Path) -> Path:
    """Leaves no byte free, also where it was called before."""
    filler = disk / f"filler-{len(list(disk.glob('filler-*')))}"
    with pytest.raises(OSError) as full, filler.open("wb", buffering=0) as file:
        while file.write(b"0" * 2**16):
            pass
    assert full.value.errno == errno.ENOSPC
    return filler


def test_a_full_disk_pauses_the_search_which_goes_on_when_there_is_room(start, small_disk, flags, unbroken, tmp_path):
    paused = start(*flags, "--storage", small_disk, "--name", "run", "--checkpoint-every", "0s")
    run = small_disk / "run"
    paused.wait_for_events(run / "journal.jsonl", 3)
    fill(small_disk)
    code, output = paused.wait()
    assert code == PAUSED, output
    assert "No space left on device" in output or "the disk is full" in output
    assert output.rstrip().endswith(f"python search/run.py --resume {run}")
    assert "Traceback" not in output
    before = read_journal(run / "journal.jsonl")

    # Resumed on the full disk, and on one that is read only, it is paused again and says why.
    fill(small_disk)
    code, output = start("--resume", run).wait()
    assert code == PAUSED, output
    assert "No space left on device" in output and "Traceback" not in output
    assert output.splitlines()[-1] == f"python search/run.py --resume {run}"
    for path in small_disk.glob("filler*"):
        path.unlink()
    subprocess.run(["mount", "-o", "remount,ro", small_disk], check=True)
    code, output = start("--resume", run).wait()
    assert code == PAUSED, output
    assert f"{run / 'journal.jsonl'}: Read-only file system" in output and "Traceback" not in output
    assert output.splitlines()[-1] == f"python search/run.py --resume {run}"
    subprocess.run(["mount", "-o", "remount,rw", small_disk], check=True)
    assert read_journal(run / "journal.jsonl") == before

    search = start("--resume", run)
    code, output = search.wait()
    assert code == 0, output
    after = read_journal(run / "journal.jsonl")
    assert after[: len(before)] == before and len(before) < len(after)
    # A copy, since the disk is taken away while Optuna still has its database open.
    assert_same_search(unbroken(), Path(shutil.copytree(run, tmp_path / "copy")))
    search.assert_all_gone()


def test_a_journal_that_cannot_be_written_is_as_it_was(tmp_path, small_disk):
    journal = Journal(small_disk / "journal.jsonl")
    event = Asked(0, {}, None, True, 0.0)
    journal.append(event)
    filler = fill(small_disk)
    long = Asked(1, {"text": "x" * 10_000}, None, False, 0.0)
    with pytest.raises(OSError):
        journal.append(long)
    assert journal.events == read_journal(journal.path) == [event]
    filler.unlink()
    journal.append(long)
    journal.close()
    assert read_journal(journal.path) == [event, long]


@pytest.mark.parametrize(
    ("error", "pauses"),
    [
        (OSError(errno.ENOSPC, "No space left on device"), True),
        (OSError(errno.ESTALE, "Stale file handle"), True),
        (StorageError("s3://bucket: cannot be reached"), True),
        (FileNotFoundError(errno.ENOENT, "No such file"), False),
        (FloatingPointError("the training loss is nan"), False),
    ],
    ids=lambda value: type(value).__name__,
)
def test_what_pauses_a_search(error, pauses, tmp_path):
    assert (storage_fault(error, tmp_path) is not None) == pauses


def test_a_trial_that_fails_before_it_has_a_folder_does_not_pause_a_search(tmp_path):
    folder = tmp_path / "run" / "trials" / "0000"
    assert "No such file" in storage_fault(ValueError("no epochs"), folder), "the disk with the run is gone"
    (tmp_path / "run").mkdir()
    assert storage_fault(ValueError("no epochs"), folder) is None


def test_what_torch_says_of_a_full_disk_pauses_a_search_too(small_disk):
    assert storage_fault(RuntimeError("PytorchStreamWriter failed writing file"), small_disk) is None
    fill(small_disk)
    fault = storage_fault(RuntimeError("PytorchStreamWriter failed writing file"), small_disk)
    assert fault == f"{small_disk}: the disk is full (PytorchStreamWriter failed writing file)"
