"""The report of a running search: up to date, seldom, and never the end of the search."""

import pytest

import search.console.live_report
from search.console.live_report import LiveReport


@pytest.fixture
def clock(monkeypatch):
    """Time that passes only when it is told to."""
    now = [1000.0]
    monkeypatch.setattr(search.console.live_report.time, "monotonic", lambda: now[0])
    return now


@pytest.mark.parametrize(("cost", "pause"), [(0.1, 30), (3.0, 60)])
def test_it_is_written_at_most_every_30_seconds_and_in_a_twentieth_of_the_time(
    clock, monkeypatch, tmp_path, cost, pause
):
    def write(run, records, live):
        assert live
        clock[0] += cost

    monkeypatch.setattr(search.console.live_report, "write_report", write)
    report = LiveReport(tmp_path, print)
    assert report.follow([])
    clock[0] += pause - 0.5
    assert not report.follow([])
    clock[0] += 1
    assert report.follow([])


def test_an_error_in_the_report_is_said_in_one_line_and_the_search_goes_on(monkeypatch, tmp_path):
    def write(run, records, live):
        raise ZeroDivisionError("a chart\nof nothing")

    said: list[str] = []
    monkeypatch.setattr(search.console.live_report, "write_report", write)
    report = LiveReport(tmp_path, said.append)
    report.write([])
    assert said == [
        f"report.html cannot be made: ZeroDivisionError: a chart; try again later: python results/report.py {tmp_path}"
    ]
