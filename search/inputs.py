"""What a search works on, checked before anything is started: data, test set, space and checkpoint."""

from collections.abc import Collection
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.text import Text

from search.earlier_runs import EarlierRunError, earlier_recipes
from search.options import Options
from search.run_folder.run_folder import publish
from spaces.models import over_models
from spaces.registry import Space, check_space, load_space, signals_of
from trainable.data.faults import write_report
from trainable.data.model_input import ModelInput, read_config_file, read_strictest_input
from trainable.data.notices import Notice, print_notices
from trainable.data.pairs import PairData
from trainable.data.source import read_source
from trainable.data.surprises import same_differences
from trainable.detector.class_head import is_kept, new_head_notice
from trainable.detector.hub import pinned
from trainable.metric import fault_of
from trainable.model_signal import SIGNALS
from trainable.recipe import Recipe
from trainable.sample import EMBEDDED, checkpoint_of
from trainable.sample.data_set import is_sample, located
from trainable.storage.remote import without_secrets


class InputError(ValueError):
    """Something that the user gave cannot be used; the message says what and why."""


@dataclass(frozen=True)
class Inputs:
    """What the flags name, read and found sound."""

    pairs: PairData
    test: PairData | None
    """All its pairs are evaluated once, with the best model."""
    space: Space
    models: list[str]
    """What `--model` stands for: a name on the hub has the commit with it that every node is to use."""
    notices: tuple[Notice, ...] = ()
    """What is allowed in all of these, but would surprise; said already, and `about` its flag each."""
    earlier: list[dict[str, Any]] | None = None
    """Parameters of the recipes to try first, where it starts from earlier runs."""
    new_class_heads: tuple[str, ...] = ()
    """The models whose class head starts anew, since the data's classes are others."""

    @property
    def checkpoints(self) -> list[str]:
        """Folders or hub names of the detectors that trials start from; `check_checkpoints` loads them."""
        return list(map(checkpoint_of, self.models))

    def checkpoint_of(self, recipe: Recipe) -> str:
        """That of the detector which a recipe starts from."""
        return checkpoint_of(recipe.model or self.models[0])


def checked_inputs(options: Options, console: Console) -> Inputs:
    """Reads and checks what the flags name, the cheap things first; says what is allowed, but would surprise.

    Raises:
        DataError: the data set or the test set has faults.
        SpaceError: the space cannot be loaded, or gives no recipes.
        InputError: the test set does not go with the data, or nothing can be started from an earlier run.
        StorageError: one of them is to come from a storage that does not give it.
    """
    space = load_space(options.space)
    for said in check_space(space, options.max_epochs):
        console.print(said, style="yellow", soft_wrap=True)
    models = [model if model == EMBEDDED else pinned(model) for model in options.models]
    space = over_models(space, {model: _signals_taken(checkpoint_of(model)) for model in models})
    earlier = options.earlier
    if options.start_from and earlier is None:
        earlier = _earlier(options, space, models, console)
    takes = read_strictest_input(list(map(checkpoint_of, models)), options.image_size)
    pairs = _checked_data(options, takes, console)
    if fault := fault_of(options.metric, sum(len(pair.labels.class_ids) for pair in pairs.val)):
        raise InputError(f"--{fault}")
    test = _checked_test(options, pairs, takes, console)
    notices = [*_about("--data", pairs), *(_about("--test", test) if test else ())]
    print_notices(notices, console)
    return Inputs(pairs, test, space, models, tuple(notices), earlier)


def _signals_taken(checkpoint: str) -> Collection[str]:
    """What the model of a checkpoint takes of a pair; all there is where it cannot be used, as loading it will say."""
    try:
        kind = read_config_file(checkpoint).get("model_type")
    except (OSError, ValueError, RecursionError):
        return SIGNALS
    if kind == "detr":
        return SIGNALS
    from trainable.detector.families.registry import FAMILIES  # It takes torch.

    return FAMILIES[kind].signals if kind in FAMILIES else SIGNALS


def _earlier(options: Options, space: Space, models: list[str], console: Console) -> list[dict[str, Any]]:
    try:
        recipes, said = earlier_recipes(options, space, models)
    except EarlierRunError as error:
        raise InputError(str(error)) from None
    for line in said:
        console.print(line, markup=False, highlight=False, soft_wrap=True)
    return recipes


