"""The command line as such: help that can be pasted, mistakes in plain words, tables that fit a terminal."""

import fcntl
import json
import os
import pty
import shlex
import signal
import struct
import subprocess
import sys
import termios
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer.main

from clarion.ledger.database import Database
from clarion.ledger.runs import NewRun, create_run
from clarion.ledger.tables import RUN
from cli.main import MODULES, build_app
from tests.acceptance.campaigns import write_job, write_people
from tests.acceptance.conftest import Command
from tests.acceptance.installations import CLARION

FOREIGN_WORDS = ("Input should", "Value error", "Invalid value", "No such option", "Traceback", "validation")


def leaves(group: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any]]:
    """Every command with its path, those of groups included."""
    for name, command in group.commands.items():
        if hasattr(command, "commands"):
            yield from leaves(command, (*path, name))
        else:
            yield (*path, name), command


APP = typer.main.get_command(build_app())
COMMANDS = dict(leaves(APP))


def test_every_module_has_its_commands_in_the_help():
    """No command is left out of what these tests walk through."""
    assert {path[0] for path in COMMANDS} == set(MODULES)


@pytest.mark.parametrize("path", COMMANDS, ids=" ".join)
def test_every_command_shows_an_example_that_can_be_pasted(
    path: tuple[str, ...], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
):
    """On lines of their own, however narrow the terminal; each is a call of the command itself."""
    monkeypatch.setenv("COLUMNS", "60")
    with pytest.raises(SystemExit) as ended:
        APP([*path, "--help"], prog_name="clarion")
    assert ended.value.code == 0
    lines = [line.strip() for line in capsys.readouterr().out.splitlines()]
    examples = [shlex.split(line) for line in lines if line.startswith("clarion ")]
    assert examples
    known = {name for parameter in COMMANDS[path].params for name in parameter.opts}
    for example in examples:
        assert tuple(example[1 : 1 + len(path)]) == path
        assert {word for word in example if word.startswith("--")} <= known


def test_group_without_a_command_shows_its_commands(clarion: Command):
    """`clarion`, and a group alone, are answered with their help."""
    for arguments, told in (((), "preview"), (("blocks",), "register")):
        outcome = clarion(*arguments)
        assert outcome.code == 2
        assert "Commands:" in outcome.out
        assert told in outcome.out


def test_version_is_a_plain_flag(clarion: Command):
    """There is no --no-version."""
    assert clarion("--version").out.startswith("clarion ")
    assert "--no-version" not in clarion("--help").out
    assert clarion("--no-version").code == 2


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("rusn",), "there is no command 'rusn'; expected one of preview, run,"),
        (("previw", "job.yaml"), "(did you mean 'preview'?)"),
        (
            ("blocks", "lst"),
            "blocks: there is no command 'lst'; expected one of register, list (did you mean",
        ),
        (("run", "job.yaml", "--limt", "3"), "run: there is no option --limt;"),
        (("run", "job.yaml", "--limt", "3"), "(did you mean '--limit'?)"),
        (("run",), "run: JOB is missing"),
        (("test", "job.yaml"), "test: --to is missing"),
        (("run", "job.yaml", "more"), "run: more is too much"),
        (("run", "job.yaml", "--limit", "many"), "--limit: is not valid; expected a whole number"),
        (("run", "job.yaml", "--limit", "0"), "--limit: is not valid; expected at least 1"),
        (("demo", "--contacts", "1000000"), "--contacts: is not valid; expected at most 100000"),
        (("items", "last", "--format", "tabel"), "(did you mean 'table'?)"),
        (("runs", "--job"), "--job needs a value"),
        (("runs", "--watch", "--json"), "--watch: goes not with --json"),
        (("run", ""), "JOB: is empty"),
        (
            ("run", "."),
            "JOB: '.' is a folder; expected a job file (YAML or JSON), or the name of a saved job",
        ),
        (("run", "."), "(did you mean 'job.json'?)"),
        (("run", "jbo.json"), "jbo.json: no file 'jbo.json' in . (did you mean 'job.json'?)"),
        (("preview", "nosuch.yaml"), "nosuch.yaml: no file 'nosuch.yaml' in ."),
        (("run", "job"), "JOB: no block job/job is saved"),
        (("run", "job"), "(did you mean 'job.json'?)"),
    ],
)
def test_mistakes_are_told_in_plain_words(
    clarion: Command, home: Path, arguments: tuple[str, ...], told: str
):
    """One line, exit code 2, the nearest name, and nothing in the words of the libraries below."""
    write_people(home, 1)
    write_job(home)
    outcome = clarion(*arguments)
    assert (outcome.code, outcome.out) == (2, "")
    assert told in outcome.err
    assert len(outcome.err.splitlines()) == 1
    assert not [word for word in FOREIGN_WORDS if word in outcome.err]


VALUES = [
    (path, parameter.opts[0])
    for path, command in COMMANDS.items()
    for parameter in command.params
    if parameter.param_type_name == "option" and not getattr(parameter, "is_flag", False)
]


