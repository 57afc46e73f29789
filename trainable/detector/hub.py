"""Models of the Hugging Face hub by name and revision: `NAME@REVISION`, where a commit pins what a name stands for."""

import re
from pathlib import Path
from typing import Any

MODELS_WORDS = "the name of a model, or a list of several, each another one"

_COMMIT = re.compile(r"[0-9a-f]{40}")


def name_and_revision(checkpoint: str | Path) -> tuple[str, str | None]:
    """The two parts of `NAME@REVISION`; a folder, whatever it is called, has no revision."""
    text = str(checkpoint)
    name, at, revision = text.rpartition("@")
    return (name, revision) if at and name and revision and not Path(text).exists() else (text, None)


def is_pinned(checkpoint: str) -> bool:
    """Whether it names a commit, and so stands for the same model for ever."""
    return bool(_COMMIT.fullmatch(name_and_revision(checkpoint)[1] or ""))


def pinned(checkpoint: str) -> str:
    """A name of the hub with the commit that it, or its branch or tag, stands for now; a folder as it is.

    The hub is asked, or else this machine's cache of it. Where neither knows it, it stays as it is, and
    loading it says why.
    """
    if Path(checkpoint).exists() or is_pinned(checkpoint):
        return checkpoint
    from huggingface_hub import hf_hub_download
    from huggingface_hub.errors import HfHubHTTPError

    name, revision = name_and_revision(checkpoint)
    try:
        config = Path(hf_hub_download(name, "config.json", revision=revision))
    except (OSError, ValueError, HfHubHTTPError):
        return checkpoint
    # The cache of huggingface_hub is laid out as `snapshots/COMMIT/FILE`.
    return f"{name}@{config.parent.name}"


def are_models(value: Any) -> bool:
    """Whether this is what a search may start from: `MODELS_WORDS`."""
    if isinstance(value, list):
        return all(isinstance(each, str) for each in value) and 1 < len(value) == len(set(value))
    return isinstance(value, str)
