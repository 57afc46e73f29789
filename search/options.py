"""What a user asks of a search: the options, their rules, and `search.yaml`, which keeps them."""

import dataclasses
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from search.option import Panel, at_least, flag_of, kept_to, one_of, rules_of
from search.patience import WORDS as PATIENCE_WORDS
from search.patience import is_patience
from search.rungs import PRUNINGS
from search.sampling import SAMPLERS
from spaces.budget import default_grace
from trainable.alignment import ALIGNMENTS
from trainable.detector.hub import MODELS_WORDS, are_models
from trainable.metric import METRICS, VAL_LOSS
from trainable.micro_batch import AUTO, OF_RECIPE, WORDS, is_micro_batch
from trainable.recipe import LARGEST_IMAGE, SMALLEST_IMAGE
from trainable.storage.mirror import Mirror
from trainable.storage.remote import Remote, is_uri, without_secrets
from trainable.storage.working_folder import working_mirror
from trainable.text.validation import BrokenRule, broken_rules, rule

# The panels of the help, shown in the order of their first options.
SEARCH = Panel("How to search")
DATA = Panel("What to learn from")
AFTER = Panel("What is done when the search is over")
OUTPUT = Panel("What is written")
MACHINE = Panel("What it may use")
SAVING = Panel("What is done once (each can be switched off; the results stay the same)")

MIN_EPOCHS = 3
"""The reference has three stages of at least one epoch."""


class OptionsError(ValueError):
    """Flags break one or more rules. `faults` lists them all, one line each."""

    def __init__(self, faults: list[str]):
        self.faults = faults
        super().__init__("\n".join(faults))


A_SHARE = kept_to(lambda value: 0 <= value <= 1, "a number from 0 to 1")
A_SEED = kept_to(lambda seed: 0 <= seed < 2**32, "a whole number from 0 to 2**32 - 1")
A_MICRO_BATCH = kept_to(is_micro_batch, WORDS)
A_PATIENCE = kept_to(is_patience, PATIENCE_WORDS)
A_FOLDERS_NAME = kept_to(
    lambda name: name not in ("", ".", "..") and "/" not in name and name.isprintable(),
    "a folder's name, printable, without / and not . or ..",
)
MODELS = rule(are_models, MODELS_WORDS, before=True)
AN_EDGE = kept_to(
    lambda pixels: SMALLEST_IMAGE <= pixels <= LARGEST_IMAGE,
    f"a whole number of pixels from {SMALLEST_IMAGE}, the stride of a backbone, to {LARGEST_IMAGE}",
)


