import pytest
import typer

from trainable.command_line import stop


@pytest.mark.parametrize("code", [2, 3])
def test_a_command_stops_with_its_code_and_the_message_as_it_is(capsys, code):
    message = "runs/[red]x[/bold]/pairs.csv: " + "is not there and " * 20
    with pytest.raises(typer.Exit) as stopped:
        stop(ValueError(message), code)
    assert stopped.value.exit_code == code
    assert capsys.readouterr() == ("", message + "\n")
