"""What is done once changes no number: the same search with every saving, and with none, gives the same table."""

import pandas as pd
import pytest

from results.table import IGNORED, tables_agree

SPACE = """
from trainable.recipe import PARTS, Recipe, Stage

RUNGS = {"decoder": PARTS[2:], "encoder": PARTS[1:], "everything": PARTS}

def begun_alike(trial, max_epochs):
    '''The heads first, then one of three rungs.'''
    rung = trial.suggest_categorical("rung", list(RUNGS))
    heads = Stage("heads", PARTS[3:], trial.suggest_categorical("heads", [1, 2]), 3e-3)
    return Recipe((heads, Stage(rung, RUNGS[rung], max_epochs - 2, 1e-3)), accumulation_steps=2)
"""


@pytest.fixture(scope="module")
def run(start, tmp_path_factory, data_folder, checkpoint):
    """Runs the search with more flags; its run folder."""
    storage = tmp_path_factory.mktemp("runs")
    space = storage / "space.py"
    space.write_text(SPACE)

    def run(name, *flags):
        search = start(
            *("--space", f"{space}:begun_alike", "--data", data_folder, "--model", checkpoint, "--trials", 4),
            *("--max-epochs", 5, "--max-concurrent", 1, "--storage", storage, "--name", name, *flags),
        )
        code, output = search.wait()
        assert code == 0, output
        return storage / name

    return run


@pytest.fixture(scope="module")
def plain(run):
    """A process for every trial; every image decoded and every layer run each time."""
    return run("plain", "--no-reuse", "--no-cache", "--checkpoint-every", "0s")


def table_of(folder):
    return pd.read_parquet(folder / "results.parquet")


def history_of(folder):
    return pd.read_parquet(folder / "history.parquet").drop(columns=[*IGNORED, "reported"], errors="ignore")


def test_everything_done_once_leaves_every_bit(plain, run):
    saving = run("saving")
    assert tables_agree(table_of(plain), table_of(saving)) == []
    pd.testing.assert_frame_equal(history_of(plain), history_of(saving), check_exact=True)
    table = table_of(saving)
    assert table_of(plain)["pid"].nunique() == len(table) and table["pid"].nunique() == 1, "one process was reused"