@dataclass(frozen=True)
class Options:
    """What is asked of a search, with every default filled in but those that depend on the machine.

    What a panel makes is a flag of the command line; the help shows them in the order of the fields.
    """

    space: str = SEARCH.option("What may vary: a name of --list-spaces, or file.py:function", flag_default="staged")
    data: str | None = DATA.option(
        "Folder with before/, after/, labels/, or a data.yaml; here, or as s3://BUCKET/FOLDER, gs://...; or labels of "
        "another format, as COCO's .json (docs/data.md)",
        shown="the sample",
        location=True,
    )
    test: str | None = DATA.option(
        "Folder, data.yaml or URI that the search never sees; the best model is evaluated on all of its pairs",
        None,
        location=True,
    )
    model: str | list[str] = DATA.option(  # noqa: RUF009 - it is a field
        "Checkpoint folder or hub name, such as facebook/detr-resnet-50, also NAME@REVISION; given several times, each "
        "trial starts from one of them, and --metric map or f1 compares them",
        rule=MODELS,
        shown="the embedded one",
        repeated=True,
    )
    """Once the run has begun, a hub name is `NAME@COMMIT`."""
    image_size: int | None = DATA.option(
        "Pixels of an image's shorter edge; the longer one keeps its ratio",
        None,
        AN_EDGE,
        shown="what the model's image processor says",
    )
    align: str | None = DATA.option(
        "Take the camera's motion out of each pair first: off, auto (where it moved by more than half a pixel), or the "
        "most that may explain it: translation, affine, homography",
        None,
        one_of(ALIGNMENTS),
        shown="what the space draws; off, but for the space scenes",
    )
    trials: int = SEARCH.changeable("Recipes to try", flag_default=16, rule=at_least(1))
    max_epochs: int = SEARCH.option(
        "Most epochs of a trial, at least 3",
        shown="24 with the embedded checkpoint, else 120",
        rule=at_least(MIN_EPOCHS),
    )
    grace: int = SEARCH.option(
        "Epochs of the lowest rung, before which no trial is pruned", shown="a sixth of max-epochs"
    )
    reduction: float = SEARCH.option(
        "One trial in so many goes on past a rung of ASHA", 4, kept_to(lambda value: value > 1, "a number above 1")
    )
    pruning: str = SEARCH.option(
        "ASHA in its form of promotion (a trial waits at a rung until it is among the best there) or of stopping",
        "promotion",
        one_of(PRUNINGS),
    )
    """Runs whose `search.yaml` does not say were pruned by stopping."""
    sampler: str = SEARCH.option("tpe or random", "tpe", one_of(SAMPLERS))
    portfolio: bool = SEARCH.option(
        "Draw every recipe, rather than try first what did well on other data (of the space staged: four recipes)",
        True,
        switch="no_portfolio",
    )
    start_from: str | None = SEARCH.option(
        "Runs, RUN[,RUN...], whose best recipes are tried first, fitted to this budget: at most four of each",
        None,
        location=True,
        several=True,
    )
    metric: str = SEARCH.option(
        "What trials, and a trial's epochs, are compared by: val_loss, map (COCO's mAP) or f1 (at IoU 0.5 and the best "
        "score threshold), of the validation pairs",
        VAL_LOSS,
        one_of(tuple(METRICS)),
    )
    seed: int = SEARCH.option("Seed of the sampler and of every trial", 0, A_SEED)
    patience_epochs: str | None = SEARCH.changeable(
        "End where so many epochs of training, of all trials together, have bettered the best by less than another "
        "seed moves it; auto: where the trials that are left are expected to",
        None,
        A_PATIENCE,
    )
    skip_bad: bool = DATA.option("Leave faulty pairs out instead of stopping", False, switch="skip_bad")
    subset: int | None = DATA.option("Only the first N pairs of each split, for a quick try", None, at_least(1))
    group_by: str | None = DATA.option(
        "Keep scenes on one side of the split: 'parent' folder, or a regular expression on the pair's id", None
    )
    confirm: int = AFTER.changeable(
        "Train the best N recipes, and the reference, again with other seeds: the lowest mean wins", 0, at_least(0)
    )
    confirm_seeds: int = AFTER.changeable("Other seeds of each", 3, at_least(1))
    final_epochs: int | None = AFTER.changeable(
        "Train the best recipe once more, stretched to N epochs; it becomes best/ unless it is worse",
        None,
        at_least(MIN_EPOCHS),
    )
    min_precision: float | None = OUTPUT.changeable(
        "Recommend the best score threshold that keeps this precision", None, A_SHARE
    )
    min_recall: float | None = OUTPUT.changeable(
        "Recommend the best score threshold that keeps this recall", None, A_SHARE
    )
    overlays: int = OUTPUT.changeable(
        "Validation pairs to draw with what the best model sees in them: worst, best and some between", 12, at_least(0)
    )
    keep: int = OUTPUT.changeable("Trials whose weights are kept, the best ones", 10, at_least(1))
    storage: str = OUTPUT.option(
        "Folder of run folders, here or as s3://BUCKET/FOLDER, gs://..., abfs://...", flag_default="runs", location=True
    )
    name: str = OUTPUT.option("The run folder's name", shown="the time", rule=A_FOLDERS_NAME)
    max_concurrent: int | None = MACHINE.changeable(
        "Trials at a time; 1 makes a search exactly repeatable", None, at_least(1), shown="what the resources allow"
    )
    gpus_per_trial: float | None = MACHINE.changeable(
        "GPUs of a trial; fractions share one", None, A_SHARE, shown="1 where there is a GPU, else 0"
    )
    cpus_per_trial: int | None = MACHINE.changeable(
        "Cores of a trial; beside a GPU, all but one load images",
        None,
        at_least(1),
        shown="1; its share of the cores, up to 4, beside a GPU",
    )
    address: str | None = MACHINE.changeable("A running Ray cluster: auto or HOST:PORT", None, shown="start Ray here")
    micro_batch: str = MACHINE.option(
        "Images of a step that go through the model at a time: as many as fit (auto), the recipe's batch size (recipe) "
        "or a number; moves results by rounding, and by the draws of dropout",
        OF_RECIPE,
        A_MICRO_BATCH,
        flag_default=AUTO,
    )
    """Once the run has begun, `AUTO` is a number."""
    time_budget: float | None = MACHINE.changeable(
        "Stop after this long: 90s, 30m, 1.5h", None, kept_to(lambda value: value > 0, "above 0"), duration=True
    )
    cache_size: float = SAVING.changeable(
        "GB of each machine's cache folder for images and layer outputs made once",
        10,
        at_least(0, "GB, "),
        zero=("no_cache", "Keep neither images nor layer outputs, as --cache-size 0"),
    )
    cache_pictures: bool = SAVING.option(
        "Decode, subtract and resize the images anew in every epoch", True, switch="no_cache_pictures"
    )
    cache_layers: bool = SAVING.option(
        "Run the layers that a stage leaves frozen anew in every epoch", True, switch="no_cache_layers"
    )
    reuse_workers: bool = SAVING.changeable("Start a process for every trial", True, switch="no_reuse")
    checkpoint_every: float = SAVING.changeable(
        "What a killed trial trains again at most, beside its running epoch: 0s, 60s, 5m",
        60.0,
        at_least(0, "seconds, "),
        duration=True,
    )
    forced: bool = field(default=False, kw_only=True)
    """Resumed with --force at some time: what the journal holds need not be what the space would draw."""
    bounded: bool = field(default=True, kw_only=True)
    """TPE models a part of more than 500 trials; it did not where a run's `search.yaml` does not say so."""

    numbered: bool = field(default=True, kw_only=True)
    """Each trial's draw has a generator of its own; one drew all trials where a run's `search.yaml` does not say so."""

    earlier: list[dict[str, Any]] | None = field(default=None, kw_only=True)
    """Parameters of the recipes that `start_from` stands for, once the run has begun."""

    def __post_init__(self) -> None:
        if broken := _broken(type(self), vars(self)):
            raise OptionsError([str(one._replace(place=flag_of(one.place))) for one in broken])

    @property
    def models(self) -> list[str]:
        """Those that trials start from, the reference from the first."""
        return [self.model] if isinstance(self.model, str) else self.model

    def with_models(self, models: list[str]) -> "Options":
        """The same with other names for its models, in their order."""
        return dataclasses.replace(self, model=models[0] if len(models) == 1 else models)

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
        """The path or URI by which the user finds the run folder and may resume it."""
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
        """Takes back what `dataclasses.asdict` gave, by an earlier version too; fields of a later one are left out.

        Raises:
            OptionsError: naming every option that is missing, of a wrong type, or breaks a rule.
        """
        plain = {"pruning": "stopping", "portfolio": False, "bounded": False, "numbered": False, **plain}
        given = {field.name: plain[field.name] for field in dataclasses.fields(cls) if field.name in plain}
        if broken := _broken(cls, given):
            raise OptionsError([f"search.yaml: {one}" for one in broken])
        return cls(**given)


