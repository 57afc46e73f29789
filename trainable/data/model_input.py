"""What a model takes, as the small files of its checkpoint say, so that data are checked by it before it is loaded.

`trainable.detector.loading` loads the same files with transformers, which takes seconds and says what is wrong with
them.
"""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

Size = tuple[int, int]
"""Width and height in pixels."""

_DEFAULT_QUERIES = 100
_DEFAULT_LONGEST = 1333
_DEFAULT_SIZE = {"shortest_edge": 800, "longest_edge": _DEFAULT_LONGEST}
SQUARE_FORM = ("height", "width")
"""The keys of a rule that makes all images of one size."""
_FORMS = (("shortest_edge", "longest_edge"), ("max_height", "max_width"), SQUARE_FORM)
"""The keys by which a processor's `size` may say its rule, in the order in which they are looked for."""


@dataclass(frozen=True)
class SizeRule:
    """To what size a detector's image processor brings an image."""

    form: tuple[str, str] | None
    """One of `_FORMS`; None leaves images as they are."""
    values: tuple[int, int]
    """Of these two keys, in pixels."""

    @classmethod
    def of(cls, settings: Mapping[str, Any]) -> "SizeRule":
        """The rule of a processor's settings, as `preprocessor_config.json` has them, also as older versions wrote it.

        Raises:
            ValueError: there is none that it could resize by.
        """
        if not settings.get("do_resize", True):
            return cls(None, (0, 0))
        size = settings.get("size")
        if size is None:
            size = _DEFAULT_SIZE
        elif isinstance(size, int):
            size = {"shortest_edge": size, "longest_edge": settings.get("max_size", _DEFAULT_LONGEST)}
        elif isinstance(size, list | tuple) and len(size) == 2:
            size = {"height": size[0], "width": size[1]}
        for form in _FORMS if isinstance(size, Mapping) else ():
            first, second = (size.get(key) for key in form)
            if isinstance(first, int) and isinstance(second, int) and first > 0 and second > 0:
                return cls(form, (first, second))
        forms = ", or ".join(" and ".join(form) for form in _FORMS)
        raise ValueError(f"its size must be of {forms}, in pixels above 0, got {settings.get('size')}")

    def with_shorter_edge(self, pixels: int) -> "SizeRule":
        """The rule that brings the shorter edge to so many pixels; the longer one's limit keeps its ratio to that.

        A rule that leaves images as they are becomes DETR's own at that size.
        """
        rule = self if self.form else SizeRule.of({})
        first, second = (round(value * pixels / min(rule.values)) for value in rule.values)
        return SizeRule(rule.form, (first, second))

    @property
    def settings(self) -> dict[str, int]:
        """The processor's `size` that says this rule; empty for one that leaves images as they are."""
        return dict(zip(self.form or (), self.values, strict=False))

    def resized(self, size: Size) -> Size:
        """What becomes of an image, rounded as the processor does; a side of 0 is one that it cannot make."""
        if self.form is None:
            return size
        width, height = size
        first, second = self.values
        if self.form == SQUARE_FORM:
            return second, first
        if self.form == ("max_height", "max_width"):
            scale = min(first / height, second / width)
            return int(width * scale), int(height * scale)
        short, long = min(size), max(size)
        edge: float = first
        if long / short * first > second:
            edge = second * short / long
        if short == round(edge):
            return size
        made = round(edge), int(edge * long / short)
        return made if width < height else made[::-1]


@dataclass(frozen=True)
class ModelInput:
    """What a model takes."""

    size: SizeRule
    queries: int
    """Most objects that it finds in one image."""


def read_model_input(checkpoint: str | Path, image_size: int | None = None) -> ModelInput | None:
    """What the model of a checkpoint takes.

    Args:
        checkpoint: a folder, or a name on the Hugging Face hub, whose small files are fetched unless cached.
        image_size: pixels of the shorter edge; None is the size that the checkpoint's processor says.

    Returns:
        None where the files cannot be read or say it in no way that is known: then the model cannot be loaded either.
    """
    try:
        config, processor = read_config_file(checkpoint), read_processor_file(checkpoint)
        proposals = config.get("two_stage_num_proposals") if config.get("two_stage") else None
        queries = proposals or config.get("num_queries", _DEFAULT_QUERIES)
        size = SizeRule.of(processor)
        size = size.with_shorter_edge(image_size) if image_size else size
        return ModelInput(size, queries) if isinstance(queries, int) else None
    except (OSError, ValueError, RecursionError):
        return None


def read_strictest_input(checkpoints: Sequence[str | Path], image_size: int | None = None) -> ModelInput | None:
    """What the models of several checkpoints all take: the smallest images, the fewest objects.

    Args:
        checkpoints: see `read_model_input`, as what is returned.
        image_size: as there.
    """
    takes = [model for each in checkpoints if (model := read_model_input(each, image_size))]
    if not takes:
        return None
    smallest = min((model.size for model in takes), key=lambda size: min(size.values) if size.form else math.inf)
    return ModelInput(smallest, min(model.queries for model in takes))


def read_config_file(checkpoint: str | Path) -> dict[str, Any]:
    """The config of a checkpoint's model, as it is written.

    Raises:
        OSError: it is not there and cannot be fetched.
        ValueError: it is no mapping in JSON.
    """
    return _settings(checkpoint, "config.json")


def read_processor_file(checkpoint: str | Path) -> dict[str, Any]:
    """The settings of a checkpoint's image processor, as they are written.

    Raises:
        OSError, ValueError: as `read_config_file`.
    """
    nested = _settings(checkpoint, "processor_config.json", {}).get("image_processor")
    return nested if isinstance(nested, dict) else _settings(checkpoint, "preprocessor_config.json")


def _settings(checkpoint: str | Path, name: str, missing: dict[str, Any] | None = None) -> dict[str, Any]:
    """A JSON file of a checkpoint; `missing`, where that is given and there is no such file.

    Raises:
        OSError: it is not there and cannot be fetched.
        ValueError: it is no mapping in JSON.
    """
    path = Path(checkpoint) / name if Path(checkpoint).exists() else _from_hub(str(checkpoint), name)
    if missing is not None and (path is None or not path.is_file()):
        return missing
    if path is None:
        raise FileNotFoundError(f"{checkpoint} has no {name}")
    content = json.loads(path.read_text(encoding="utf-8"))
    if not isinstance(content, dict):
        raise ValueError(f"{path}: no mapping")
    return content


def _from_hub(checkpoint: str, name: str) -> Path | None:
    from huggingface_hub import hf_hub_download
    from huggingface_hub.errors import EntryNotFoundError
    from huggingface_hub.utils import disable_progress_bars  # type: ignore[attr-defined]  # It is made at run time.

    disable_progress_bars()
    repository, _, revision = checkpoint.partition("@")
    try:
        return Path(hf_hub_download(repository, name, revision=revision or None))
    except EntryNotFoundError:
        return None
