from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trainable.data.faults import DataError
from trainable.data.layout import Layout
from trainable.data.lists import IdList
from trainable.data.split import split_ids

FOLDERS = Path("before"), Path("after"), Path("labels")
DRAWN = Layout(*FOLDERS)


def listed(train, val):
    sides = (("train.txt", train), ("val.txt", val))
    return Layout(*FOLDERS, lists=tuple(IdList(file, tuple(enumerate(ids, start=1))) for file, ids in sides))


def kinds(faults):
    return [(fault.kind, fault.file, fault.line, fault.value) for fault in faults]


def test_a_fifth_of_the_pairs_validates_and_every_pair_is_on_one_side():
    ids = [f"{number:03}" for number in range(100)]
    split = split_ids(ids, DRAWN, None)
    assert (len(split.train), len(split.val)) == (80, 20)
    assert sorted(split.train + split.val) == ids


def test_the_draw_is_the_same_whatever_the_order_of_the_files():
    ids = [f"{number:03}" for number in range(50)]
    assert split_ids(ids, DRAWN, None) == split_ids(ids[::-1], DRAWN, None)


def test_seed_and_ratio_of_the_layout_count():
    ids = [f"{number:03}" for number in range(50)]
    assert split_ids(ids, Layout(*FOLDERS, seed=1), None) != split_ids(ids, DRAWN, None)
    assert len(split_ids(ids, Layout(*FOLDERS, val_ratio=0.5), None).val) == 25


@pytest.mark.parametrize("ratio", [0.001, 0.999])
def test_each_side_has_at_least_one_pair(ratio):
    split = split_ids(["a", "b", "c"], Layout(*FOLDERS, val_ratio=ratio), None)
    assert len(split.train) >= 1 and len(split.val) >= 1


@given(
    sizes=st.lists(st.integers(1, 8), min_size=2, max_size=12),
    ratio=st.floats(0.01, 0.99),
    seed=st.integers(0, 5),
    rule=st.sampled_from(["parent", r"^(.*)/", r"^cam\d+"]),
)
def test_no_scene_is_ever_on_both_sides_and_no_side_is_empty(sizes, ratio, seed, rule):
    ids = [f"cam{scene}/{number}" for scene, size in enumerate(sizes) for number in range(size)]
    split = split_ids(ids, Layout(*FOLDERS, val_ratio=ratio, seed=seed), rule)
    assert split.train and split.val
    assert sorted(split.train + split.val) == sorted(ids)
    assert not {id_.split("/")[0] for id_ in split.train} & {id_.split("/")[0] for id_ in split.val}


def test_an_id_that_the_rule_does_not_match_is_on_neither_side():
    split = split_ids(["a_1", "b_1", "odd"], DRAWN, r"^(\w)_")
    assert kinds(split.id_faults) == [("id without a scene", "labels", None, "odd")]
    assert "odd" not in split.train + split.val


def test_a_single_scene_cannot_be_split():
    split = split_ids(["cam/1", "cam/2"], DRAWN, "parent")
    assert kinds(split.faults) == [("fewer than two scenes", "--group-by", None, "parent: cam")]


def test_a_broken_regular_expression_is_named():
    with pytest.raises(DataError, match=r"--group-by: not a regular expression \(met: \(\["):
        split_ids(["a", "b"], DRAWN, "([")


def test_the_users_lists_are_kept_as_they_are():
    split = split_ids(["a", "b", "c", "d"], listed(["c", "a"], ["d"]), None)
    assert (split.train, split.val) == (("c", "a"), ("d",))
    assert split.id_faults == split.faults == ()


def test_ids_that_are_unknown_repeated_or_on_both_sides_are_named_with_their_line():
    split = split_ids(["a", "b", "c"], listed(["a", "b", "b", "../../etc/passwd"], ["c", "a"]), None)
    assert kinds(split.id_faults) == [
        ("repeated id", "train.txt", 3, "b"),
        ("id without a label file", "train.txt", 4, "../../etc/passwd"),
        ("id in both train and val", "val.txt", 2, "a"),
    ]
    assert (split.train, split.val) == ((), ("c",))


def test_scenes_on_both_sides_of_the_users_lists_are_named():
    split = split_ids(["x/1", "x/2", "y/1"], listed(["x/1", "y/1"], ["x/2"]), "parent")
    assert kinds(split.faults) == [("scene on both sides", "val.txt", None, "x")]
    assert "x/1 and x/2" in split.faults[0].advice
    assert split_ids(["x/1", "x/2", "y/1"], listed(["x/1", "x/2"], ["y/1"]), "parent").faults == ()