def _broken(kind: Any, given: Mapping[str, Any]) -> list[BrokenRule]:
    """The rules that options break, each of its own and those of several."""
    broken = broken_rules(rules_of(kind), given)
    sound = given.keys() - {one.place for one in broken}
    if sound >= {"grace", "max_epochs"} and not 1 <= given["grace"] <= given["max_epochs"]:
        words = f"a whole number of epochs from 1 to --max-epochs ({given['max_epochs']})"
        broken.append(BrokenRule("grace", words, str(given["grace"])))
    if sound >= {"confirm", "keep"} and given["confirm"] > given["keep"]:
        broken.append(BrokenRule("confirm", f"at most --keep ({given['keep']})", str(given["confirm"])))
    if sound >= {"model", "metric"} and not isinstance(given["model"], str) and given["metric"] == VAL_LOSS:
        words = "map or f1 for several models, whose losses are of different kinds and do not compare"
        broken.append(BrokenRule("metric", words, VAL_LOSS))
    if "address" in sound and (given["address"] or "").startswith("ray://"):
        advice = (
            "ray:// would run the search on the cluster's head, away from its files; log in to a node "
            "of the cluster and use --address auto, or submit a job with `ray job submit`"
        )
        broken.append(BrokenRule("address", advice, None))
    return broken


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
