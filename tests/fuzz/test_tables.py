"""Whatever a journal holds: the tables of its trials, or one `JournalError` that names the file, line and rule."""

import json
from html.parser import HTMLParser

import pandas as pd
from fuzzing import damaged, fuzz
from hypothesis import strategies as st
from journals import JOURNALS

from results.export import export
from results.journal.events import JournalError, to_dict
from results.journal.journal import Journal, read_journal, trial_records
from results.prediction.image_pairs import pairs_of_csv
from results.table import tables_agree, trial_table
from trainable.data.faults import DataError

FORMATS = st.sampled_from(["csv", "json", "md", "html", "parquet"])
PAGE_TAGS = {"html", "head", "meta", "title", "style", "body", "table", "thead", "tbody", "tr", "th", "td"}
PAIR_LISTS = (b"before,after\na.png,b.png\nc.png,../d.png\n", b'after,before,x\n"a\nb",c,d\n')


def check(folder, given):
    content, kind = given
    journal = folder / "journal.jsonl"
    journal.write_bytes(content)
    try:
        (path,) = export(folder, [kind], None, folder)
    except JournalError as error:
        assert str(error).startswith(f"{journal}, line ") and str(error).isprintable()
        return
    table = trial_table(trial_records(read_journal(journal)))
    if kind == "parquet":
        assert tables_agree(pd.read_parquet(path), table) == []
        return
    text = path.read_text(encoding="utf-8")
    if kind == "json":
        rows = json.loads(text, parse_constant=lambda name: 1 / 0)
        assert [row["error"] for row in rows] == [None if pd.isna(error) else error for error in table["error"]]
    elif kind == "html":
        assert _tags(text) <= PAGE_TAGS
    assert all(line.isprintable() for line in text.split("\n"))


@fuzz(st.tuples(JOURNALS, FORMATS), examples=300)
def test_a_journal_gives_the_tables_of_its_trials_or_its_first_fault(folder, given):
    check(folder, given)


@fuzz(JOURNALS)
def test_a_search_goes_on_with_a_sound_journal_and_leaves_a_damaged_one_as_it_is(folder, content):
    path = folder / "journal.jsonl"
    path.write_bytes(content)
    try:
        journal = Journal(path)
    except JournalError as error:
        assert "journal.jsonl, line " in str(error)
        assert path.read_bytes() == content
        return
    assert path.read_bytes() == content[: content.rfind(b"\n") + 1], "only a torn last line is cut off"
    journal.close()
    for event, line in zip(journal.events, path.read_bytes().split(b"\n")[:-1], strict=True):
        kept, said = to_dict(event), json.loads(line)
        assert _holds(kept, {name: value for name, value in said.items() if name in kept})


@fuzz(st.binary(max_size=60) | damaged(PAIR_LISTS))
def test_a_list_of_pairs_names_every_row_that_is_none(folder, content):
    (folder / "pairs.csv").write_bytes(content)
    try:
        pairs, faults = pairs_of_csv(folder / "pairs.csv")
    except DataError as error:
        pairs, faults = [], list(error.faults)
    assert pairs == [] and faults
    for fault in faults:
        assert fault.kind and fault.advice and str(fault).isprintable()


def _holds(kept, said):
    """Whether all that a line said was kept, and nothing of it changed; defaults may have joined it."""
    if isinstance(said, dict) and isinstance(kept, dict):
        return all(_holds(kept.get(name), value) for name, value in said.items())
    if isinstance(said, list) and isinstance(kept, list):
        return len(kept) == len(said) and all(map(_holds, kept, said))
    return kept == said or (kept != kept and said != said)


def _tags(text):
    met = set()
    parser = HTMLParser()
    parser.handle_starttag = lambda tag, attributes: met.add(tag)
    parser.feed(text)
    return met
