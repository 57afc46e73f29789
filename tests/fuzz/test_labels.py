"""Whatever bytes a label file holds: every line is a box or is named, and nothing is raised."""

from fuzzing import WORDS, damaged, fuzz
from hypothesis import strategies as st

from trainable.data.annotations import read_labels

GOOD = (
    b"",
    b"0 0.5 0.5 0.25 0.5\n",
    b"0 0.5 0.5 0.25 0.5\r\n1 0.125 0.25 0.1 0.1\r\n\r\n2 0.9995 0.5 0.002 1.0005\r\n",
    "\ufeff1 .5 5e-1 0.1 1e-3 \n\n0\t0.2\t0.2\t0.1\t0.1".encode(),
    b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 12345\n",
    b"".join(b"%d 0.%d 0.5 0.01 0.01\n" % (index % 3, index) for index in range(10, 60)),
)
NUMBERS = st.sampled_from(["0", "1", "2", "0.5", "-0", "1.0005", "5e-324", "1e400", "nan", "0x1", "1_0", "٣", "+.5"])
LINES = st.lists(NUMBERS | st.floats().map(repr) | WORDS, min_size=4, max_size=6).map(" ".join)
FILES = (
    st.binary(max_size=80)
    | damaged(GOOD)
    | st.lists(LINES, max_size=5).map(lambda lines: "\n".join(lines).encode("utf-8", "surrogatepass"))
)
OF_THE_WHOLE_FILE = ("not UTF-8", "label file is a Git LFS pointer")
INNER = st.floats(0.3, 0.7)
SIZES = st.floats(1e-9, 0.6)
BOXES = st.lists(st.tuples(st.integers(0, 2), INNER, INNER, SIZES, SIZES), max_size=6, unique=True)
LINE_ENDS = st.sampled_from(["\n", "\r\n", "\r", " \n\n", "\t\n"])


def check(folder, given):
    content, number_of_classes = given
    path = folder / "labels.txt"
    path.write_bytes(content)
    labels, faults = read_labels(path, number_of_classes)
    for fault in faults:
        assert fault.file == str(path) and fault.kind and fault.advice
        assert str(fault).isprintable() and len(fault.value) <= 80
    assert len(labels.class_ids) == len(labels.boxes_cxcywh_normalised)
    assert all(0 <= class_id < (number_of_classes or 1000) for class_id in labels.class_ids)
    for centre_x, centre_y, width, height in labels.boxes_cxcywh_normalised:
        for centre, length in ((centre_x, width), (centre_y, height)):
            assert 0 < length <= 1 and centre - length / 2 >= -1e-12 and centre + length / 2 <= 1 + 1e-12
    if any(fault.kind in OF_THE_WHOLE_FILE for fault in faults):
        assert len(faults) == 1 and labels.class_ids == ()
        return
    lines = content.decode("utf-8-sig").replace("\r\n", "\n").replace("\r", "\n").split("\n")
    written = {number for number, line in enumerate(lines, start=1) if line.split()}
    assert {fault.line for fault in faults} <= written
    assert len(labels.class_ids) == len(written - {fault.line for fault in faults})


@fuzz(st.tuples(FILES, st.sampled_from([None, 1, 3])), examples=800)
def test_every_line_of_a_label_file_is_a_box_or_is_named(folder, given):
    check(folder, given)


@fuzz(st.tuples(BOXES, LINE_ENDS), examples=100)
def test_boxes_that_were_written_are_read_back_bit_for_bit(folder, given):
    boxes, line_end = given
    lines = (" ".join(map(repr, box)) + line_end for box in boxes)
    (folder / "labels.txt").write_bytes("".join(lines).encode())
    labels, faults = read_labels(folder / "labels.txt", 3)
    assert faults == []
    assert [(c, *box) for c, box in zip(labels.class_ids, labels.boxes_cxcywh_normalised, strict=True)] == boxes
