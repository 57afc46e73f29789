"""Pairs changed at random: boxes and pixels move together, and draws depend on nothing but the seed."""

import cv2
import numpy as np
import pytest

from trainable.data.augmentation import CHANGES, VISIBLE, Changes, Shot, _moved_boxes

HEIGHT, WIDTH = 96, 128
BOX = [40.0, 30.0, 64.0, 50.0]
NAMES = [change.__name__.strip("_") for change in CHANGES]


def shot(box=BOX, ground=90, class_id=3):
    """A bright square that has come before an even ground."""
    before = np.full((HEIGHT, WIDTH, 3), ground, np.uint8)
    after = before.copy()
    left, top, right, bottom = map(int, box)
    after[top:bottom, left:right] = 230
    return Shot(before, after, np.array([box]), np.array([class_id]))


def other():
    """Another pair, whose thing has left."""
    one = shot([10.0, 10.0, 30.0, 34.0], class_id=1)
    return Shot(one.after, one.before, one.boxes, one.class_ids)


def difference(pair):
    return np.abs(pair.after.astype(int) - pair.before).max(-1)


def found_boxes(pair, least=60):
    """The boxes around what differs much: [n, 4]."""
    _, _, stats, _ = cv2.connectedComponentsWithStats((difference(pair) > least).astype(np.uint8))
    return np.array([[x, y, x + w, y + h] for x, y, w, h, area in stats[1:] if area > 20]).reshape(-1, 4)


def only(name):
    return CHANGES[NAMES.index(name)]


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("strength", [0.2, 1.0])
def test_a_square_is_found_where_its_box_is_whatever_is_done_to_the_pair(name, strength):
    seen = 0
    for seed in range(25):
        changed = only(name)(shot(), np.random.default_rng(seed), strength, other)
        found = found_boxes(changed)
        for box, class_id in zip(changed.boxes, changed.class_ids, strict=True):
            assert class_id in (1, 3)
            nearest = min(found, key=lambda each: np.abs(each - box).max(), default=None)
            assert nearest is not None, (seed, box)
            # A square that is turned or seen aslant fills the box around it but for its corners.
            assert np.abs(nearest - box).max() <= (4 if name == "move" else 2), (seed, box, nearest)
            seen += 1
        assert len(found) <= len(changed.boxes), (seed, "something differs that has no box")
    assert seen >= 20


@pytest.mark.parametrize("name", NAMES)
def test_images_keep_their_size_and_kind_and_the_pair_itself_is_left_alone(name):
    pair, same = shot(), shot()
    changed = only(name)(pair, np.random.default_rng(0), 1.0, other)
    for image in (changed.before, changed.after):
        assert image.shape == (HEIGHT, WIDTH, 3) and image.dtype == np.uint8
    assert np.array_equal(pair.before, same.before) and np.array_equal(pair.after, same.after)
    assert np.array_equal(pair.boxes, same.boxes)


@pytest.mark.parametrize("name", sorted(set(NAMES) - {"paste"}))
def test_every_change_changes_something(name):
    rng = np.random.default_rng(5)
    textured = shot()
    noise = rng.integers(-20, 20, textured.before.shape)
    before, after = ((image + noise).clip(0, 255).astype(np.uint8) for image in (textured.before, textured.after))
    pair = Shot(before, after, textured.boxes, textured.class_ids)
    changed = only(name)(pair, rng, 1.0, other)
    assert not (np.array_equal(changed.before, before) and np.array_equal(changed.after, after))


def test_what_is_pasted_is_a_thing_of_another_pair_with_its_class_and_covers_nothing_that_moved():
    counts = set()
    for seed in range(40):
        changed = only("paste")(shot(), np.random.default_rng(seed), 1.0, other)
        pasted = changed.boxes[1:]
        counts.add(len(pasted))
        assert changed.class_ids.tolist() == [3, *[1] * len(pasted)]
        for index, box in enumerate(changed.boxes):
            for later in changed.boxes[index + 1 :]:
                assert not (np.maximum(box[:2], later[:2]) < np.minimum(box[2:], later[2:])).all()
            assert (box[:2] >= 0).all() and (box[2:] <= [WIDTH, HEIGHT]).all()
    assert counts >= {1, 2}


def test_nothing_is_pasted_from_a_pair_in_which_nothing_moved():
    still = Shot(shot().before, shot().before, np.empty((0, 4)), np.empty(0, dtype=np.int64))
    changed = only("paste")(shot(), np.random.default_rng(0), 1.0, lambda: still)
    assert len(changed.boxes) == 1


def test_boxes_are_cut_at_the_edge_and_dropped_where_little_of_them_is_left():
    aside = np.eye(3)
    for shift, share in ((-50.0, 14 / 24), (-60.0, 4 / 24)):
        aside[0, 2] = shift
        (box,), (kept,) = _moved_boxes(np.array([BOX]), aside, (WIDTH, HEIGHT))
        assert kept == (share >= VISIBLE)
        assert box.tolist() == [max(0.0, BOX[0] + shift), BOX[1], BOX[2] + shift, BOX[3]]


def test_a_pair_without_boxes_can_be_changed():
    still = Shot(shot().before, shot().before, np.empty((0, 4)), np.empty(0, dtype=np.int64))
    for seed in range(20):
        changed = Changes(1.0, 1.0)(still, np.random.default_rng(seed), other)
        assert changed.boxes.shape == (len(changed.class_ids), 4)


def test_the_same_draws_give_the_same_pair_and_others_another():
    first, again, another = (Changes(0.5, 0.7)(shot(), np.random.default_rng(seed), other) for seed in (1, 1, 2))
    assert np.array_equal(first.before, again.before) and np.array_equal(first.boxes, again.boxes)
    assert not np.array_equal(first.after, another.after)


def test_no_probability_changes_nothing_and_full_probability_everything():
    pair = shot()
    assert Changes(0.0, 1.0)(pair, np.random.default_rng(0), other) is pair
    changed = Changes(1.0, 1.0)(pair, np.random.default_rng(0), other)
    assert not np.array_equal(changed.before, pair.before)


def test_before_and_after_change_places_only_where_that_is_asked_for():
    pair, exchanged = shot(), 0
    for seed in range(20):
        plain = Changes(1e-9, 0.5)(pair, np.random.default_rng(seed), other)
        assert np.array_equal(plain.after, pair.after)
        changed = Changes(0.5, 0.0, exchanges=True)
        same_draws = Changes(0.5, 0.0)(pair, np.random.default_rng(seed), other)
        swapped = changed(pair, np.random.default_rng(seed), other)
        assert np.array_equal(swapped.boxes, same_draws.boxes)
        if np.array_equal(swapped.after, same_draws.before) and np.array_equal(swapped.before, same_draws.after):
            exchanged += 1
        else:
            assert np.array_equal(swapped.after, same_draws.after)
    assert 5 <= exchanged <= 15
