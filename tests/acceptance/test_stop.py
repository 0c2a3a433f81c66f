"""STOP in the middle of a run: whoever says it gets nothing more, and the report says why."""

from pathlib import Path

import orjson

from clarion.ledger.database import Database
from clarion.ledger.runs import list_runs
from clarion.reporting import build_report
from clarion.sandbox import Sandbox
from tests.acceptance.campaigns import write_job, write_people
from tests.acceptance.conftest import Command, Start
from tests.acceptance.installations import wait_for
from tests.acceptance.test_control import wait_for_status
from tests.acceptance.test_failover import calling
from tests.integration.ledger_runs import assert_counts_add_up, rows_of
from tests.integration.receivers import post_vonage, receiver

PEOPLE = 240
STOPPED = [f"1202555{number:04d}" for number in range(PEOPLE - 19, PEOPLE + 1)]
TPS = 40.0


def inbound(number: int, sender: str) -> bytes:
    """What Vonage posts when somebody answers."""
    return orjson.dumps(
        {
            "channel": "sms",
            "message_uuid": f"aaaaaaaa-bbbb-4ccc-8ddd-{number:012d}",
            "to": "447700900001",
            "from": sender,
            "timestamp": "2026-03-01T14:00:00.000Z",
            "message_type": "text",
            "text": "Stop.",
        }
    )


def test_whoever_says_stop_in_the_middle_of_a_run_gets_nothing_more(
    clarion: Command, start: Start, home: Path, ledger: Database
):
    """Signed webhooks come in while the messages go out; the provider never hears of those people again."""
    write_people(home, PEOPLE)
    with Sandbox() as sandbox, receiver(ledger) as client:
        job = write_job(home, actions={"send-sms": calling(sandbox, tps=TPS)})
        start("run", job)
        # Claims are a second ahead of what leaves: by now those at the end of the list wait for four more.
        wait_for(lambda: sandbox.stats()["requests"] >= TPS / 2 or None, what="some messages")
        posted = [post_vonage(client, inbound(number, each)) for number, each in enumerate(STOPPED)]
        assert posted == [200] * len(STOPPED)
        wait_for_status(ledger, "completed")
        stats = sandbox.stats()
    (run,) = list_runs(ledger, limit=9)
    report = build_report(ledger, run)
    assert report["skipped_by_reason"] == {"suppressed": len(STOPPED)}
    assert report["counts"]["succeeded"] == PEOPLE - len(STOPPED)
    reached = {
        each for each, status in rows_of(ledger, run.id, "recipient", "status") if status == "succeeded"
    }
    assert set(stats["recipients"]) == reached
    assert not {each.removeprefix("+") for each in reached} & set(STOPPED)
    assert stats["duplicates"] == {}
    assert_counts_add_up(ledger, run.id)
    told = clarion("suppress", "check", f"+{STOPPED[0]}", "--json").json
    assert [each["scope"] for each in told["suppressed"]] == [""]
    assert clarion("suppress", "list", "--json").json[0]["who"] == "endpoint vonage-webhook/main"
