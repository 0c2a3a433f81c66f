"""docs/attribution.md is true: rules, times, words, types and options on it are those of the code."""

import re
from pathlib import Path
from typing import get_args

import typer
import typer.main

from clarion.attribution import LISTENING, REHEARSAL_LISTENING, Rule
from clarion.ledger.event_log import EVENT_TYPES
from clarion.ledger.matching import PATIENCE
from clarion.receipts import BY_RECEIPT, UNDELIVERED, WELL_KNOWN
from cli.events import register

PAGE = (Path(__file__).parents[2] / "docs" / "attribution.md").read_text(encoding="utf-8")


def test_rules_stand_in_their_order():
    """Each by the name that events keep."""
    assert tuple(re.findall(r"^\d\. \*\*`([a-z-]+)`\*\*", PAGE, re.MULTILINE)) == get_args(Rule)


def test_times_are_those_of_the_code():
    """How long a run listens, a rehearsal, and how long an event waits."""
    words = " ".join(PAGE.split())
    assert f"until {LISTENING.days} days after it has ended" in words
    assert f"until {REHEARSAL_LISTENING.seconds // 60} minutes after" in words
    assert f"waits up to {PATIENCE.seconds} seconds" in words


def test_words_are_those_of_the_code():
    """What statuses mean where the action does not say; the reasons of what receipts settle."""
    rows = {
        name: set(re.findall(r"`([^`]+)`", row))
        for name, row in re.findall(r"^\| (\w+) \| (`.*) \|$", PAGE, re.MULTILINE)
    }
    assert rows["success"] == set(WELL_KNOWN.success)
    assert rows["failure"] == WELL_KNOWN.failure
    assert rows["neither"] == WELL_KNOWN.info
    assert f"(reason `{BY_RECEIPT}`)" in " ".join(PAGE.split())
    assert f"(reason `{UNDELIVERED}`" in " ".join(PAGE.split())


def test_every_type_and_option_stands_there():
    """No more and no less than the command knows."""
    table = PAGE.split("## Looking at events")[1]
    types = {
        name
        for row in re.findall(r"^\| (`[a-z].*?) \| ", table, re.MULTILINE)
        for name in re.findall(r"`([a-z-]+)`", row)
    }
    assert types - {"RUN"} == set(EVENT_TYPES)
    app = typer.Typer()
    register(app)
    options = {
        name
        for parameter in typer.main.get_command(app).params
        for name in parameter.opts
        if name.startswith("--")
    }
    assert set(re.findall(r"`(--[a-z-]+)", PAGE)) == options - {"--install-completion", "--show-completion"}
