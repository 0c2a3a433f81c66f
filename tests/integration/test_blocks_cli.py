"""The commands that save things in Prefect, on a real server."""

import json
import os
import pty
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import typer
from prefect.settings import PREFECT_API_URL
from typer.testing import CliRunner

from blocks.credentials import load_credentials
from blocks.http_action import load_action
from blocks.job import load_job
from blocks.registry import ALL_BLOCKS
from clarion.errors import InputError, JobError
from clarion.jobfile import load_job as read_job
from clarion.models.credentials import ApiKey, BasicAuth, BearerToken, VonageApplication
from cli.blocks import register

SECRET = "s3cret-value-0815"

ACTION = """
channel: sms
command: {method: POST, url: "http://127.0.0.1:9/v1/messages", payload: {to: "{{ recipient }}"}}
credentials: bearer-token/main
"""

JOB = """
name: Spring Sale
recipients: {include: [{file: lists/customers.csv}, {file: "s3://bucket/more.csv"}]}
recipient: "{{ item.phone }}"
segments:
  - name: all
    action: http-action/spring-sms
    template: {html: {file: offer.html}, subject: "{{ item.name }}"}
"""

Clarion = Callable[..., Any]


@pytest.fixture
def clarion(prefect_server: None) -> Clarion:
    """Runs `clarion` with arguments and `--json`; gives what it printed, raises what it raises."""

    def run(*arguments: str, stdin: str | None = None, env: dict[str, str] | None = None) -> Any:
        app = typer.Typer()
        register(app)
        result = CliRunner(env=env).invoke(app, [*arguments, "--json"], input=stdin, catch_exceptions=False)
        assert result.exit_code == 0, result.output
        return json.loads(result.stdout)

    return run


def test_blocks_register_names_all_types(clarion: Clarion):
    """One command makes everything known to the UI."""
    assert clarion("blocks", "register") == {
        "registered": [block.get_block_type_slug() for block in ALL_BLOCKS]
    }


def test_blocks_list_names_what_is_saved(clarion: Clarion):
    """What was saved is listed by the reference that files use, without its secrets."""
    clarion(
        "credentials",
        "save",
        "bearer-token/listed",
        "--stdin",
        "--replace",
        stdin=json.dumps({"token": SECRET}),
    )
    listed = clarion("blocks", "list")
    assert "bearer-token/listed" in listed["saved"]
    assert SECRET not in str(listed)


def test_credentials_save_reads_variables(clarion: Clarion):
    """Secrets come from the environment by the names of its variables."""
    saved = clarion(
        "credentials", "save", "basic-auth/from-env", "--set", "username=acme", "--env", "password=PASSWORD",
        env={"PASSWORD": SECRET},
    )  # fmt: skip
    assert saved == {"saved": "basic-auth/from-env", "new": True}
    loaded = load_credentials("basic-auth/from-env")
    assert isinstance(loaded, BasicAuth)
    assert (loaded.username, loaded.password.get_secret_value()) == ("acme", SECRET)


def test_credentials_save_reads_the_fields_of_an_api_key(clarion: Clarion):
    """Each variable is one field of the request; the place is an argument."""
    clarion(
        "credentials", "save", "api-key/legacy", "--set", "location=body",
        "--env", "api_key=KEY", "--env", "api_secret=SECRET_",
        env={"KEY": "abcd1234", "SECRET_": SECRET},
    )  # fmt: skip
    loaded = load_credentials("api-key/legacy")
    assert isinstance(loaded, ApiKey)
    assert loaded.location == "body"
    assert {name: value.get_secret_value() for name, value in loaded.fields.items()} == {
        "api_key": "abcd1234",
        "api_secret": SECRET,
    }


def test_credentials_save_reads_a_private_key_file(clarion: Clarion, tmp_path: Path):
    """The file that a provider gives for download is taken as it is; numbers may be arguments."""
    dummy = VonageApplication.dummy()
    file = tmp_path / "private.key"
    file.write_text(dummy.private_key.get_secret_value())
    clarion(
        "credentials", "save", "vonage-application/from-file", "--private-key-file", str(file),
        "--set", f"application_id={dummy.application_id}", "--set", "lifetime_seconds=300",
    )  # fmt: skip
    assert load_credentials("vonage-application/from-file") == VonageApplication(
        application_id=dummy.application_id, private_key=dummy.private_key, lifetime_seconds=300
    )


def test_credentials_save_keeps_what_is_saved_unless_told(clarion: Clarion):
    """Rotating a secret takes --replace; a slip of the name does not lose one."""
    first, second = json.dumps({"token": "first"}), json.dumps({"token": "second"})
    arguments = ("credentials", "save", "bearer-token/rotated", "--stdin")
    clarion(*arguments, stdin=first)
    with pytest.raises(JobError, match="bearer-token/rotated is saved already"):
        clarion(*arguments, stdin=second)
    assert clarion(*arguments, "--replace", stdin=second) == {"saved": "bearer-token/rotated", "new": False}
    assert "second" in load_credentials("bearer-token/rotated").secrets()