def _about(flag: str, pairs: PairData) -> list[Notice]:
    return [replace(notice, about=flag) for notice in pairs.notices]


def _checked_data(options: Options, model: ModelInput | None, console: Console) -> PairData:
    if is_sample(options.data):
        with console.status("making the sample data set (once)"):
            try:
                location = located(options.data, _shared(options))
            except OSError as error:
                raise InputError(str(error)) from None
    else:
        location = str(options.data)
    pairs = _read(location, options, console, model=model, group_by=options.group_by)
    _report_left_out("--data", pairs, options, "data_report.csv", console)
    return pairs


def _shared(options: Options) -> Path | None:
    """Where every node of a cluster sees what is made on this machine; None without one, or where there is no place."""
    return Path(options.storage) if options.address and not options.remote else None


def _checked_test(options: Options, pairs: PairData, model: ModelInput | None, console: Console) -> PairData | None:
    """The test set, if there is one: of the same classes, and none of its pairs among those that are searched with."""
    if options.test is None:
        return None
    test = _read(options.test, options, console, model=model, one_side=True)
    if test.names != pairs.names:
        raise InputError(
            f"--test {test.location}: its classes must be those of the data, {', '.join(pairs.names)}, in this order, "
            f"got {', '.join(test.names)}; name them in classes.txt or data.yaml"
        )
    if both := same_differences((*pairs.train, *pairs.val), (*test.train, *test.val)):
        (pair, seen), *_ = both
        raise InputError(
            f"--test {test.location}: {len(both)} of its pairs have images of the data, the first is {pair.id}, "
            f"which is {seen.id} there (swapped sides and another file format make no difference); a test set holds "
            "pairs that the search has not seen"
        )
    _report_left_out("--test", test, options, "test_report.csv", console)
    return test


def _read(location: str, options: Options, console: Console, **how: Any) -> PairData:
    say = partial(console.print, markup=False, highlight=False, soft_wrap=True)
    with console.status(Text(f"checking {without_secrets(location)}")):
        how |= {"skip_bad": options.skip_bad, "subset": options.subset}
        return read_source(location, say, _shared(options), **how)


def _report_left_out(flag: str, pairs: PairData, options: Options, report: str, console: Console) -> None:
    if pairs.left_out:
        options.run.mkdir(parents=True, exist_ok=True)
        write_report(pairs.left_out, options.run / report)
        publish(options, report)
        files = len({fault.file for fault in pairs.left_out})
        said = f"{flag}: {files} faulty file(s) left out, see {options.shown(report)}"
        console.print(said, style="yellow", markup=False, soft_wrap=True)


def check_checkpoints(inputs: Inputs, options: Options, console: Console) -> Inputs:
    """Loads each checkpoint once, so that what is wrong with it is said now; says what would surprise.

    Returns:
        The inputs, with what was said of the checkpoints.

    Raises:
        InputError: a checkpoint cannot be used, or not as the space would use it.
    """
    import transformers

    from trainable.detector.families.registry import FAMILIES
    from trainable.detector.loading import ModelError, class_names, load_model, load_processor, read_config

    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    names, given = inputs.pairs.names, signals_of(inputs.space, options.max_epochs)
    notices, new_heads = [], []
    for model, checkpoint in zip(inputs.models, inputs.checkpoints, strict=True):
        try:
            load_processor(checkpoint, options.image_size)
            load_model(checkpoint, names)
            own, kind = class_names(checkpoint), read_config(checkpoint)["model_type"]
        except ModelError as error:
            raise InputError(str(error)) from None
        signals = {signal for of_model, signal in given if of_model in (None, model)}
        if others := signals.difference(FAMILIES[kind].signals):
            wrong, taken = (", ".join(sorted(each)) for each in (others, FAMILIES[kind].signals))
            raise InputError(
                f"--space {inputs.space.name}: its recipes give a model {wrong} of a pair, but one of type {kind!r} "
                f"takes {taken} alone; a space of your own may ask spaces.models.signals_taken what it takes"
            )
        if not is_kept(own, names):
            new_heads.append(model)
        if notice := new_head_notice(own, names):
            notices.append(notice)
    print_notices(notices, console)
    return replace(inputs, notices=(*inputs.notices, *notices), new_class_heads=tuple(new_heads))
