import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from trainable.data.annotations import EDGE_TOLERANCE, read_labels


@pytest.fixture
def read(tmp_path):
    def read(content, number_of_classes=3):
        path = tmp_path / "labels.txt"
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return read_labels(path, number_of_classes)

    return read


def test_boxes_are_read_in_the_order_of_the_file(read):
    labels, faults = read("2 0.5 0.25 0.1 0.2\n0 0.1 0.2 0.05 0.06\n")
    assert faults == []
    assert labels.class_ids == (2, 0)
    assert labels.boxes_cxcywh_normalised == ((0.5, 0.25, 0.1, 0.2), (0.1, 0.2, 0.05, 0.06))


@pytest.mark.parametrize("content", ["", "\n", "  \r\n\r\n", b"\xef\xbb\xbf"])
def test_an_empty_file_means_that_nothing_moved(read, content):
    labels, faults = read(content)
    assert faults == []
    assert labels.class_ids == labels.boxes_cxcywh_normalised == ()


def test_blank_lines_crlf_a_byte_order_mark_and_trailing_spaces_are_fine(read):
    labels, faults = read(b"\xef\xbb\xbf0 0.5 0.5 0.1 0.1  \r\n\r\n \t\r\n1\t0.2 0.2 0.1 0.1")
    assert faults == []
    assert labels.class_ids == (0, 1)


@pytest.mark.parametrize(
    ("line", "kind", "value"),
    [
        ("0 0.5 0.5 0.1", "too few fields", "0 0.5 0.5 0.1"),
        ("0 0.5 0.5 0.1 0.1 0.9", "too many fields", "0 0.5 0.5 0.1 0.1 0.9"),
        ("0 0.5 half 0.1 0.1", "not a number", "half"),
        ("0 0,5 0.5 0.1 0.1", "not a number", "0,5"),
        ("0 0_0.5 0.5 0.1 0.1", "not a number", "0_0.5"),
        ("0 0.5 0.5 nan 0.1", "NaN or infinity", "nan"),
        ("0 0.5 -inf 0.1 0.1", "NaN or infinity", "-inf"),
        ("person 0.5 0.5 0.1 0.1", "class id not an integer", "person"),
        ("1.0 0.5 0.5 0.1 0.1", "class id not an integer", "1.0"),
        ("3 0.5 0.5 0.1 0.1", "class id outside names", "3"),
        ("-1 0.5 0.5 0.1 0.1", "class id outside names", "-1"),
        ("0 320 0.5 0.1 0.1", "coordinate outside [0, 1]", "320"),
        ("0 0.5 0.5 0.1 1.01", "coordinate outside [0, 1]", "1.01"),
        ("0 0.5 0.5 0.0 0.1", "zero or negative size", "0.0"),
        ("0 0.5 0.5 0.1 -0.1", "zero or negative size", "-0.1"),
        ("0 0.98 0.5 0.1 0.1", "box beyond the edge", "x from 0.93 to 1.03"),
        ("0 0.5 0.04 0.1 0.1", "box beyond the edge", "y from -0.01 to 0.09"),
        ("0 0.5 1.0005 0.1 0.0002", "zero or negative size", "y from 1.0004 to 1.0006"),
    ],
)
def test_a_broken_line_is_named_and_the_others_are_kept(read, line, kind, value):
    labels, faults = read(f"1 0.3 0.3 0.1 0.1\n\n{line}\n2 0.7 0.7 0.1 0.1\n")
    assert [(fault.kind, fault.line, fault.value) for fault in faults] == [(kind, 3, value)]
    assert faults[0].file.endswith("labels.txt")
    assert faults[0].advice
    assert labels.class_ids == (1, 2)


def test_a_repeated_line_is_named_even_if_written_differently(read):
    labels, faults = read("0 0.5 0.5 0.1 0.1\n1 0.5 0.5 0.1 0.1\n0 0.50 .5 0.1 1e-1\n")
    assert [(fault.kind, fault.line) for fault in faults] == [("repeated line", 3)]
    assert "line 1" in faults[0].advice
    assert labels.class_ids == (0, 1)


def test_all_faults_of_a_file_and_of_a_line_are_told_together(read):
    _, faults = read("9 x 0.5 nan 0.1\n0 0.5\n0 0.99 0.99 0.1 0.1")
    assert [(fault.line, fault.kind) for fault in faults] == [
        (1, "class id outside names"),
        (1, "not a number"),
        (1, "NaN or infinity"),
        (2, "too few fields"),
        (3, "box beyond the edge"),
        (3, "box beyond the edge"),
    ]


