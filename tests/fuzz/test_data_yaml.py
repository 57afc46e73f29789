"""Whatever a data.yaml or a data folder holds: a layout within its folder, or one `DataError` that names each fault."""

from pathlib import Path

from fuzzing import TEXTS, damaged, fuzz, yaml_bytes
from hypothesis import strategies as st

from trainable.data.faults import DataError
from trainable.data.layout import Layout, read_layout
from trainable.data.split import split_ids
from trainable.text.yaml_file import read_yaml

IDS = ("a", "b", "night/c", "d")
GOOD = (
    b"path: .\nbefore: before\nafter: after\nlabels: labels\nnames: [person, car]\nval_ratio: 0.25\nseed: 7\n",
    b"names: {0: person, 1: 'no'}\ntrain: [a, b]\nval: [night/c]\n",
    b"train: train.txt\nval: lists/val.txt\n",
    b"path: .\ntrain: images/night\nval: before\\night\nnc: 2\nnames: lists/obj.names\n",
    b"train: ./before\nval: [images/night/c.jpg, 'C:\\x\\b.png']\nnc: 3\ntest: images/test\nroboflow: {version: 1}\n",
    b"",
)
PATHS = st.sampled_from(["before", ".", "", "..", "/", "before/../after", "../x", "~", "~/x", "labels/\0"]) | TEXTS
ENTRIES = st.sampled_from([".", "..", "/", "C:", "images", "night", "\\"]).flatmap(
    lambda start: st.sampled_from(["a.jpg", "night/c.PNG", "night\\c.txt", ".jpg", "..jpg", "d"]).map(
        lambda end: f"{start}/{end}"
    )
)
FIELDS = {
    **dict.fromkeys(("path", "before", "after", "labels"), PATHS),
    "names": st.lists(TEXTS, max_size=4) | st.dictionaries(st.integers(0, 3), TEXTS) | PATHS.map("{}.names".format),
    "nc": st.integers() | TEXTS,
    **dict.fromkeys(("train", "val"), PATHS | st.lists(st.sampled_from(IDS) | ENTRIES | TEXTS, max_size=4)),
    "val_ratio": st.floats(),
    "seed": st.integers(),
}
LISTS = ("classes.txt", "train.txt", "val.txt")
GOOD_LISTS = (b"a\nb\n", b"./images/a.jpg\nC:\\x\\b.png", b"night/c\r\n\r\nd", "\ufeffperson\ncar\n".encode())
LIST_FILES = st.fixed_dictionaries({}, optional=dict.fromkeys(LISTS, st.binary(max_size=30) | damaged(GOOD_LISTS)))


@fuzz(st.binary(max_size=60) | damaged(GOOD) | yaml_bytes(FIELDS), examples=400)
def test_a_data_yaml_gives_a_layout_or_names_its_faults(folder, content):
    check_yaml(folder, content)


@fuzz(LIST_FILES, examples=150)
def test_a_data_folder_gives_a_layout_or_names_its_faults(folder, files):
    make_folders(folder)
    for name in LISTS:
        (folder / name).unlink(missing_ok=True)
    for name, content in files.items():
        (folder / name).write_bytes(content)
    check(folder)


def check_yaml(folder, content):
    make_folders(folder)
    (folder / "data.yaml").write_bytes(content)
    layout = check(folder / "data.yaml")
    if layout:
        root = folder / Path(read_yaml(folder / "data.yaml").get("path", ".")).expanduser()
        for place in (layout.before, layout.after, layout.labels):
            assert ".." not in place.relative_to(root).parts


def make_folders(folder):
    for name in ("before/night", "after", "labels/night", "lists"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    (folder / "before" / "night" / "c.png").touch()
    (folder / "labels" / "night" / "c.txt").touch()
    (folder / "lists" / "obj.names").write_text("person\ncar\n")
    (folder / "train.txt").write_text("a\nb\n")
    (folder / "lists" / "val.txt").write_text("night/c\n")


def check(location) -> Layout | None:
    try:
        layout = read_layout(location)
        split = split_ids(IDS, layout, "parent")
    except DataError as error:
        assert error.faults
        for fault in error.faults:
            assert fault.file and fault.kind and fault.advice
            assert str(fault).isprintable() and len(fault.value) < 400
        return None
    assert {*split.train, *split.val} <= set(IDS)
    assert all(name and isinstance(name, str) for name in layout.names or ("none",))
    return layout
