import pytest

from trainable.data.faults import DataError
from trainable.data.layout import read_layout


@pytest.fixture
def data_yaml(tmp_path):
    """Writes `data.yaml` beside empty folders and gives its path."""
    for folder in ("before", "after", "labels"):
        (tmp_path / folder).mkdir()

    def write(text):
        (tmp_path / "data.yaml").write_text(text, encoding="utf-8")
        return tmp_path / "data.yaml"

    return write


def faults_of(location):
    with pytest.raises(DataError) as error:
        read_layout(location)
    return [(fault.kind, fault.value) for fault in error.value.faults]


def test_a_folder_needs_nothing_but_the_three_folders(data_yaml, tmp_path):
    layout = read_layout(tmp_path)
    assert (layout.before, layout.labels) == (tmp_path / "before", tmp_path / "labels")
    assert layout.names is None and layout.lists is None


@pytest.mark.parametrize("place", ["classes.txt", "labels/classes.txt"])
def test_names_are_read_from_classes_txt_wherever_tools_leave_it(data_yaml, tmp_path, place):
    (tmp_path / place).write_bytes(b"\xef\xbb\xbfperson\r\nparked car \r\n\r\n")
    assert read_layout(tmp_path).names == ("person", "parked car")


@pytest.mark.parametrize("names", ["[person, car]", "{0: person, 1: car}", "{1: car, 0: person}"])
def test_names_are_a_list_or_a_mapping_from_class_id(data_yaml, names):
    assert read_layout(data_yaml(f"names: {names}")).names == ("person", "car")


def test_paths_are_relative_to_the_file_and_to_path(data_yaml, tmp_path):
    for folder in ("first", "second", "boxes"):
        (tmp_path / "images" / folder).mkdir(parents=True)
    layout = read_layout(data_yaml("path: images\nbefore: first\nafter: second\nlabels: boxes\n"))
    assert layout.before == tmp_path / "images" / "first"
    assert layout.labels == tmp_path / "images" / "boxes"


def test_lists_of_a_data_yaml_are_ids_or_files_of_ids(data_yaml, tmp_path):
    (tmp_path / "mine.txt").write_text("a\n\nb\n")
    train, val = read_layout(data_yaml("train: mine.txt\nval: [c, d/e]\n")).lists
    assert train.entries == ((1, "a"), (3, "b"))
    assert val.entries == ((None, "c"), (None, "d/e"))


@pytest.mark.parametrize(
    ("text", "kind", "value"),
    [
        ("classes: 3", "unknown key", "classes"),
        ("nc: 3\nnames: [a, b]", "wrong value", "nc: 3"),
        ("nc: 1000000000000", "wrong value", "nc: 1000000000000"),
        ("nc: yes", "wrong value", "nc: True"),
        ("names: person", "wrong value", "names: 'person'"),
        ("names: {0: a, 2: b}", "wrong value", "names: {0: 'a', 2: 'b'}"),
        ("names: [yes, no]", "wrong value", "names: [True, False]"),
        ("names: []", "no names", ""),
        ("names: [a, b, a]", "repeated name", "a"),
        ("names: [a, '']", "empty name", "class id 1"),
        ("val_ratio: 1.0", "wrong value", "val_ratio: 1.0"),
        ("val_ratio: .nan", "wrong value", "val_ratio: nan"),
        ("seed: -1", "wrong value", "seed: -1"),
        ("seed: true", "wrong value", "seed: True"),
        ("before: 3", "wrong value", "before: 3"),
        ("train: [a]", "wrong value", "val: None"),
        ("train: [0001]\nval: [b]", "wrong value", "train: [1]"),
        ("train: [a]\nval: [b]\nseed: 3", "wrong value", "val_ratio, seed: 'beside train, val'"),
        ("names: {no: a, yes: b}", "wrong value", "names: {False: 'a', True: 'b'}"),
        ('names: [a, "b\\e[2J"]', "name that cannot be shown", "'b\\x1b[2J'"),
        ("names: [a, b]\nnames: [b, a]", "not readable as YAML", "line 2: the key 'names' is there twice"),
        ("before: ../before", "path outside the data folder", "before: '../before'"),
        ("labels: labels/../../labels", "path outside the data folder", "labels: 'labels/../../labels'"),
        ("after: /etc", "path outside the data folder", "after: '/etc'"),
        ("path: ~nobody-of-that-name/x", "wrong value", "path: '~nobody-of-that-name/x'"),
        ("path: [a]", "wrong value", "path: ['a']"),
        ("- a\n- b", "wrong value", "the file: ['a', 'b']"),
    ],
)
def test_what_a_data_yaml_cannot_say_is_named(data_yaml, text, kind, value):
    assert faults_of(data_yaml(text)) == [(kind, value)]


@pytest.mark.parametrize("place", ["/etc/hostname", "../train.txt"])
def test_a_list_outside_the_data_folder_is_refused(data_yaml, place):
    found = faults_of(data_yaml(f"train: {place}\nval: [a]\n"))
    assert found == [("path outside the data folder", f"train: '{place}'")]


def test_path_may_lead_to_a_data_folder_anywhere(data_yaml, tmp_path):
    (tmp_path / "elsewhere").mkdir()
    file = data_yaml("").rename(tmp_path / "elsewhere" / "data.yaml")
    for path in ("..", tmp_path):
        file.write_text(f"path: {path}\n")
        assert read_layout(file).before.resolve() == tmp_path / "before"


@pytest.mark.parametrize("name", ["x" * 300, r"a\0b", r"\ud800"])
def test_a_path_that_no_file_can_have_is_a_fault(data_yaml, name):
    for text in (f'before: "{name}"', f'path: "{name}"', f'train: "{name}"\nval: [a]'):
        assert len(faults_of(data_yaml(text))) >= 1
    assert faults_of(data_yaml("").parent / ("x" * 300)) == [("unusable path", "File name too long")]


def test_a_value_of_billions_is_told_in_a_line(data_yaml):
    laughs = "".join(f"- &a{level} [{', '.join([f'*a{level - 1}'] * 9)}]\n" for level in range(1, 31))
    ((kind, value),) = faults_of(data_yaml(f"- &a0 lol\n{laughs}"))
    assert kind == "not readable as YAML" and "aliases repeat" in value


def test_all_faults_of_a_data_yaml_are_told_together(data_yaml):
    faults = faults_of(data_yaml("classes: 3\nseed: x\nval_ratio: 2\nlabels: [1]\ntrain: 3\nnames: [a]\nnc: 2\n"))
    values = [value for _, value in faults]
    assert sorted(values) == sorted(
        [
            *("classes", "seed: 'x'", "val_ratio: 2", "labels: [1]", "train: 3", "val: None", "nc: 2"),
            "val_ratio, seed: 'beside train, val'",
        ]
    )


@pytest.mark.parametrize("text", ["a: [", "!!python/object/apply:os.getcwd []", "\x00"])
def test_a_data_yaml_is_never_run_and_never_half_read(data_yaml, text):
    assert [kind for kind, _ in faults_of(data_yaml(text))] == ["not readable as YAML"]


def test_missing_folders_are_named_all_at_once(tmp_path):
    assert [kind for kind, _ in faults_of(tmp_path)] == ["missing folder"] * 3


def test_one_list_without_the_other_is_a_fault(data_yaml, tmp_path):
    (tmp_path / "train.txt").write_text("a\n")
    assert [kind for kind, _ in faults_of(tmp_path)] == ["missing list"]
