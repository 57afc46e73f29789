"""Where this program keeps on a machine what it need not make or fetch twice."""

from pathlib import Path

import platformdirs


class NoHomeError(OSError):
    """The user has no home, and no variable names a cache folder."""


def cache_folder() -> Path:
    """The program's folder in the user's cache, which follows `XDG_CACHE_HOME`; it need not exist.

    Raises:
        NoHomeError: there is none.
    """
    folder = platformdirs.user_cache_path("moved-object-search", appauthor=False)
    # Without a home, platformdirs gives "~/.cache", which would be a folder of the working directory called "~".
    if not folder.is_absolute():
        raise NoHomeError("no cache folder: this user has no home; set HOME or XDG_CACHE_HOME to a folder")
    return folder
