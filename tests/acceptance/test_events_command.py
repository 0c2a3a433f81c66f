"""`clarion events`: the log as a person reads it, as files, and what is attributed by hand."""

import csv
import io
from pathlib import Path

import pytest

from clarion.ledger.database import Database
from clarion.ledger.event_log import EVENT_FIELDS
from clarion.ledger.runs import get_run
from tests.acceptance.conftest import Command
from tests.integration.sent_runs import attributed, receipt, reference, reply, sent_run

ANN, EVE = "+447700900001", "+447700900003"


@pytest.fixture
def run_id(ledger: Database) -> int:
    """A run with one message, its receipt, an answer, and a message of somebody else."""
    run_id = sent_run(ledger, ANN, ids=["m1"])
    attributed(ledger, receipt("delivered", invocation_id="m1"), reply(ANN, "yes"), reply(EVE, "who,\nyou?"))
    return run_id


def test_events_are_shown_newest_first(
    clarion: Command, ledger: Database, run_id: int, monkeypatch: pytest.MonkeyPatch
):
    """What came back, of all runs; of one run also what became of its items."""
    monkeypatch.setenv("COLUMNS", "200")
    lines = clarion("events").out.splitlines()
    assert [line.split()[3] for line in lines[2:]] == ["recipient-response"] * 2 + ["action-call-succeeded"]
    assert "who, you?" in lines[2]
    assert get_run(ledger, run_id).uid in lines[3]
    whole = clarion("events", "last", "--order", "asc").out
    types = [line.split()[2] for line in whole.splitlines() if line.startswith(" ")]
    assert types[:3] == ["run-items-total", "run-items-ready", "run-items-excluded"]
    assert len(whole.splitlines()) == 2 + 6


def test_events_are_written_as_json_and_csv(clarion: Command, run_id: int):
    """Whole, unless a page is asked for; with the raw data, and times in ISO format."""
    found = clarion("events", "last", "--format", "json").json
    assert [event["type"] for event in found][:2] == ["recipient-response", "action-call-succeeded"]
    assert tuple(found[0]) == EVENT_FIELDS
    assert found[0]["data"] == {}
    rows = list(csv.reader(io.StringIO(clarion("events", "last", "--format", "csv").out)))
    assert tuple(rows[0]) == EVENT_FIELDS
    assert [row[1] for row in rows[1:]] == [event["type"] for event in found]
    assert rows[1][2].endswith("+00:00")
    pages = [
        clarion("events", "last", "--format", "json", "--page", number, "--page-size", 2).json
        for number in (1, 2, 3, 4)
    ]
    assert [event for page in pages for event in page] == found
    assert pages[3] == []


def test_filters_are_those_of_the_log(clarion: Command, run_id: int):
    """Together they narrow."""
    told = clarion(
        "events", "--recipient", "0044 7700 900001", "--type", "recipient-response", "--format", "json"
    )
    assert [event["text"] for event in told.json] == ["yes"]
    nothing = clarion("events", "--until", "2020-01-01")
    assert (nothing.code, nothing.out, nothing.err) == (0, "", "No events.\n")


@pytest.mark.parametrize("named", [("--run", "last"), ("last", "--run", "last"), ("last", "--run", None)])
def test_run_may_be_named_by_an_option(
    clarion: Command, ledger: Database, run_id: int, named: tuple[str | None, ...]
):
    """As the argument names it; both of them name the same run."""
    words = [get_run(ledger, run_id).uid if word is None else word for word in named]
    assert clarion("events", *words).out == clarion("events", "last").out


def test_two_runs_are_refused(clarion: Command, ledger: Database, run_id: int):
    """Which of them is meant nobody knows."""
    uid = get_run(ledger, run_id).uid
    sent_run(ledger, EVE)
    outcome = clarion("events", uid, "--run", "last")
    assert (outcome.code, outcome.out) == (2, "")
    assert f"--run: 'last' is another run than {uid!r}; expected one run" in outcome.err


def test_event_is_attributed_by_hand(clarion: Command, ledger: Database, run_id: int):
    """The list of those that nobody knows has one less; a second time nothing changes."""
    (event,) = clarion("events", "--unattributed", "--format", "json").json
    item = reference(ledger, run_id)
    for who in ("ann", "bob"):
        outcome = clarion("events", "attribute", event["id"][:8], item, "--who", who)
        assert outcome.out == f"Event {event['id']} (recipient-response) belongs to {item}, by hand:ann.\n"
    assert clarion("events", "--unattributed", "--format", "json").json == []


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("last", "more"), "events: more is too much"),
        (("attribute", "x"), "events attribute: needs an event and a run item; expected EVENT RUN_ITEM"),
        (("--type", "recipient-respons"), "(did you mean 'recipient-response'?)"),
        (("--recipient", " "), "--recipient: is empty"),
        (("--run-item", "17"), "--run-item: '17' is no id of a run item"),
        (("--since", "yesterday"), "--since: 'yesterday' is no time"),
        (("--run", "nosuch"), "RUN: there are no runs yet"),
        (("nosuch",), "RUN: there are no runs yet"),
    ],
)
def test_mistakes_are_one_line(clarion: Command, home: Path, arguments: tuple[str, ...], told: str):
    """What, where, what was expected."""
    outcome = clarion("events", *arguments)
    assert (outcome.code, outcome.out, len(outcome.err.splitlines())) == (2, "", 1)
    assert told in outcome.err
