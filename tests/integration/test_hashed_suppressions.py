"""Hashes in the suppression list: another key than theirs is told, and nobody is sent to meanwhile."""

from typing import Any

import pytest

from clarion.errors import SettingError
from clarion.fallback import NextStep
from clarion.ledger.database import Database
from clarion.ledger.forgetting import forget
from clarion.ledger.suppressed_steps import suppressed_steps
from clarion.ledger.suppression_log import count_suppressions, history_of, suppression_pages
from clarion.ledger.suppressions import (
    by_word,
    hide_address,
    remove_suppressions,
    scopes_for_plan,
    scopes_of,
    suppress,
    unsuppress,
)
from clarion.sending.writer import Claimed, LedgerWriter
from tests.integration.ledger_runs import (
    assert_counts_add_up,
    claimed,
    counts,
    planned,
    planned_run,
    result,
    rows_of,
    whole,
)
from tests.integration.ledger_writers import FREE, settled_by, with_writer

ANN, BOB = "+447700900001", "+447700900002"
OTHER = "o" * 40


@pytest.fixture(autouse=True)
def _key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CLARION_SECRET_KEY", "k" * 40)


@pytest.fixture
def other_key(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ann is suppressed and forgotten; then somebody comes with another key."""
    add(database, ANN, reason="complaint")
    forget(database, ANN, who="me")
    monkeypatch.setenv("CLARION_SECRET_KEY", OTHER)


def add(database: Database, recipient: str, **changes: Any) -> int:
    """Suppresses somebody; how many are new."""
    with database.write() as connection:
        return suppress(connection, recipient, **({"reason": "why", "who": "me"} | changes)).added


@pytest.mark.usefixtures("other_key")
def test_recipients_are_not_looked_up_with_another_key(database: Database):
    """Neither for a plan nor for a person; the error says which setting, and what to do."""
    told = r"CLARION_SECRET_KEY: is another key .* expected that key, as CLARION_SECRET_KEY or as the file"
    with pytest.raises(SettingError, match=told):
        scopes_for_plan(database, [BOB])
    with database.write() as connection:
        with pytest.raises(SettingError, match=told):
            history_of(connection, ANN)
        with pytest.raises(SettingError, match=told):
            unsuppress(connection, ANN, reason="back", who="me")


@pytest.mark.usefixtures("other_key")
def test_nobody_is_forgotten_with_another_key(database: Database, monkeypatch: pytest.MonkeyPatch):
    """Two keys in one list could never be looked up at once; with the right one nothing is amiss."""
    add(database, BOB)
    with pytest.raises(SettingError, match="another key"):
        forget(database, BOB, who="me")
    with database.write() as connection, pytest.raises(SettingError, match="another key"):
        hide_address(connection, BOB)
    monkeypatch.setenv("CLARION_SECRET_KEY", "k" * 40)
    assert scopes_for_plan(database, [ANN, BOB]) == {ANN: {"": "complaint"}, BOB: {"": "why"}}


@pytest.mark.usefixtures("other_key")
def test_nothing_is_claimed_with_another_key_and_no_result_is_lost(
    database: Database, monkeypatch: pytest.MonkeyPatch
):
    """The claim fails, and what it would have sent still waits; what comes of an earlier call is kept."""
    run_id = planned_run(database, [planned(1, recipient=BOB), planned(2, recipient="r2")])
    first, second = claimed(database, run_id, "t", most=1), []

    async def use(writer: LedgerWriter) -> Claimed:
        told = settled_by(writer, run_id, result(first[0], "succeeded"), token="t")
        try:
            return await writer.claim(run_id, whole(), token="t", most=10, limit=FREE)
        finally:
            second.append(await told)

    with pytest.raises(SettingError, match="another key"):
        with_writer(database, use)
    assert rows_of(database, run_id, "status", "claim_token")[1] == ("pending", None)
    assert counts(database, run_id) == {"total": 2, "pending": 1, "succeeded": 1}
    assert_counts_add_up(database, run_id)
    monkeypatch.setenv("CLARION_SECRET_KEY", "k" * 40)

    async def again(writer: LedgerWriter) -> Claimed:
        return await writer.claim(run_id, whole(), token="t", most=10, limit=FREE)

    assert [item.recipient for item in with_writer(database, again).items] == ["r2"]


@pytest.mark.usefixtures("other_key")
def test_next_step_with_another_key_waits_for_its_claim(database: Database):
    """It is not judged when the result that leads to it is written: that is not lost."""
    run_id = planned_run(database, 1)
    step = NextStep(step=1, action="send", recipient=ANN, dedupe_key=ANN)
    with database.write() as connection:
        assert suppressed_steps(connection, run_id, [step]) == frozenset()


@pytest.mark.usefixtures("other_key")
def test_opt_in_word_is_no_error_with_another_key(database: Database):
    """What stands under the address itself is taken back, so that no answer is refused."""
    add(database, BOB, reason="opt-out word (event u)")
    with database.write() as connection:
        assert remove_suppressions(connection, BOB, by_word(), reason="start", who="me") == 1
        assert remove_suppressions(connection, ANN, by_word(), reason="start", who="me") == 0
    assert count_suppressions(database) == 1


@pytest.mark.usefixtures("other_key")
def test_hashes_of_a_lost_key_can_be_given_up(database: Database):
    """One by one, as they are listed; with the last of them the lost key counts no more."""
    (row,) = [row for page in suppression_pages(database) for row in page]
    with database.write() as connection:
        assert unsuppress(connection, row["address"], reason="the key is lost", who="me")
    assert scopes_for_plan(database, [ANN]) == {}
    add(database, BOB)
    forget(database, BOB, who="me")
    assert scopes_for_plan(database, [BOB]) == {BOB: {"": "why"}}


@pytest.mark.usefixtures("other_key")
def test_hash_of_another_key_is_not_added(database: Database, monkeypatch: pytest.MonkeyPatch):
    """Of an export of another installation: it would hold nobody back, and nobody would know."""
    (row,) = [row for page in suppression_pages(database) for row in page]
    with database.write() as connection:
        unsuppress(connection, row["address"], reason="the key is lost", who="me")
    with pytest.raises(SettingError, match="another key"):
        add(database, row["address"])
    assert count_suppressions(database) == 0
    monkeypatch.setenv("CLARION_SECRET_KEY", "k" * 40)
    assert add(database, row["address"]) == 1
    assert set(scopes_for_plan(database, [ANN, BOB])) == {ANN}


def test_text_that_begins_like_a_hash_is_an_address(database: Database):
    """Whoever is suppressed as `hash:` is nobody's mark."""
    for each in ("hash:", "hash: ", "hash:x"):
        add(database, each)
    assert set(scopes_for_plan(database, ["hash:", "hash:x", ANN])) == {"hash:", "hash:x"}


def test_forgetting_keeps_the_firmer_reason(database: Database):
    """Who opted out, was forgotten, and was then suppressed by a person is not let back by a word."""
    add(database, ANN, reason="opt-out word (event u)")
    with database.write() as connection:
        hide_address(connection, ANN)
    add(database, ANN, reason="complaint")
    with database.write() as connection:
        hide_address(connection, ANN)
        assert scopes_of(connection, [ANN]) == {ANN: {"": "complaint"}}
        assert remove_suppressions(connection, ANN, by_word(), reason="start", who="me") == 0
    assert count_suppressions(database) == 1
