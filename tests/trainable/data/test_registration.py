"""A camera's motion is found where there is one, and a pair that cannot be registered is used as it is, never worse."""

import math

import cv2
import numpy as np
import pytest
from PIL import Image

from trainable.alignment import ALIGNMENTS, AUTO, LADDER, OFF
from trainable.data.registration import NONE, aligned, made_with, registration
from trainable.data.signal_images import aligned_difference

SIZE = (192, 144)
STILL = np.eye(3)


def scene(seed=0, size=SIZE, detail=900):
    """A place with things of every size in it, RGB."""
    rng = np.random.default_rng(seed)
    pixels = np.full((size[1], size[0], 3), 120, np.uint8)
    for _ in range(detail):
        x, y, w, h = (int(rng.integers(most)) for most in (size[0], size[1], 24, 24))
        colour = tuple(int(value) for value in rng.integers(30, 220, 3))
        cv2.rectangle(pixels, (x, y), (x + w, y + h), colour, -1)
    return cv2.GaussianBlur(pixels, (0, 0), 0.8)


def motion(dx=0.0, dy=0.0, degrees=0.0, zoom=1.0, tilt=0.0):
    """Takes a pixel of the after image to where it is in the before image."""
    centre = ((SIZE[0] - 1) / 2, (SIZE[1] - 1) / 2)
    matrix = np.eye(3)
    matrix[:2] = cv2.getRotationMatrix2D(centre, degrees, zoom)
    matrix[:2, 2] += dx, dy
    matrix[2, 0] = tilt
    return matrix


def seen_before(pixels, moved, light=1.0, noise=0.0, seed=1):
    """What the camera saw before, of a scene that it sees as `pixels` after."""
    before = cv2.warpPerspective(pixels, moved, SIZE, flags=cv2.INTER_CUBIC, borderMode=cv2.BORDER_REFLECT)
    before = before.astype(np.float64) * light + np.random.default_rng(seed).normal(0, noise, before.shape)
    return Image.fromarray(np.clip(before, 0, 255).astype(np.uint8))


def error(found, moved):
    x, y = np.meshgrid(np.linspace(0, SIZE[0] - 1, 5), np.linspace(0, SIZE[1] - 1, 5))
    points = np.stack([x, y], -1).reshape(1, -1, 2)
    here, there = (cv2.perspectiveTransform(points, each) for each in (found.matrix, moved))
    return np.linalg.norm(here - there, axis=-1).mean()


MOTIONS = {
    "translation": motion(3.4, -2.2),
    "affine": motion(2.0, 1.0, degrees=1.5, zoom=1.02),
    "homography": motion(1.0, 2.0, degrees=1.0, tilt=2e-4),
}


@pytest.mark.parametrize("model", LADDER)
def test_the_simplest_model_that_explains_the_motion_is_found(model):
    after = scene()
    before = seen_before(after, MOTIONS[model], light=0.9, noise=2)
    found = registration(before, Image.fromarray(after), AUTO)
    assert (found.model, found.fault) == (model, "")
    assert error(found, MOTIONS[model]) < 0.2
    assert found.inliers > 0.5 and found.residual_after < 0.8 * found.residual_before
    assert found.shift > 2


@pytest.mark.parametrize("model", LADDER)
def test_what_was_asked_for_is_the_most_that_is_taken(model):
    after = scene()
    found = registration(seen_before(after, MOTIONS["homography"]), Image.fromarray(after), model)
    assert found.model in LADDER[: LADDER.index(model) + 1]


def test_a_still_camera_is_left_alone_whatever_moved_before_it(moved_thing):
    before, after = moved_thing(60)
    for alignment in ALIGNMENTS[1:]:
        found = registration(before, after, alignment)
        assert (found.model, found.fault) == (NONE, "")
        assert aligned(before, after, found) is before


def test_things_that_moved_do_not_move_the_camera(moved_thing):
    before, after = moved_thing(50)
    moved = motion(-4.3, 2.6, degrees=-1)
    before = seen_before(np.asarray(before), moved)
    found = registration(before, after, AUTO)
    assert error(found, moved) < 0.3
    left = np.asarray(aligned_difference(before, after, AUTO)).mean(-1)
    thing = np.zeros(left.shape, dtype=bool)
    thing[40:90, 20:70] = thing[40:90, 110:160] = True
    assert left[thing].mean() > 6 * left[~thing].mean()


