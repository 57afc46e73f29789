"""An option is described once: one more line in the class is one more flag, wherever options are written or read."""

import dataclasses
import shlex
import sys
from dataclasses import dataclass
from types import SimpleNamespace

import pytest
from typer.testing import CliRunner

from search.command import search_command
from search.command_line import command_line_of
from search.option import at_least, described
from search.options import MACHINE, Options, OptionsError


@dataclass(frozen=True)
class MoreOptions(Options):
    patience: int = MACHINE.changeable("Epochs without a gain before a trial ends", 7, at_least(1))


@pytest.fixture
def invoked(monkeypatch):
    """Runs the command line of the wider class; gives the result, and the options that it asked a search for."""
    asked = []
    driver = SimpleNamespace(run_search=lambda options, **how: asked.append(options) or 0)
    monkeypatch.setitem(sys.modules, "search.driver", driver)
    runner = CliRunner()

    def invoke(*words: str):
        result = runner.invoke(command_line_of(MoreOptions), words, env={"COLUMNS": "1000"})
        return result, asked.pop() if asked else None

    return invoke


def test_the_help_shows_a_new_option_in_its_panel(invoked):
    lines = invoked("--help")[0].output.splitlines()
    (line,) = [line for line in lines if "--patience" in line and "Epochs without a gain before a trial ends" in line]
    assert "<int>" in line and "[default: 7]" in line
    panels = [above for above in lines[: lines.index(line)] if above.startswith("╭─")]
    assert panels[-1].startswith(f"╭─ {MACHINE.title} ")


def test_a_new_option_is_taken_kept_and_repeated(invoked):
    result, options = invoked("--patience", "3")
    assert result.exit_code == 0 and options.patience == 3
    assert invoked()[1].patience == 7
    assert MoreOptions.from_dict(dataclasses.asdict(options)) == options
    again = invoked(*shlex.split(search_command(options))[2:])[1]
    assert again.patience == 3


def test_a_new_option_is_refused_by_its_rule_and_its_type(invoked):
    result, options = invoked("--patience", "0", "--trials", "0")
    assert (result.exit_code, options) == (2, None)
    assert result.stderr.split("\n")[:2] == ["--trials: at least 1, got 0", "--patience: at least 1, got 0"]
    plain = dataclasses.asdict(invoked()[1])
    with pytest.raises(OptionsError, match=r"^search\.yaml: patience: should be a valid integer, got 'long'$"):
        MoreOptions.from_dict(plain | {"patience": "long"})


def test_a_new_option_may_be_given_beside_resume(invoked, tmp_path):
    result, _ = invoked("--resume", str(tmp_path / "none"), "--patience", "3")
    assert result.exit_code == 2 and "cannot be read, so this is no run folder" in result.stderr
    (line,) = [line for line in invoked("--help")[0].output.splitlines() if "--resume " in line]
    assert "--patience" in line


def test_every_option_says_what_it_is():
    for field, option in described(Options):
        assert option.help[:1].isalnum() and not option.help.startswith("Of "), field.name
        assert isinstance(field.default, bool) == bool(option.switch), f"{field.name}: a truth value has a switch"
