"""A table in Markdown stays a table, whatever its texts hold."""

from results.markdown import markdown_table


def test_a_table_has_a_line_a_row():
    assert markdown_table(("name", "mAP"), [("car", 0.5), ("bike", "–")]) == (
        "| name | mAP |\n| --- | --- |\n| car | 0.5 |\n| bike | – |\n"
    )


def test_no_text_leaves_its_cell_or_is_taken_for_html():
    hostile = "a | b\n\n# c <img src=x>"
    assert markdown_table(("name",), [(hostile,)]).splitlines()[2:] == [r"| a \| b # c &lt;img src=x&gt; |"]
