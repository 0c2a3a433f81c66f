"""docs/handlers.md is true: its example compiles, and it names what there is."""

import re
from pathlib import Path

import yaml

from clarion.compiling_handlers import EVENT_ATTRIBUTES, RUN_ITEM_ATTRIBUTES
from clarion.ledger.answering import MOST_TRIES
from clarion.models.handlers import REACTIONS
from tasks.react import BATCH
from tests.unit.campaigns import SEND, make_campaign

PAGE = (Path(__file__).parents[2] / "docs" / "handlers.md").read_text(encoding="utf-8")


def test_example_compiles():
    """The page's handlers are those of a job that compiles."""
    example = re.search(r"^```yaml\n(.*?)^```", PAGE, re.DOTALL | re.MULTILINE)
    assert example is not None
    events = yaml.safe_load(example[1])["events"]
    campaign = make_campaign(events=events, actions={"send": SEND, "send-sms": SEND})
    assert [handler.name for handler in campaign.handlers] == ["thanks", "hot lead", "wants a call"]


def test_scopes_are_those_of_the_code():
    """Every attribute that a condition may name stands there, in this order."""
    for scope, attributes in (("event", EVENT_ATTRIBUTES), ("run_item", RUN_ITEM_ATTRIBUTES)):
        told = PAGE.split(f"- `{scope}`:", 1)[1].split(".", 1)[0].split(";", 1)[0]
        assert tuple(re.findall(r"`(\w+)`", told)) == attributes


def test_every_reaction_stands_there():
    """One row a reaction without an action."""
    rows = re.findall(r"^\| `(\w+)` \|", PAGE, re.MULTILINE)
    assert sorted(rows) == sorted(set(REACTIONS) - {"action"})


def test_numbers_are_those_of_the_code():
    """The bounds on the page are the bounds."""
    assert f"batches of {BATCH}" in PAGE
    assert MOST_TRIES == 5
    assert "up to five times" in PAGE
