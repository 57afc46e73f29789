"""What is allowed in pairs, but leaves a model nothing to learn or a search nothing to measure."""

from collections.abc import Callable, Iterable, Sequence

from trainable.data.model_input import ModelInput, Size
from trainable.data.notices import Notice
from trainable.data.pair import Pair
from trainable.data.sight import DARK, LEAST_BOX, LEAST_SIDE, Sight

Seen = tuple[Pair, Sight]


def sight_notices(seen: Sequence[Seen], model: ModelInput | None) -> list[Notice]:
    """What the model will not see, or not all of.

    Args:
        seen: pairs, and what was seen of each at the model's size.
        model: None where it is not known.
    """
    at = _at([sight.resized for _, sight in seen])
    labelled = [(pair, sight) for pair, sight in seen if pair.labels.class_ids]
    boxes = sum(len(pair.labels.class_ids) for pair, _ in seen)
    dark = _ids(labelled, lambda sight: sight.is_dark)
    in_the_dark = sum(sight.dark_boxes for _, sight in labelled if not sight.is_dark)
    tiny = sum(sight.tiny_boxes for _, sight in seen)
    small = _ids(seen, lambda sight: min(sight.resized) < LEAST_SIDE)
    found = [
        _dark_pairs(f"{len(dark):,} of {len(labelled):,} labelled pairs", at, "nothing can be learnt from them:", dark),
        Notice(
            f"{in_the_dark:,} of {boxes:,} boxes lie where before and after (almost) agree, to {DARK} of 255 {at}",
            "see whether they are the labels of these images",
            _ids(labelled, lambda sight: sight.dark_boxes > 0 and not sight.is_dark),
        ),
        Notice(
            f"{tiny:,} of {boxes:,} boxes are under {LEAST_BOX} pixels {at}",
            "a model cannot see them: cut the images into pieces, or start from a model that takes larger ones",
            _ids(seen, lambda sight: sight.tiny_boxes > 0),
        ),
        Notice(
            f"{len(small):,} of {len(seen):,} pairs are under {LEAST_SIDE} pixels high or wide {at}",
            "a model sees next to nothing in them: cut them into pieces that are less long",
            small,
        ),
        *_blank_images(seen),
    ]
    return [notice for notice in found if notice.names] + _too_many_boxes([pair for pair, _ in seen], model)


def image_notices(ids: Sequence[str], sights: Sequence[Sight]) -> list[Notice]:
    """What a model will not see of pairs without labels; `ids` and `sights` go together."""
    dark = tuple(id_ for id_, sight in zip(ids, sights, strict=True) if sight.is_dark)
    consequence, at = "nothing can be found in them; where something moved,", _at([sight.resized for sight in sights])
    return [_dark_pairs(f"{len(dark):,} of {len(ids):,} pairs", at, consequence, dark)] if dark else []


def one_side_notices(pairs: Sequence[Pair]) -> list[Notice]:
    """What cannot be measured on pairs that are all used for one thing."""
    if any(pair.labels.class_ids for pair in pairs):
        return []
    return [Notice(f"none of the {len(pairs):,} pairs has a box", "nothing can be measured on them")]


def split_notices(train: Sequence[Pair], val: Sequence[Pair], names: Sequence[str]) -> list[Notice]:
    """What cannot be learnt from the pairs of one side or measured on those of the other, and what is on both.

    Args:
        train: training pairs.
        val: validation pairs.
        names: of the classes, by class id.
    """
    return [
        *_sides_without_boxes(train, val),
        *_classes_of_one_side(train, val, names),
        *_leak(train, val),
        *_torn(train),
    ]


def same_differences(seen: Iterable[Pair], pairs: Iterable[Pair]) -> list[tuple[Pair, Pair]]:
    """Those of `pairs` whose difference one of `seen` has too, each with that one.

    It is the same for equal files, for swapped sides and for equal pixels in files of another format.
    """
    first = {pair.content_digest: pair for pair in reversed(list(seen))}
    return [(pair, first[pair.content_digest]) for pair in pairs if pair.content_digest in first]


