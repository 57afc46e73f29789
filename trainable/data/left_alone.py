"""What lies beside the pairs of a data set and is not used, told before anybody relies on it."""

import re
from collections.abc import Iterator
from pathlib import Path

from trainable.data.class_names import NAMES_FILE, names_in
from trainable.data.files import ADVICE_ON_IMAGES, PairFiles
from trainable.data.layout import Layout
from trainable.data.listing import UNREAD_IMAGE_SUFFIXES, is_file, seen_in
from trainable.data.lists import id_of_entry
from trainable.data.notices import Notice

_NAMES = re.compile(
    r"(_|obj[_.]|predefined_)?(class(es)?|names|labels?|class_?names|label_?map)\.(txt|json|csv|pbtxt)", re.IGNORECASE
)
_LISTS = re.compile(r"(train|val)(ing|id|idation)?(_?list)?\.txt|test(ing)?(_?list)?\.txt", re.IGNORECASE)


def left_alone(layout: Layout, files: PairFiles) -> tuple[Notice, ...]:
    """A notice for each kind of thing that a user may take to be used.

    Args:
        layout: of the data set.
        files: what lies in its three folders.
    """
    beside = [path for path in seen_in(layout.root) if is_file(path)]
    return (
        *_yaml_files(layout, beside),
        *_yaml_keys(layout),
        *_names_files(layout, beside, files),
        *_list_files(layout, beside),
        *_unlisted_pairs(layout, files),
        *_unread_images(layout, files),
    )


def _yaml_files(layout: Layout, beside: list[Path]) -> Iterator[Notice]:
    found = tuple(str(path) for path in beside if path.suffix.lower() in (".yaml", ".yml"))
    if found and layout.yaml is None:
        yield Notice(
            f"{len(found)} YAML file(s) of the folder are not read",
            f"the folder's own parts count; give the file itself, as in --data {found[0]}, if it is meant to",
            found,
        )


def _yaml_keys(layout: Layout) -> Iterator[Notice]:
    if keys := layout.keys_left_alone:
        advice = "a test set is given by --test; the other keys mean nothing here"
        yield Notice(f"{len(keys)} key(s) of {layout.yaml_name} are not used", advice, keys)


def _names_files(layout: Layout, beside: list[Path], files: PairFiles) -> Iterator[Notice]:
    labels = files.listings["labels"]
    others = [path for path in beside if _NAMES.fullmatch(path.name) or path.suffix.lower() == ".names"]
    others += [path for path in labels.entries if path.name.casefold() == NAMES_FILE and is_file(path)]
    others += [path for path in labels.entries if path.parent == labels.folder and path.suffix.lower() == ".names"]
    others = [path for path in others if path != layout.names_from]
    if layout.names is None or layout.names_from is None:
        how = f"call it {NAMES_FILE}" if layout.yaml is None else f"write names: into {layout.yaml_name}"
        if others:
            found = f"{len(others)} file(s) look like class names and are not read"
            yield Notice(found, f"the classes are called by their numbers; {how}", tuple(map(str, others)))
        return
    told = {path: names for path in others if (path.suffix in (".txt", ".names")) and (names := names_in(path))}
    if apart := tuple(str(path) for path, names in told.items() if not _agree(names, layout.names)):
        yield Notice(
            f"{len(apart)} file(s) name the classes otherwise than {layout.names_from.name}",
            f"class ids mean the names there, {', '.join(layout.names)}; correct or delete the others",
            apart,
        )


def _agree(names: tuple[str, ...], used: tuple[str, ...]) -> bool:
    """Whether every class id that both name has one name; LabelImg's lists grow as classes are added."""
    return all(name == other for name, other in zip(names, used, strict=False))


def _list_files(layout: Layout, beside: list[Path]) -> Iterator[Notice]:
    used = {side.file for side in layout.lists or ()}
    found = tuple(str(path) for path in beside if _LISTS.fullmatch(path.name) and str(path) not in used)
    if not found:
        return
    if layout.lists is not None:
        advice = "the pairs that it names are used where train and val have them; a test set is given by --test"
    elif layout.yaml is None:
        advice = "the split is drawn at random; call them train.txt and val.txt to use them"
    else:
        advice = f"the split is drawn at random; write train: and val: into {layout.yaml_name} to use them"
    yield Notice(f"{len(found)} list(s) of the folder are not read", advice, found)


def _unlisted_pairs(layout: Layout, files: PairFiles) -> Iterator[Notice]:
    if layout.lists is None:
        return
    listed = {id_of_entry(entry, files.labels) for side in layout.lists for _, entry in side.entries}
    if unlisted := tuple(sorted(files.labels.keys() - listed)):
        found = f"{len(unlisted)} of {len(files.labels)} labelled pairs are in neither list"
        yield Notice(found, "they are not used; add them to train or val if they are meant to be", unlisted)


def _unread_images(layout: Layout, files: PairFiles) -> Iterator[Notice]:
    if layout.lists is not None:
        return
    counted = files.labels.keys() | files.before.keys() | files.after.keys()
    found = tuple(
        str(path)
        for side in ("before", "after")
        for id_, path in files.listings[side].ids()
        if path.suffix.lower() in UNREAD_IMAGE_SUFFIXES and id_ not in counted
    )
    if found:
        yield Notice(
            f"{len(found)} image(s) have a suffix that is not read, and no label file", ADVICE_ON_IMAGES, found
        )
