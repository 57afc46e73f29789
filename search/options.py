"""What a user asks of a search: the flags, their rules, and `search.yaml`, which keeps them."""

import dataclasses
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from search.study import SAMPLERS
from spaces.budget import default_grace
from trainable.mirror import Mirror
from trainable.remote import Remote, is_uri, without_secrets
from trainable.shown import shown
from trainable.working_folder import working_mirror

MIN_EPOCHS = 3
"""The reference has three stages of at least one epoch."""

PLACEMENTS = ("spread", "pack")
"""On which nodes trials run: evenly on all, or on as few as will do."""

CHANGED_BY_RESUME = (
    *("trials", "max_concurrent", "gpus_per_trial", "cpus_per_trial", "placement", "address", "time_budget"),
    *("cache_size", "share", "reuse_workers", "checkpoint_every", "keep", "min_precision", "min_recall", "overlays"),
)  # fmt: skip
"""Options that may be given beside --resume; they change where and how much is run or what is recommended, not what a
trial gives."""


class OptionsError(ValueError):
    """Flags break one or more rules. `faults` lists them all, one line each."""

    def __init__(self, faults: list[str]):
        self.faults = faults
        super().__init__("\n".join(faults))


@dataclass(frozen=True)
class Options:
    """The flags of `search/run.py`, with every default filled in but those that depend on the machine."""

    space: str
    """Name of a space, or `path/to/file.py:function`."""
    data: str | None
    """Folder or data.yaml, or the URI of one; None is the sample data set."""
    model: str
    """Checkpoint folder or hub name; once the run has begun, `NAME@COMMIT`."""
    trials: int
    max_epochs: int
    """Most epochs that a trial may train."""
    grace: int
    """Epochs before a trial may be pruned."""
    storage: str
    """Folder of run folders, or the URI of one in a remote storage."""
    name: str
    """The run folder is storage/name."""
    reduction: float = 3.0
    """One trial in so many goes on past a rung."""
    sampler: str = "tpe"
    max_concurrent: int | None = None
    """Trials at a time; None is what the resources allow."""
    gpus_per_trial: float | None = None
    """None is 1 where there is a GPU, else 0."""
    cpus_per_trial: int | None = None
    """None is 1, and beside a GPU up to 4: the others load pictures."""
    seed: int = 0
    forced: bool = False
    """Resumed with --force at some time: what the journal holds need not be what the space would draw."""
    skip_bad: bool = False
    subset: int | None = None
    """Pairs of each split; None is all."""
    group_by: str | None = None
    address: str | None = None
    """Of a running Ray cluster; None starts Ray here."""
    placement: str = "spread"
    """One of `PLACEMENTS`."""
    cache_size: float = 10.0
    """GB (10^9 bytes) that each machine may keep of pictures and layer outputs made once; 0 keeps none."""
    cache_pictures: bool = True
    """Keep pictures made ready once."""
    cache_layers: bool = True
    """Keep the outputs of frozen layers."""
    share: bool = True
    """Let trials take over finished stages that begin as their own do."""
    reuse_workers: bool = True
    """Run trial after trial in one process."""
    checkpoint_every: float = 60.0
    """Least seconds between two checkpoints of a trial."""
    keep: int = 10
    """Trials whose weights are kept, the best ones."""
    time_budget: float | None = None
    """Seconds after which the search stops."""
    test: str | None = None
    """Folder or data.yaml, or the URI of one, that only the best model is evaluated on."""
    min_precision: float | None = None
    """Least precision of the recommended score threshold."""
    min_recall: float | None = None
    """Least recall of it."""
    overlays: int = 12
    """Validation pairs drawn with what the best model sees in them; 0 is none."""

    def __post_init__(self) -> None:
        if faults := [fault for fault in self._faults() if fault]:
            raise OptionsError(faults)

    @property
    def run(self) -> Path:
        """The run folder; that of this machine's work on it where the storage is remote."""
        return self.mirror.local if self.mirror else Path(self.storage) / self.name

    @property
    def remote(self) -> Remote | None:
        """The run folder in a remote storage."""
        return Remote(self.storage).at(self.name) if is_uri(self.storage) else None

    @property
    def mirror(self) -> Mirror | None:
        """Both of them, where the storage is remote."""
        return working_mirror(self.remote) if self.remote else None

    @property
    def address_of_run(self) -> str:
        """By which the user finds the run folder and may resume it."""
        return without_secrets(self.remote.uri) if self.remote else str(self.run)

    def shown(self, name: str = "") -> str:
        """Where the user finds something in the run folder, to be printed."""
        if self.remote is None:
            return str(self.run / name)
        return str(self.remote.at(name) if name else self.remote)

    @property
    def cache_bytes(self) -> int:
        """`cache_size` in bytes."""
        return int(self.cache_size * 1e9)

    @classmethod
    def from_dict(cls, plain: Mapping[str, Any]) -> "Options":
        """Takes back what `dataclasses.asdict` gave; fields of a later version are left out.

        Raises:
            OptionsError: an option is missing, of a wrong type, or breaks a rule.
        """
        fields = dataclasses.fields(cls)
        faults = [f"{f.name}: is missing" for f in fields if f.default is dataclasses.MISSING and f.name not in plain]
        given = {field.name: plain[field.name] for field in fields if field.name in plain}
        faults += [
            f"{field.name}: of type {getattr(field.type, '__name__', field.type)}, got {shown(given[field.name])}"
            for field in fields
            if field.name in given and not _is_of_type(given[field.name], field.type)
        ]
        if faults:
            raise OptionsError(faults)
        return cls(**given)

    def _faults(self) -> list[str | None]:
        grace_rule = f"--grace: a whole number of epochs from 1 to --max-epochs ({self.max_epochs}), got {self.grace}"
        return [
            _at_least("--trials", self.trials, 1),
            _at_least("--max-epochs", self.max_epochs, MIN_EPOCHS),
            None if 1 <= self.grace <= max(self.max_epochs, MIN_EPOCHS) else grace_rule,
            None if self.reduction > 1 else f"--reduction: a number above 1, got {self.reduction:g}",
            _at_least("--max-concurrent", self.max_concurrent, 1),
            _at_least("--cpus-per-trial", self.cpus_per_trial, 1),
            _share("--gpus-per-trial", self.gpus_per_trial),
            None if 0 <= self.cache_size < math.inf else f"--cache-size: GB, at least 0, got {self.cache_size:g}",
            None
            if 0 <= self.checkpoint_every < math.inf
            else f"--checkpoint-every: seconds, at least 0, got {self.checkpoint_every:g}",
            None
            if self.time_budget is None or self.time_budget > 0
            else f"--time-budget: above 0, got {self.time_budget:g}s",
            _at_least("--keep", self.keep, 1),
            _at_least("--subset", self.subset, 1),
            _share("--min-precision", self.min_precision),
            _share("--min-recall", self.min_recall),
            _at_least("--overlays", self.overlays, 0),
            None if 0 <= self.seed < 2**32 else f"--seed: a whole number from 0 to 2**32 - 1, got {self.seed}",
            None if self.sampler in SAMPLERS else f"--sampler: one of {', '.join(SAMPLERS)}, got {self.sampler!r}",
            None
            if self.placement in PLACEMENTS
            else f"--placement: one of {', '.join(PLACEMENTS)}, got {self.placement!r}",
            None
            if self.name not in ("", ".", "..") and "/" not in self.name and self.name.isprintable()
            else f"--name: a folder's name, printable, without / and not . or .., got {self.name!r}",
            "--address: ray:// would run the search on the cluster's head, away from its files; log in to a node of "
            "the cluster and use --address auto, or submit a job with `ray job submit`"
            if (self.address or "").startswith("ray://")
            else None,
        ]