@pytest.mark.parametrize(
    ("arguments", "stdin", "problem"),
    [
        (["bearer-token/x", "--set", f"token={SECRET}"], None, "shell's history.*--env token=VARIABLE"),
        (["api-key/x", "--set", f"api_key={SECRET}"], None, "shell's history.*--env api_key=VARIABLE"),
        (["bearer-token/x", "--set", SECRET], None, "names no field"),
        (["bearer-token/x", "--env", "token=NOT_SET_ANYWHERE"], None, "NOT_SET_ANYWHERE is not set"),
        (["bearer-token/x", "--env", "tokn=PATH"], None, "did you mean 'token'"),
        (["basic-auth/x", "--set", "usrname=a"], None, "did you mean 'username'"),
        (["bearer-token/x", "--stdin"], SECRET, "holds no JSON object"),
        (["bearer-token/x", "--stdin"], json.dumps({"tokn": SECRET}), "no token given"),
        (
            ["bearer-token/x", "--stdin"],
            json.dumps({"token": f"{SECRET}\n"}),
            r"bearer-token/x\.token: holds",
        ),
        (["basic-auth/x"], None, "no username and no password given"),
        (["vonage-application/x", "--private-key-file", "/no/such.key"], None, "--private-key-file: no file"),
        (["bearer-tokn/x"], None, "did you mean 'bearer-token'"),
        (["bearer-token/Not Good"], None, "did you mean 'not-good'"),
    ],
)
def test_credentials_save_refuses_and_hides_what_was_given(
    clarion: Clarion, arguments: list[str], stdin: str | None, problem: str
):
    """A mistake is told with the way on, never with the secret; nothing is saved."""
    with pytest.raises(InputError, match=problem) as caught:
        clarion("credentials", "save", *arguments, stdin=stdin)
    assert SECRET not in str(caught.value)
    with pytest.raises(InputError):
        load_credentials(arguments[0])


def test_credentials_save_asks_without_echo(prefect_server: None):
    """On a terminal the secret is asked for, and what is typed is not seen."""
    terminal, inside = pty.openpty()
    process = subprocess.Popen(
        [
            sys.executable,
            "-c",
            "from cli.main import main; main()",
            "credentials",
            "save",
            "bearer-token/asked",
        ],
        env={**os.environ, "PREFECT_API_URL": PREFECT_API_URL.value()},
        stdin=inside,
        stdout=inside,
        stderr=inside,
        start_new_session=True,
    )
    os.close(inside)
    seen = b""
    # Echo is off once the blank after the colon is out; what is typed before that is thrown away.
    while not seen.endswith(b"Bearer: "):
        seen += os.read(terminal, 1024)
    os.write(terminal, f"{SECRET}\n".encode())
    try:
        while more := os.read(terminal, 1024):
            seen += more
    except OSError:  # Linux tells the end of a terminal so
        pass
    os.close(terminal)
    assert process.wait() == 0
    assert b"Saved bearer-token/asked." in seen
    assert SECRET.encode() not in seen
    assert load_credentials("bearer-token/asked") == BearerToken.model_validate({"token": SECRET})


def test_action_save_takes_the_name_of_the_file(clarion: Clarion, tmp_path: Path):
    """A saved action is found by its file's name, and saving it again replaces it."""
    file = tmp_path / "Send_WhatsApp.yaml"
    file.write_text(ACTION)
    assert clarion("action", "save", str(file)) == {"saved": "http-action/send-whatsapp", "new": True}
    file.write_text(f"{ACTION}tps: 5\n")
    assert clarion("action", "save", str(file)) == {"saved": "http-action/send-whatsapp", "new": False}
    assert load_action("http-action/send-whatsapp").tps == 5
    assert clarion("action", "save", str(file), "--name", "other")["saved"] == "http-action/other"


def test_job_save_needs_nothing_of_the_folder_but_its_lists(clarion: Clarion, tmp_path: Path):
    """A saved job runs from anywhere: its texts are inside, its lists are named by absolute paths."""
    (tmp_path / "action.yaml").write_text(ACTION)
    (tmp_path / "offer.html").write_text("<p>{{ item.name }}</p>")
    file = tmp_path / "job.yaml"
    file.write_text(JOB)
    clarion("action", "save", str(tmp_path / "action.yaml"), "--name", "spring-sms")
    expected = read_job(file)
    assert clarion("job", "save", str(file)) == {"saved": "job/spring-sale", "new": True}
    (tmp_path / "offer.html").unlink()
    job = load_job("spring-sale")
    assert [source.file for source in job.recipients.include] == [
        str(tmp_path / "lists" / "customers.csv"),
        "s3://bucket/more.csv",
    ]
    assert job.segments == expected.segments
    assert job.segments[0].template["html"].text == "<p>{{ item.name }}</p>"
    assert job.segments[0].template["html"].is_html("html")


def test_job_save_refuses_a_job_that_cannot_run(clarion: Clarion, tmp_path: Path):
    """A mistake is told when the job is saved, not when its schedule starts it at night."""
    file = tmp_path / "job.yaml"
    file.write_text(
        JOB.replace("http-action/spring-sms", "http-action/no-such").replace("{file: offer.html}", "hi")
    )
    with pytest.raises(JobError, match="no block http-action/no-such is saved"):
        clarion("job", "save", str(file))
    file.write_text(
        JOB.replace("{file: offer.html}", '"{{ item. }}"').replace("name: Spring", "name: Broken")
    )
    with pytest.raises(InputError):
        clarion("job", "save", str(file))
    with pytest.raises(JobError):
        load_job("broken-sale")


def test_commands_tell_a_wrong_server():
    """A person's mistake is one line and exit code 2 (the wrapper of all commands)."""
    done = subprocess.run(
        [sys.executable, "-c", "from cli.main import main; main()", "blocks", "register"],
        env={**os.environ, "PREFECT_API_URL": "http://127.0.0.1:9/api"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 2
    assert done.stderr.startswith("clarion: PREFECT_API_URL: ")
    assert len(done.stderr.splitlines()) == 1
