"""A data set on disk: its pairs, all that is wrong with them, and which of them train and validate."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from trainable.data.faults import DataError, Fault
from trainable.data.files import PairFiles
from trainable.data.integrity import PIXEL_LIMIT, check_files, own_pixel_limit
from trainable.data.layout import Layout, read_layout
from trainable.data.left_alone import left_alone
from trainable.data.model_input import ModelInput
from trainable.data.notices import Notice
from trainable.data.pair import Pair
from trainable.data.sight import Sight
from trainable.data.snapshot import Snapshot
from trainable.data.split import split_ids
from trainable.data.surprises import one_side_notices, sight_notices, split_notices


@dataclass(frozen=True)
class PairData:
    """A checked and split data set."""

    location: str
    """Absolute path of the folder or `data.yaml`; its URI, without credentials, where it lies in a bucket."""
    names: tuple[str, ...]
    """Class names by class id."""
    train: tuple[Pair, ...]
    val: tuple[Pair, ...]
    fingerprint: str
    """SHA-256, in hex, over names, split, ids and the contents of all files; the same wherever the data set lies."""
    left_out: tuple[Fault, ...]
    """Why pairs were left out; empty unless bad pairs were to be skipped."""
    skip_bad: bool = False
    """Whether bad pairs were to be skipped, also those that go bad later."""
    snapshot: Snapshot | None = None
    """What was pulled where it lies in a bucket; the pairs' paths are then those of `snapshot.local`."""
    notices: tuple[Notice, ...] = ()
    """What is allowed, but would surprise."""


def read_pairs(
    location: Path,
    *,
    skip_bad: bool = False,
    subset: int | None = None,
    group_by: str | None = None,
    pixel_limit: int = PIXEL_LIMIT,
    model: ModelInput | None = None,
    one_side: bool = False,
) -> PairData:
    """Reads a data set: finds its pairs, splits them, and checks every image and label of them.

    An image without a label file is a fault: nobody can tell a forgotten label from a pair in which nothing moved, and
    an empty label file says the latter. Where the user lists the ids of train and val, only those are looked at.

    Args:
        location: a folder or a `data.yaml`, see `read_layout`.
        skip_bad: leave faulty pairs out instead of refusing the data set. The split is drawn before, so that a pair
            that is repaired later moves no other.
        subset: use, and check, only the first so many pairs of each side.
        group_by: keeps scenes on one side, see `split_ids`.
        pixel_limit: most pixels of an image; larger ones are not decoded.
        model: what is to learn from the pairs; what is seen of them is then judged at its size. A pair that it cannot
            be given is faulty.
        one_side: whether all pairs are used for one thing, as a test set's are, so that their split says nothing.

    Raises:
        DataError: with all faults together. With `skip_bad` only where no usable data set is left.
        ValueError: `subset` is below 1.
    """
    if subset is not None and subset < 1:
        raise ValueError(f"subset must be at least 1, got {subset}")
    layout = read_layout(Path(location))
    files = PairFiles.found(layout)
    if not files.labels:
        raise DataError([files.no_pairs()])
    split = split_ids(files.labels, layout, group_by, files.missing_label)
    train_ids, val_ids = split.train[:subset], split.val[:subset]
    checks = _check_all([*train_ids, *val_ids], files, layout.names, pixel_limit, model)

    pair_faults = [*split.id_faults, *(fault for check in checks for fault in check.faults)]
    if layout.lists is None:
        pair_faults += [*files.images_without_label(), *files.folders_left_out()]
    sides = {"train": checks[: len(train_ids)], "val": checks[len(train_ids) :]}
    if skip_bad:
        sides = {name: [check for check in side if check.pair] for name, side in sides.items()}
    names = layout.names or _derived_names(checks)
    faults = list(split.faults) or _faults_as_a_whole(layout, sides, names)
    if faults or (pair_faults and not skip_bad):
        raise DataError([*faults, *pair_faults])
    seen = {
        side: [(check.pair, check.sight) for check in of if check.pair and check.sight] for side, of in sides.items()
    }
    train, val = (tuple(pair for pair, _ in side) for side in seen.values())
    return PairData(
        str(Path(location).absolute()),
        names,
        train,
        val,
        _fingerprint(names, sides),
        tuple(pair_faults),
        skip_bad,
        notices=(
            *left_alone(layout, files),
            *sight_notices([*seen["train"], *seen["val"]], model),
            *(one_side_notices([*train, *val]) if one_side else split_notices(train, val, names)),
        ),
    )


def images_digest(before: Path, after: Path) -> str:
    """SHA-256, in hex, over the contents of both files; the same wherever they lie.

    Raises:
        OSError: a file cannot be read.
    """
    return _joined(_digests(before, after))


@dataclass(frozen=True)
class _Check:
    """What came of checking one pair: the pair, what is seen of it and a digest of its files, or else its faults."""

    id: str
    faults: list[Fault]
    pair: Pair | None = None
    sight: Sight | None = None
    digest: str = ""


def _check_all(
    ids: Sequence[str], files: PairFiles, names: Sequence[str] | None, pixel_limit: int, model: ModelInput | None
) -> list[_Check]:
    number_of_classes = None if names is None else len(names)
    # Threads, since decoding runs outside Python's lock, and is most of the work where images are large.
    with own_pixel_limit(), ThreadPoolExecutor() as pool:
        return list(pool.map(lambda id_: _check_pair(id_, files, number_of_classes, pixel_limit, model), ids))


def _check_pair(
    id_: str, files: PairFiles, number_of_classes: int | None, pixel_limit: int, model: ModelInput | None
) -> _Check:
    sight, labels, faults = check_files(id_, files, number_of_classes, pixel_limit, model)
    if faults or sight is None:
        return _Check(id_, faults)
    before, after = files.before[id_][0].absolute(), files.after[id_][0].absolute()
    digests = _digests(before, after, files.labels[id_][0])
    pair = Pair(id_, before, after, sight.size, labels, _joined(digests[:2]), sight.digest)
    return _Check(id_, [], pair, sight, _joined(digests))


def _digests(*paths: Path) -> list[bytes]:
    return [hashlib.sha256(path.read_bytes()).digest() for path in paths]


def _joined(digests: Sequence[bytes]) -> str:
    return hashlib.sha256(b"".join(digests)).hexdigest()


def _derived_names(checks: Sequence[_Check]) -> tuple[str, ...]:
    class_ids = [class_id for check in checks if check.pair for class_id in check.pair.labels.class_ids]
    return tuple(str(class_id) for class_id in range(max(class_ids, default=-1) + 1))


def _faults_as_a_whole(layout: Layout, sides: Mapping[str, Sequence[_Check]], names: Sequence[str]) -> list[Fault]:
    faults = []
    for index, (side, checks) in enumerate(sides.items()):
        if not checks:
            file = layout.lists[index].file if layout.lists else str(layout.labels)
            faults.append(Fault("empty split", file, None, f"{side} has no pairs", "train and val need a pair each"))
    if not names and not any(check.faults for checks in sides.values() for check in checks):
        advice = "list the names in classes.txt, or label what moved"
        faults.append(Fault("no names", str(layout.labels), None, "neither names nor a box in any label file", advice))
    return faults


def _fingerprint(names: Sequence[str], sides: Mapping[str, Sequence[_Check]]) -> str:
    pairs = {side: [[check.id, check.digest] for check in checks] for side, checks in sides.items()}
    return hashlib.sha256(json.dumps([list(names), pairs]).encode()).hexdigest()
