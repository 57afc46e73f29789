"""What a search works on, checked before anything is started: data, test set, space and checkpoint."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from rich.console import Console
from rich.markup import escape

from search.options import Options
from search.run_folder import publish
from spaces.registry import Space, check_space, load_space
from trainable.data.faults import write_report
from trainable.data.pairs import Pair, PairData
from trainable.data.source import read_source
from trainable.hub import pinned
from trainable.remote import without_secrets
from trainable.sample import EMBEDDED, checkpoint_of
from trainable.sample.data_set import sample_data_set


class InputError(ValueError):
    """Something that the user gave cannot be used; the message says what and why."""


@dataclass(frozen=True)
class Inputs:
    """What the flags name, read and found sound."""

    pairs: PairData
    test: PairData | None
    """All its pairs are evaluated once, with the best model."""
    space: Space
    model: str
    """What `--model` stands for: a name on the hub has the commit with it that every node is to use."""
    checkpoint: str
    """Folder or hub name of the DETR that every trial starts from; `check_checkpoint` loads it."""


def checked_inputs(options: Options, console: Console) -> Inputs:
    """Reads and checks what the flags name, the cheap things first.

    Raises:
        DataError: the data set or the test set has faults.
        SpaceError: the space cannot be loaded, or gives no recipes.
        InputError: the test set does not go with the data.
        StorageError: one of them is to come from a storage that does not give it.
    """
    space = load_space(options.space)
    check_space(space, options.max_epochs)
    pairs = _checked_data(options, console)
    test = _checked_test(options, pairs, console)
    model = options.model if options.model == EMBEDDED else pinned(options.model)
    return Inputs(pairs, test, space, model, checkpoint_of(model))


def _checked_data(options: Options, console: Console) -> PairData:
    if options.data is None:
        with console.status("making the sample data set (once)"):
            # On a cluster, it goes where every node sees it.
            shared = Path(options.storage) if options.address and not options.remote else None
            try:
                location = str(sample_data_set(shared))
            except OSError as error:
                raise InputError(str(error)) from None
    else:
        location = options.data
    pairs = _read(location, options, console, group_by=options.group_by)
    _report_left_out("--data", pairs, options, "data_report.csv", console)
    if both := _with_pictures_of(pairs.train, pairs.val):
        said = (
            f"--data: {len(both)} validation pairs have the pictures of a training pair, the first is {both[0]}; "
            "losses and scores look better for that than they are"
        )
        console.print(said, style="yellow", markup=False, soft_wrap=True)
    return pairs


def _checked_test(options: Options, pairs: PairData, console: Console) -> PairData | None:
    """The test set, if there is one: of the same classes, and none of its pairs among those that are searched with."""
    if options.test is None:
        return None
    test = _read(options.test, options, console)
    if test.names != pairs.names:
        raise InputError(
            f"--test {test.location}: its classes must be those of the data, {', '.join(pairs.names)}, in this order, "
            f"got {', '.join(test.names)}; name them in classes.txt or data.yaml"
        )
    if both := _with_pictures_of((*pairs.train, *pairs.val), (*test.train, *test.val)):
        raise InputError(
            f"--test {test.location}: {len(both)} of its pairs have pictures of the data, the first is {both[0]}; "
            "a test set holds pairs that the search has not seen"
        )
    _report_left_out("--test", test, options, "test_report.csv", console)
    return test


def _with_pictures_of(seen: Sequence[Pair], pairs: Sequence[Pair]) -> list[str]:
    """Ids of the pairs whose pictures, by their content, are among those of `seen`."""
    digests = {pair.pictures_digest for pair in seen}
    return [pair.id for pair in pairs if pair.pictures_digest in digests]


def _read(location: str, options: Options, console: Console, group_by: str | None = None) -> PairData:
    say = partial(console.print, markup=False, highlight=False, soft_wrap=True)
    with console.status(escape(f"checking {without_secrets(location)}")):
        return read_source(location, say, skip_bad=options.skip_bad, subset=options.subset, group_by=group_by)


def _report_left_out(flag: str, pairs: PairData, options: Options, report: str, console: Console) -> None:
    if pairs.left_out:
        options.run.mkdir(parents=True, exist_ok=True)
        write_report(pairs.left_out, options.run / report)
        publish(options, report)
        files = len({fault.file for fault in pairs.left_out})
        said = f"{flag}: {files} faulty file(s) left out, see {options.shown(report)}"
        console.print(said, style="yellow", markup=False, soft_wrap=True)


def check_checkpoint(inputs: Inputs) -> None:
    """Loads the checkpoint once, so that what is wrong with it is said now.

    Raises:
        InputError: the checkpoint cannot be used.
    """
    import transformers

    from trainable.model import ModelError, load_model, load_processor

    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    try:
        load_processor(inputs.checkpoint)
        load_model(inputs.checkpoint, inputs.pairs.names)
    except ModelError as error:
        raise InputError(str(error)) from None
