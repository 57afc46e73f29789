import csv
import pickle

from trainable.data.faults import DataError, Fault, write_report


def test_the_message_counts_by_kind_and_names_file_line_value_and_what_to_do():
    faults = [
        Fault("not a number", "a.txt", 3, "x", "write a number"),
        Fault("missing before", "b.txt", None, "", "add"),
    ]
    message = str(DataError([*faults, faults[0]]))
    assert "3 fault(s)" in message
    assert "2 x not a number" in message
    assert "1 x missing before" in message
    assert "a.txt:3: not a number (met: x); write a number" in message
    assert "b.txt: missing before; add" in message


def test_a_long_report_is_cut_and_says_how_much_is_left():
    message = str(DataError(Fault("not a number", "a.txt", line, "x", "fix") for line in range(1, 61)))
    assert "a.txt:50:" in message
    assert "a.txt:51:" not in message
    assert "... and 10 more in data_report.csv" in message


def test_a_fault_stays_on_one_line_whatever_the_file_is_called():
    message = str(Fault("not a number", "two\nlines\udc80.txt", 1, "\x1b[31m", "fix"))
    assert message.isprintable()
    assert "two\\nlines\\udc80.txt" in message


def test_the_error_reaches_another_process_with_its_faults():
    error = DataError([Fault("not a number", "a.txt", 3, "x", "write a number")])
    again = pickle.loads(pickle.dumps(error))
    assert again.faults == error.faults
    assert str(again) == str(error)


def test_the_report_holds_every_fault_and_no_formula(tmp_path):
    faults = [
        Fault("not a number", "=cmd().txt", 3, '+1,"x"', "fix"),
        Fault("missing before", "\udc80", None, "", "add"),
    ]
    write_report(faults, tmp_path / "data_report.csv")
    with (tmp_path / "data_report.csv").open(newline="", encoding="utf-8") as file:
        rows = list(csv.reader(file))
    assert rows == [
        ["kind", "file", "line", "value", "advice"],
        ["not a number", "'=cmd().txt", "3", '\'+1,"x"', "fix"],
        ["missing before", "\\udc80", "", "", "add"],
    ]