@pytest.fixture
def moved_thing():
    """A pair of a still camera in which a thing of so many pixels has moved to the right."""

    def pair(side):
        images = []
        for x in (20, 110):
            pixels, thing = scene(), scene(seed=7, detail=200)[:side, :side]
            pixels[40 : 40 + side, x : x + side] = thing
            images.append(Image.fromarray(pixels))
        return images

    return pair


def test_half_a_pixel_is_left_to_the_model_unless_a_model_of_motion_was_named():
    after = scene()
    before = seen_before(after, motion(0.3, 0.2))
    assert registration(before, Image.fromarray(after), AUTO).model == NONE
    named = registration(before, Image.fromarray(after), "translation")
    assert named.model == "translation" and error(named, motion(0.3, 0.2)) < 0.15


def test_pixels_that_the_other_image_did_not_see_make_no_difference():
    after = scene()
    before = seen_before(after, motion(9, 6))
    changed = np.asarray(aligned_difference(before, Image.fromarray(after), AUTO))
    assert changed[-5:].max() == 0 and changed[:, -8:].max() == 0
    assert changed.mean() < 3


def test_the_same_images_are_registered_the_same():
    after = scene()
    before = seen_before(after, MOTIONS["homography"], noise=4)
    assert len({registration(before, Image.fromarray(after), AUTO) for _ in range(3)}) == 1
    assert made_with()[1] == cv2.__version__ and cv2.getNumThreads() == 1


BLACK = Image.new("RGB", SIZE)
UNUSABLE = {
    "an image is too plain": (BLACK, BLACK),
    "the images show different places": (Image.fromarray(scene(1)), Image.fromarray(scene(2))),
    "the images are too small": (BLACK.resize((40, 20)), BLACK.resize((40, 20))),
}


@pytest.mark.parametrize("fault", UNUSABLE)
def test_what_cannot_be_registered_is_used_as_it_is_and_said(fault):
    before, after = UNUSABLE[fault]
    for alignment in ALIGNMENTS[1:]:
        found = registration(before, after, alignment)
        assert (found.model, found.fault) == (NONE, fault)
        assert np.array_equal(aligned_difference(before, after, alignment), aligned_difference(before, after, OFF))


def test_noise_is_too_plain_to_register():
    images = [
        Image.fromarray((128 + np.random.default_rng(seed).normal(0, 3, (144, 192, 3))).clip(0, 255).astype(np.uint8))
        for seed in (1, 2)
    ]
    assert registration(*images, AUTO).model == NONE
    assert registration(*images, AUTO).fault


def test_a_thing_that_fills_most_of_the_image_is_not_taken_for_the_camera():
    place, thing = scene(3), scene(4)
    before, after = place.copy(), place.copy()
    before[12:132, 20:170], after[12:132, 26:176] = thing[:120, :150], thing[:120, :150]
    found = registration(Image.fromarray(before), Image.fromarray(after), AUTO)
    assert (found.model, found.fault) == (NONE, "what moved fills most of the image")


@pytest.mark.parametrize(
    "absurd",
    [np.array([[-1.0, 0, SIZE[0] - 1], [0, 1, 0], [0, 0, 1]]), motion(zoom=1.6), motion(degrees=90), motion(80, 50)],
    ids=["mirrored", "stretched", "lying", "far away"],
)
def test_a_motion_that_no_camera_makes_is_refused(absurd):
    after = scene()
    found = registration(seen_before(after, absurd), Image.fromarray(after), AUTO)
    assert found.model == NONE and found.matrix.tolist() == STILL.tolist()
    assert found.fault


def test_a_large_image_is_registered_in_its_own_pixels():
    after = cv2.resize(scene(), (1536, 1152), interpolation=cv2.INTER_CUBIC)
    moved = np.eye(3)
    moved[:2, 2] = 11.5, -7.25
    before = cv2.warpPerspective(after, moved, (1536, 1152), borderMode=cv2.BORDER_REFLECT)
    found = registration(Image.fromarray(before), Image.fromarray(after), AUTO)
    assert found.matrix[:2, 2] == pytest.approx([11.5, -7.25], abs=0.5)
    assert found.shift == pytest.approx(math.hypot(11.5, 7.25), abs=0.5)
