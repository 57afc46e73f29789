"""Killed while it trains its best recipes again, a search goes on from there, and nothing is trained twice."""

import json

from results.journal.events import Asked, Reported
from results.journal.journal import read_journal
from results.retrained import CONFIRM, FINAL, read_retrained
from tests.whole_search import assert_same_search

ASKED = ("--trials", 2, "--confirm", 1, "--confirm-seeds", 1, "--final-epochs", 8)


def retrained(run):
    """What was trained again: why, of which trial, and every epoch's loss."""
    return [(record.parameters, [row.val_loss for row in record.history]) for record in read_retrained(run)]


def test_killed_within_each_retraining_it_ends_as_the_unbroken_search(start, flags, storage):
    whole, run = storage / "confirmed", storage / "confirmed-killed"
    code, output = start(*flags, *ASKED, "--name", whole.name).wait()
    assert code == 0, output
    assert "trained again with 1 other seed" in output and "For 8 epochs, the recipe of trial" in output
    purposes = [parameters["purpose"] for parameters, _ in retrained(whole)]
    assert purposes in ([CONFIRM, CONFIRM, FINAL], [CONFIRM, FINAL]), "the reference may be the best"
    journal = run / "retrained" / "journal.jsonl"
    search = start(*flags, *ASKED, "--name", run.name)
    for number in range(len(purposes)):

        def has_begun(number=number):
            events = read_journal(journal) if journal.is_file() else []
            return any(isinstance(event, Reported) and event.trial == number for event in events)

        search.wait_for(has_begun, f"epoch of retraining {number}")
        search.kill()
        search = start("--resume", run)
    code, output = search.wait()
    assert code == 0, output
    assert_same_search(whole, run)
    assert retrained(run) == retrained(whole)
    assert sum(isinstance(event, Asked) for event in read_journal(journal)) == len(purposes)
    losses = [json.loads((each / "best" / "metrics.json").read_text())["val_loss"] for each in (whole, run)]
    assert losses[0] == losses[1]
