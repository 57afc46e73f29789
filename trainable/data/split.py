"""Which pairs train and which validate: as the user lists them, or drawn, with every scene on one side only."""

import random
import re
from collections import defaultdict
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass
from pathlib import PurePosixPath

from trainable.data.faults import DataError, Fault
from trainable.data.layout import Layout
from trainable.data.lists import IdList, id_of_entry


@dataclass(frozen=True)
class Split:
    """The ids of both sides, and what is wrong with the split."""

    train: tuple[str, ...]
    val: tuple[str, ...]
    id_faults: tuple[Fault, ...] = ()
    """Each of one id, which is then on neither side."""
    faults: tuple[Fault, ...] = ()
    """Faults of the split as a whole."""


MissingLabel = Callable[[str, str, int | None], Fault]
"""Gives the fault of an id without a label file, from the id, the list that names it, and the line of it."""


def split_ids(
    ids: Collection[str], layout: Layout, group_by: str | None, missing_label: MissingLabel | None = None
) -> Split:
    """Splits the ids of a data set; the same ids, layout and rule always give the same split.

    Args:
        ids: of every pair that has a label file, in any order.
        layout: gives the user's lists, or else the share of val and the seed of the draw.
        group_by: names the scene of an id, and no scene is on both sides: "parent" is the id's parent folder, all else
            a regular expression, searched for in the id, whose first group (without groups: whole match) is the scene.
            A drawn split keeps scenes whole, the user's lists are checked. None makes every pair a scene of its own.
        missing_label: knows why an id of the user's lists is none of `ids`.

    Raises:
        DataError: `group_by` is not a regular expression.
    """
    scene_of = _scene_rule(group_by)
    if layout.lists is None:
        return _drawn(ids, layout, group_by, scene_of)
    return _listed(ids, layout.lists, group_by, scene_of, missing_label or _missing_label)


def _scene_rule(group_by: str | None) -> Callable[[str], str | None]:
    if group_by is None:
        return lambda id_: id_
    if group_by == "parent":
        return lambda id_: PurePosixPath(id_).parent.as_posix()
    try:
        pattern = re.compile(group_by)
    except re.error as error:
        advice = f'"parent" or a regular expression is needed: {error}'
        raise DataError([Fault("not a regular expression", "--group-by", None, group_by, advice)]) from None
    group = 1 if pattern.groups else 0
    return lambda id_: match[group] if (match := pattern.search(id_)) else None


def _drawn(ids: Iterable[str], layout: Layout, group_by: str | None, scene_of: Callable[[str], str | None]) -> Split:
    scenes: dict[str, list[str]] = defaultdict(list)
    unmatched = []
    for id_ in sorted(ids):
        if (scene := scene_of(id_)) is None:
            unmatched.append(_without_scene(id_, str(layout.labels), None))
        else:
            scenes[scene].append(id_)
    faults: tuple[Fault, ...] = ()
    if group_by is not None and len(scenes) < 2:
        advice = "each side of the split needs a scene of its own; change the rule or leave it out"
        faults = (Fault("fewer than two scenes", "--group-by", None, f"{group_by}: {', '.join(scenes)}", advice),)
    val = _drawn_val(list(scenes.values()), layout.val_ratio, layout.seed) if len(scenes) > 1 else set()
    train = tuple(id_ for members in scenes.values() for id_ in members if id_ not in val)
    return Split(tuple(sorted(train)), tuple(sorted(val)), tuple(unmatched), faults)


def _drawn_val(scenes: list[list[str]], val_ratio: float, seed: int) -> set[str]:
    """The ids of as many random scenes as fit into val's share, at least one pair on each side."""
    shuffled = random.Random(seed).sample(scenes, len(scenes))
    total = sum(map(len, scenes))
    room = min(max(round(total * val_ratio), 1), total - 1)
    val: list[str] = []
    for members in shuffled:
        if len(val) + len(members) <= room:
            val += members
    smallest = min(shuffled, key=len)
    return set(val or smallest)


def _listed(
    ids: Collection[str],
    lists: tuple[IdList, IdList],
    group_by: str | None,
    scene_of: Callable[[str], str | None],
    missing_label: MissingLabel,
) -> Split:
    known = frozenset(ids)
    seen: dict[str, IdList] = {}
    faulty: set[str] = set()
    id_faults = []
    chosen: list[list[str]] = []
    for side in lists:
        chosen.append([])
        for line, entry in side.entries:
            id_ = id_of_entry(entry, known)
            if id_ is None:
                id_faults.append(missing_label(entry, side.file, line))
                continue
            if side.of_folder and seen.get(id_) is side:
                continue
            chosen[-1].append(id_)
            if fault := _list_fault(id_, entry, line, side, seen, scene_of):
                faulty.add(id_)
                id_faults.append(fault)
            seen.setdefault(id_, side)
    train, val = (tuple(id_ for id_ in side if id_ not in faulty) for side in chosen)
    faults = _scenes_on_both_sides(train, val, lists[1], scene_of) if group_by is not None else ()
    return Split(train, val, tuple(id_faults), faults)


def _missing_label(entry: str, file: str, line: int | None) -> Fault:
    advice = "an id is the path of a file in labels, relative to it and without .txt; or give the path of its image"
    return Fault("id without a label file", file, line, entry, advice)


def _list_fault(
    id_: str,
    entry: str,
    line: int | None,
    side: IdList,
    seen: dict[str, IdList],
    scene_of: Callable[[str], str | None],
) -> Fault | None:
    if id_ in seen:
        kind = "repeated id" if seen[id_] is side else "id in both train and val"
        met = id_ if entry == id_ else f"{id_}, as {entry}"
        return Fault(kind, side.file, line, met, f"remove it here or in {seen[id_].file}")
    if scene_of(id_) is None:
        return _without_scene(id_, side.file, line)
    return None


def _without_scene(id_: str, file: str, line: int | None) -> Fault:
    return Fault("id without a scene", file, line, id_, "--group-by must match every id, and its first group too")


def _scenes_on_both_sides(
    train: Iterable[str], val: Iterable[str], val_list: IdList, scene_of: Callable[[str], str | None]
) -> tuple[Fault, ...]:
    of_train = {scene_of(id_): id_ for id_ in train}
    of_val = {scene_of(id_): id_ for id_ in val}
    return tuple(
        Fault("scene on both sides", val_list.file, None, str(scene), f"put {of_train[scene]} and {id_} on one side")
        for scene, id_ in of_val.items()
        if scene in of_train
    )