def parse_duration(text: str) -> float:
    """Seconds of a text such as `90s`, `30m` or `1.5h`.

    Raises:
        ValueError: it is none.
    """
    match = re.fullmatch(r"(\d+(?:\.\d+)?)([smh])", text.strip())
    seconds = float(match[1]) * {"s": 1, "m": 60, "h": 3600}[match[2]] if match else math.inf
    if not math.isfinite(seconds):
        raise ValueError(f"a duration such as 90s, 30m or 1.5h, got {text!r}")
    return seconds


def grace_of(max_epochs: int, asked: int | None) -> int:
    """The grace period: what was asked for, else the default, and never more than the budget."""
    return asked if asked is not None else min(default_grace(max_epochs), max_epochs)


def _is_of_type(value: Any, kind: Any) -> bool:
    """As in annotations, where a whole number passes for a float; a truth value passes for no number."""
    if isinstance(value, bool):
        return kind is bool
    return isinstance(value, kind) or (isinstance(value, int) and isinstance(0.0, kind))


def _at_least(flag: str, value: float | None, least: int) -> str | None:
    return None if value is None or value >= least else f"{flag}: at least {least}, got {value:g}"


def _share(flag: str, value: float | None) -> str | None:
    return None if value is None or 0 <= value <= 1 else f"{flag}: a number from 0 to 1, got {value:g}"