@pytest.mark.parametrize("value", ["zzz", "-99999999"])
@pytest.mark.parametrize(("path", "option"), VALUES, ids=str)
def test_no_option_answers_in_the_words_of_a_library(
    path: tuple[str, ...], option: str, value: str, capsys: pytest.CaptureFixture[str]
):
    """A wrong value of any option of any command is told as what was expected."""
    from cli.usage import UsageError, mistake

    # Where the value is taken, what else the command needs is missing, or the last option is no option.
    context = APP.make_context("clarion", [*path, f"{option}={value}", "--no-such-option"])
    with pytest.raises(UsageError) as caught:
        APP.invoke(context)
    message = mistake(caught.value).message
    assert not [word for word in FOREIGN_WORDS if word in message]
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"matchng": "all"}, "job.json: matchng: unknown key"),
        ({"matching": 7}, "job.json: matching: 7 is not valid"),
        ({"recipient": {"value": "{{ item.phone", "type": "phone"}}, "job.json: recipient.value: "),
        ({"recipient": "{{ item.fone }}"}, "job.json: recipient.value: "),
        ({"segments": [{"name": "a", "action": "send-sms", "condition": "item.plann == 1",
                        "template": {"message": "x"}}]},
         "job.json: segments[0].condition: "),
        ({"segments": [{"name": "a", "action": "nothing"}]}, "job.json: segments[0].action: "),
    ],
)  # fmt: skip
@pytest.mark.parametrize("command", ["preview", "run"])
def test_errors_about_keys_of_a_job_file_name_the_file(
    clarion: Command, home: Path, command: str, changes: dict[str, Any], told: str
):
    """Whatever finds them: reading, compiling, or the attributes of the list."""
    write_people(home, 2)
    outcome = clarion(command, write_job(home, **changes).name)
    assert outcome.code == 2
    assert told in outcome.err
    assert not [word for word in FOREIGN_WORDS if word in outcome.err]


def test_several_mistakes_name_the_file_each(clarion: Command, home: Path):
    """All are told at once, so that a person mends them at once."""
    write_people(home, 2)
    outcome = clarion("preview", write_job(home, matching="al", tag=["x"]).name)
    lines = outcome.err.strip().splitlines()
    assert len(lines) == 2
    assert all("job.json: " in line for line in lines)


@pytest.fixture
def runs(ledger: Database) -> list[str]:
    """The ids of runs with long names, one of them interrupted after a million items."""
    uids = []
    for job, kind, counts in (
        (
            "renewals-of-the-gold-plan-in-spring",
            "run",
            {"total": 1_000_000, "pending": 10, "failed": 999_990},
        ),
        ("hello", "rehearsal", {"total": 3, "succeeded": 3}),
        ("hello", "test", {}),
    ):
        run = create_run(
            ledger, NewRun(job_name=job, job="{}", base=".", kind=kind, name="x" * 40), alongside=True
        )
        uids.append(run.uid)
        with ledger.write() as connection:
            changed = RUN.update().where(RUN.c.id == run.id)
            connection.execute(changed.values(status="interrupted", **counts))
    return uids


@pytest.mark.parametrize("columns", [60, 80, 120, 200])
def test_runs_never_cut_an_id_or_a_status(
    clarion: Command, runs: list[str], monkeypatch: pytest.MonkeyPatch, columns: int
):
    """However narrow the terminal: names fold, counts that are nought everywhere are left out."""
    monkeypatch.setenv("COLUMNS", str(columns))
    printed = clarion("runs").out
    words = printed.split()
    assert [uid for uid in words if uid in runs] == runs[::-1]
    assert words.count("interrupted") == 3
    assert {"rehearsal", "test"} <= set(words)
    assert "999,990" in words
    assert "…" not in printed
    assert "unknown" not in words
    if columns >= 80:
        assert max(map(len, printed.splitlines())) <= columns


def test_runs_of_one_kind_and_without_names_show_no_columns_for_these(clarion: Command, ledger: Database):
    """What says nothing takes no room."""
    create_run(ledger, NewRun(job_name="hello", job="{}", base="."))
    assert clarion("runs").out.split()[:4] == ["run", "job", "status", "started"]


def terminal(columns: int) -> tuple[int, int]:
    """A pseudo terminal of that width."""
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
    return ours, theirs


def read_until(end: int, *, times: int, word: bytes) -> bytes:
    """What a terminal shows until a word has come so often, or nothing comes any more."""
    shown = b""
    while shown.count(word) < times:
        try:
            part = os.read(end, 65_536)
        except OSError:  # Linux tells so that the other end is closed
            break
        if not part:
            break
        shown += part
    return shown


def test_watched_runs_are_drawn_anew_until_ctrl_c(home: Path, runs: list[str]):
    """On a terminal the list comes again every second; Ctrl-C is no failure."""
    ours, theirs = terminal(120)
    watching = subprocess.Popen(
        [*CLARION, "runs", "--watch"],
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        cwd=home,
        start_new_session=True,
    )
    os.close(theirs)
    try:
        shown = read_until(ours, times=3, word=runs[0].encode())
        watching.send_signal(signal.SIGINT)
        read_until(ours, times=1, word=b"\0 never comes")
        assert watching.wait(timeout=30) == 0
    finally:
        watching.kill()
        watching.wait()
        os.close(ours)
    assert shown.count(runs[0].encode()) >= 3
    assert b"Traceback" not in shown


def test_core_commands_start_without_prefect():
    """Looking at the ledger does not wait for Prefect to be imported."""
    program = "import sys; sys.modules['prefect'] = None; import cli.reports, json; print(json.dumps('done'))"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert json.loads(done.stdout) == "done"
