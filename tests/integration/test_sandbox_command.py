import json
import signal
import subprocess
import sys

import httpx
import pytest
import typer
from typer.testing import CliRunner

from clarion.errors import InputErrors, SettingError
from clarion.sandbox import Sandbox
from cli.sandbox import register

PROGRAM = "import typer; from cli.sandbox import register; app = typer.Typer(); register(app); app()"


def application() -> typer.Typer:
    """The command alone."""
    app = typer.Typer()
    register(app)
    return app


def run_until_signal(*options: str, number: signal.Signals) -> tuple[list[str], int]:
    """Start the command, send one message, end it by a signal; its lines and its exit code."""
    command = [sys.executable, "-c", PROGRAM, "--port", "0", *options]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout
        first = process.stdout.readline()
        url = json.loads(first)["url"] if "--json" in options else first.split()[1]
        httpx.post(f"{url}/v1/messages", json={"to": "a"}, trust_env=False).raise_for_status()
        process.send_signal(number)
        # Not communicate(): it would skip the lines that readline() has already buffered.
        rest = process.stdout.read()
    return [first.rstrip("\n"), *rest.splitlines()], process.returncode


def test_sandbox_command_tells_where_it_is_and_what_came():
    """Ctrl-C ends it with a summary and exit code 0."""
    lines, code = run_until_signal("--latency-ms", "1", "--throttle", "5", number=signal.SIGINT)
    assert code == 0
    assert lines[0].startswith("Sandbox    http://127.0.0.1:")
    assert lines[1] == "Behaviour  1 ms latency, at most 5 requests a second"
    assert "/_sandbox/stats" in lines[2]
    assert lines[-1].startswith("1 requests: 1 accepted for 1 recipients (0 of them more than once)")


def test_sandbox_command_speaks_json():
    """One line with the URL at the start, one with the counts at the end, on SIGTERM too."""
    lines, code = run_until_signal("--json", "--seed", "3", number=signal.SIGTERM)
    assert code == 0
    start, end = map(json.loads, lines)
    assert start["behaviour"]["seed"] == 3
    assert (end["requests"], end["accepted"], end["recipients"], end["duplicates"]) == (1, 1, 1, 0)


def test_sandbox_command_port_in_use_is_a_mistake_of_the_person():
    """A taken port is an input error, which the command line turns into one line and exit code 2."""
    with Sandbox() as running:
        result = CliRunner().invoke(application(), ["--port", str(httpx.URL(running.url).port)])
    assert isinstance(result.exception, SettingError)
    assert "address already in use; expected a free port" in str(result.exception)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--reject", "2"], "--reject: 2.0 is not allowed; expected less than or equal to 1"),
        (["--latency-ms", "-5"], "--latency-ms: -5.0 is not allowed; expected greater than or equal to 0"),
        (["--drop", "nan"], "--drop: nan is not allowed; expected a finite number"),
    ],
)
def test_sandbox_command_value_out_of_bounds_names_the_option(options: list[str], message: str):
    """The message has the option as it was typed."""
    result = CliRunner().invoke(application(), options)
    assert isinstance(result.exception, SettingError)
    assert str(result.exception) == message


def test_sandbox_command_tells_all_mistakes_at_once():
    """Two bad values are two lines."""
    result = CliRunner().invoke(application(), ["--error", "7", "--throttle", "0"])
    assert isinstance(result.exception, InputErrors)
    assert [problem.where for problem in result.exception.problems] == ["--throttle", "--error"]


def test_sandbox_command_help_has_an_example():
    """The help shows a command to paste."""
    result = CliRunner().invoke(application(), ["--help"])
    assert result.exit_code == 0
    assert "clarion sandbox --reject 0.02 --throttle 30" in result.stdout
