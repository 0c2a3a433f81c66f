"""docs/suppression.md and the commands of docs/lists.md are true."""

import re
import shlex
from pathlib import Path

import pytest
import typer.main

from clarion import list_imports, optout, suppression_imports
from clarion.ledger import managed_lists
from cli.main import build_app

DOCS = Path(__file__).parents[2] / "docs"
PAGE = (DOCS / "suppression.md").read_text(encoding="utf-8")
LISTS = (DOCS / "lists.md").read_text(encoding="utf-8")


def test_page_has_every_setting_and_its_default():
    """A setting that nobody finds is none."""
    settings = set(re.findall(r"^\| `(CLARION_\w+)` \|", PAGE, re.MULTILINE))
    assert settings == {optout.OPT_OUT_SETTING, optout.OPT_IN_SETTING, optout.CODES_SETTING}
    assert f"`{','.join(optout.CODES)}`" in PAGE


def test_page_names_the_words_that_count_everywhere():
    """And those that take them back."""
    assert ", ".join(optout.WORDS_BY_LANGUAGE["carriers"]) in PAGE.replace("\n  ", " ")
    assert f"({', '.join(optout.OPT_IN_WORDS)})" in PAGE
    languages = re.search(r"and their kin: (.*?)\.", PAGE, re.DOTALL)
    assert languages is not None
    assert len(languages[1].split(",")) == len(optout.WORDS_BY_LANGUAGE) - 1


def test_page_names_where_an_import_looks_for_addresses():
    """In the help of the command, which the page shows."""
    told = typer.main.get_command(build_app("suppress")).commands["suppress"].commands["import"].help
    assert all(f"`{name}`" in told for name in suppression_imports.ATTRIBUTES)


def test_lists_page_names_the_numbers_of_the_code():
    """Bounds and sizes."""
    assert f"{list_imports.FRAME_ROWS:,} items a transaction" in LISTS
    assert f"at most {managed_lists.MOST_KEY_BYTES:,} bytes" in LISTS.replace("\n", " ")


@pytest.mark.parametrize("group", ["list", "suppress"])
def test_every_command_stands_on_its_page(group: str):
    """And every one that stands there is a command with these options."""
    commands = typer.main.get_command(build_app(group)).commands[group].commands
    page = PAGE if group == "suppress" else LISTS
    shown = [shlex.split(line) for line in re.findall(rf"^(clarion {group} .*)$", page, re.MULTILINE)]
    assert {words[2] for words in shown} == set(commands)
    for words in shown:
        known = {name for parameter in commands[words[2]].params for name in parameter.opts}
        assert {word for word in words if word.startswith("--")} <= known