def _ids(seen: Iterable[Seen], rule: Callable[[Sight], bool]) -> tuple[str, ...]:
    return tuple(pair.id for pair, sight in seen if rule(sight))


def _at(sizes: Iterable[Size]) -> str:
    distinct = set(sizes)
    return "at {}x{}".format(*distinct.pop()) if len(distinct) == 1 else "at the model's size"


def _dark_pairs(which: str, at: str, consequence: str, ids: tuple[str, ...]) -> Notice:
    return Notice(
        f"{which} are (almost) black where before is subtracted from after, at most {DARK} of 255 {at}",
        f"{consequence} see whether both images are the same, a camera's 12 bits lie unscaled in 16, or an animation "
        "begins with a black frame",
        ids,
    )


def _blank_images(seen: Sequence[Seen]) -> list[Notice]:
    blank = _ids(seen, lambda sight: sight.has_blank)
    found = f"{len(blank):,} of {len(seen):,} pairs have an image of one colour throughout"
    return [Notice(found, "see whether a camera was dark, or an animation begins with a black frame", blank)]


def _too_many_boxes(pairs: Sequence[Pair], model: ModelInput | None) -> list[Notice]:
    if model is None or not (many := tuple(p.id for p in pairs if len(p.labels.class_ids) > model.queries)):
        return []
    found = f"{len(many):,} of {len(pairs):,} pairs have more boxes than the model has queries, {model.queries:,}"
    return [Notice(found, "it finds no more than that many, and misses the others however it is trained", many)]


def _sides_without_boxes(train: Sequence[Pair], val: Sequence[Pair]) -> list[Notice]:
    notices = []
    if not any(pair.labels.class_ids for pair in train):
        advice = "there is nothing to learn but that nothing moves"
        notices.append(Notice(f"none of the {len(train):,} training pairs has a box", advice))
    if not any(pair.labels.class_ids for pair in val):
        advice = "recall, F1 and mAP cannot be measured, and no score threshold be recommended"
        notices.append(Notice(f"none of the {len(val):,} validation pairs has a box", advice))
    return notices


def _classes_of_one_side(train: Sequence[Pair], val: Sequence[Pair], names: Sequence[str]) -> list[Notice]:
    learnt, measured = ({id_ for pair in side for id_ in pair.labels.class_ids} for side in (train, val))
    if not learnt or not measured:  # Told as a side without boxes.
        return []
    kinds = {
        "no box at all": ("neither learnt nor measured", set(range(len(names))) - learnt - measured),
        "boxes in training pairs only": ("learnt, but not measured", learnt - measured),
        "boxes in validation pairs only": ("measured, but never learnt", measured - learnt),
    }
    return [
        Notice(
            f"{len(ids):,} of {len(names):,} classes {'has' if len(ids) == 1 else 'have'} {kind}",
            f"what they are is {consequence}",
            tuple(names[id_] for id_ in sorted(ids)),
        )
        for kind, (consequence, ids) in kinds.items()
        if ids
    ]


def _leak(train: Sequence[Pair], val: Sequence[Pair]) -> list[Notice]:
    if not (both := same_differences(train, val)):
        return []
    found = f"{len(both):,} of {len(val):,} validation pairs have the images of a training pair"
    advice = (
        "losses and scores look better for that than they are; swapped sides and another file format make no difference"
    )
    return [Notice(found, advice, tuple(f"{pair.id} = {seen.id}" for pair, seen in both))]


def _torn(train: Sequence[Pair]) -> list[Notice]:
    """Training pairs of one content whose labels differ."""
    first: dict[str, Pair] = {}
    torn = []
    for pair in train:
        other = first.setdefault(pair.content_digest, pair)
        if _boxes(other) != _boxes(pair):
            torn.append(f"{pair.id} = {other.id}")
    if not torn:
        return []
    found = f"{len(torn):,} of {len(train):,} training pairs have the images of another one, but other labels"
    return [Notice(found, "the model is taught both: keep the labels that are right", tuple(torn))]


def _boxes(pair: Pair) -> list[tuple[int, tuple[float, ...]]]:
    return sorted(zip(pair.labels.class_ids, pair.labels.boxes_cxcywh_normalised, strict=True))
