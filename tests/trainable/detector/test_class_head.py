"""Users hear of a class head that starts anew where they would have wanted it kept, and only there."""

import pytest

from trainable.detector.class_head import new_head_notice

OWN = ("person", "car", "bike")


@pytest.mark.parametrize(
    ("names", "found", "named"),
    [
        (
            ("Person", "car", "bike"),
            "1 of 3 class names differ from the checkpoint's in their spelling",
            "Person",
        ),
        (("person", "Car ", "BIKE"), "2 of 3 class names differ", "Car  (car there)"),
        (("car", "person", "bike"), "the class names are the checkpoint's in another order", "car"),
        (("0", "1", "2"), "the data set does not name its classes, and the checkpoint does", "person"),
        (("0",), "the data set does not name its classes", "person"),
    ],
)
def test_it_is_told_where_the_checkpoint_was_trained_on_these_classes(names, found, named):
    notice = new_head_notice(OWN, names)
    assert notice.found.startswith(found) and notice.names[0].startswith(named)
    assert notice.about == "--model"
    assert "starts anew" in notice.advice and notice.advice.endswith("name the classes person, car, bike")


@pytest.mark.parametrize("names", [OWN, ("dog",), ("person",), ("person", "car"), ("person", "car", "bike", "dog")])
def test_it_is_not_told_where_it_is_kept_or_the_classes_are_others(names):
    assert new_head_notice(OWN, names) is None


def test_names_that_look_alike_are_told_apart():
    assert "spelling" in new_head_notice(("v\u00e9lo",), ("ve\u0301lo",)).found
    assert "spelling" in new_head_notice(("parked car",), ("parked_car",)).found


def test_unnamed_classes_are_not_taken_for_those_of_a_large_checkpoint():
    assert new_head_notice([f"class {index}" for index in range(91)], ("0", "1")) is None
