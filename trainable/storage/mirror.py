"""A run in a remote storage: worked on in a local folder, what is committed is copied to the storage.

A run whose storage is a folder has no mirror.
"""

import shutil
import uuid
from dataclasses import dataclass
from pathlib import Path

from trainable.storage.remote import Remote


@dataclass(frozen=True)
class Mirror:
    """A local folder and its copy in a storage. It can be pickled, and goes to the workers.

    Nothing is copied unless asked for. Paths are local ones, of the folder itself or below it; others are a ValueError.
    """

    remote: Remote
    """What `local` stands for; see `trainable.storage.remote` for what happens when it cannot be reached."""
    local: Path

    def at(self, path: Path) -> "Mirror":
        """The mirror of a folder below this one."""
        return Mirror(self.remote.at(self._name(path)), path)

    def push(self, path: Path) -> None:
        """Copies a file or folder to the storage, where it replaces what is there.

        Each file appears whole. A folder's files come one after another, in order of their names, and what the folder
        does not hold goes last; so name what belongs together in a file that is pushed afterwards.

        Raises:
            StorageError: the storage cannot be used or reached.
            OSError: the local file or folder cannot be read.
        """
        if not path.is_dir():
            self.remote.upload(path, self._name(path))
            return
        folder = self.at(path).remote
        files = sorted(str(file.relative_to(path).as_posix()) for file in path.rglob("*") if file.is_file())
        for name in files:
            folder.upload(path / name, name)
        for name in sorted(set(folder.files()) - set(files)):
            folder.drop(name)

    def pull(self, path: Path) -> bool:
        """Fetches a file or folder, which replaces the local one once all of it is here.

        Returns:
            False where the storage has none; the local one then stays as it is.

        Raises:
            StorageError: the storage cannot be used or reached.
            OSError: the local file or folder cannot be written.
        """
        name = self._name(path)
        files = self.remote.files(name)
        scratch = path.with_name(f"{path.name}.{uuid.uuid4().hex}.unfinished")
        try:
            # One that somebody deletes meanwhile is left out.
            fetched = [self._fetch(f"{name}/{file}".strip("/"), scratch / file) for file in files]
            if not any(fetched):
                return False
            _replace(scratch, path)
        finally:
            _delete(scratch)
        return True

    def drop(self, path: Path) -> None:
        """Deletes a file or folder in the storage, if it is there; the local one stays.

        Raises:
            StorageError: the storage cannot be used or reached.
        """
        self.remote.drop(self._name(path))

    def names(self, path: Path) -> list[str]:
        """Names of the files that lie directly in a folder of the storage and of the folders that hold any, in order.

        Raises:
            StorageError: the storage cannot be used or reached.
        """
        return self.remote.names(self._name(path))

    def _name(self, path: Path) -> str:
        name = path.relative_to(self.local).as_posix()
        return "" if name == "." else name

    def _fetch(self, name: str, target: Path) -> bool:
        target.parent.mkdir(parents=True, exist_ok=True)
        return self.remote.download(name, target)


def _replace(scratch: Path, path: Path) -> None:
    """Gives `scratch` the name `path`; a folder that has files in it must be out of the way first."""
    if path.is_dir():
        old = scratch.with_name(scratch.name + ".old")
        path.rename(old)
        scratch.rename(path)
        shutil.rmtree(old, ignore_errors=True)
    else:
        scratch.replace(path)


def _delete(scratch: Path) -> None:
    if scratch.is_dir():
        shutil.rmtree(scratch, ignore_errors=True)
    else:
        scratch.unlink(missing_ok=True)