def test_a_file_that_is_not_utf8_is_named_with_line_and_byte(read):
    labels, faults = read(b"0 0.5 0.5 0.1 0.1\n0 0.5 0.5 0.1 0.2 \xe9\n")
    assert [(fault.kind, fault.line, fault.value) for fault in faults] == [("not UTF-8", 2, "byte 0xe9")]
    assert labels.class_ids == ()


@pytest.mark.parametrize("content", [b"\xef", b"\xef\xbb"])
def test_a_byte_order_mark_that_was_cut_off_is_no_empty_file(read, content):
    _, faults = read(content)
    assert [(fault.kind, fault.value) for fault in faults] == [("not UTF-8", "byte 0xef")]


def test_a_box_that_reaches_over_the_edge_by_a_rounding_error_is_clipped(read):
    labels, faults = read("0 0.9504 0.5 0.1 1.0004\n")
    assert faults == []
    assert labels.boxes_cxcywh_normalised[0] == pytest.approx((0.9502, 0.5, 0.0996, 1.0))


def test_without_names_any_class_id_counts_but_a_stray_number_is_named(read):
    labels, faults = read("7 0.5 0.5 0.1 0.1\n123456 0.5 0.5 0.1 0.1\n", number_of_classes=None)
    assert labels.class_ids == (7,)
    assert [(fault.kind, fault.value) for fault in faults] == [("class id outside names", "123456")]


FIELD = st.sampled_from(
    ["0", "1", "2.0", "-0", "0.5", "0.9996", "1.0004", "1e-9", "nan", "1e999", "-0.1", "x", "٣", ""]
)
LINE = st.lists(FIELD, min_size=3, max_size=7).map(" ".join)


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(text=st.one_of(st.text(), st.lists(LINE).map("\n".join)))
def test_whatever_a_file_holds_every_line_is_a_box_or_is_named(read, text):
    labels, faults = read(text.encode("utf-8", "surrogatepass"))
    if any(fault.kind == "not UTF-8" for fault in faults):
        return
    lines = text.removeprefix("\ufeff").replace("\r\n", "\n").replace("\r", "\n").split("\n")
    written = {number for number, line in enumerate(lines, start=1) if line.split()}
    named = {fault.line for fault in faults}
    assert named <= written
    assert len(labels.class_ids) == len(labels.boxes_cxcywh_normalised) == len(written - named)
    for cx, cy, width, height in labels.boxes_cxcywh_normalised:
        assert width > 0 and height > 0
        assert cx - width / 2 >= -1e-12 and cx + width / 2 <= 1 + 1e-12
        assert cy - height / 2 >= -1e-12 and cy + height / 2 <= 1 + 1e-12


@given(
    cx=st.floats(0, 1),
    cy=st.floats(0, 1),
    width=st.floats(1e-6, 1),
    height=st.floats(1e-6, 1),
    class_id=st.integers(0, 2),
)
@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_a_box_counts_exactly_when_it_lies_within_the_image_and_its_tolerance(read, cx, cy, width, height, class_id):
    labels, _ = read(f"{class_id} {cx!r} {cy!r} {width!r} {height!r}")
    edges = cx - width / 2, cy - height / 2, 1 - cx - width / 2, 1 - cy - height / 2
    if min(edges) > 1e-9:
        assert labels.boxes_cxcywh_normalised == ((cx, cy, width, height),)
    elif min(edges) < -EDGE_TOLERANCE - 1e-9:
        assert labels.boxes_cxcywh_normalised == ()


def test_a_segment_stands_for_the_box_around_it(tmp_path):
    file = tmp_path / "a.txt"
    file.write_text("1 0.2 0.3 0.6 0.35 0.4 0.7 0.25 0.5 0.2 0.4\n")
    labels, faults = read_labels(file, 2)
    assert not faults and labels.class_ids == (1,)
    assert labels.boxes_cxcywh_normalised[0] == pytest.approx((0.4, 0.5, 0.4, 0.4))
    file.write_text("1 0.2 0.3 0.6 0.35 1.4 0.7\n0 0.2 0.2 0.4 0.2 0.3 0.2\n")
    _, faults = read_labels(file, 2)
    assert [(fault.line, fault.kind) for fault in faults] == [
        (1, "coordinate outside [0, 1]"),
        (2, "zero or negative size"),
    ]


def test_an_oriented_box_is_refused_by_its_name(tmp_path):
    (tmp_path / "a.txt").write_text("1 0.2 0.3 0.6 0.35 0.6 0.5 0.2 0.45\n")
    _, (fault,) = read_labels(tmp_path / "a.txt", 2)
    assert fault.kind == "oriented box" and "upright" in fault.advice
