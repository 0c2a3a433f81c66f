"""docs/templates.md is true: every filter is in it, and every example gives what it says."""

import json
import re
from pathlib import Path

import pytest

from clarion.errors import RenderError, TemplateError
from clarion.templating import SCOPES, compile_text
from clarion.templating.filters import FILTERS, TESTS

PAGE = (Path(__file__).parents[2] / "docs" / "templates.md").read_text(encoding="utf-8")
SCOPE = json.loads(re.search(r"```json scope\n(.*?)```", PAGE, re.DOTALL)[1])
BLOCKS = re.findall(r"```template( html)?\n(.*?)```", PAGE, re.DOTALL)
EXAMPLES = [
    pytest.param(example, bool(html), id=example.splitlines()[0][:60])
    for html, block in BLOCKS
    for example in block.strip().split("\n\n")
]


def outcome(source: str, *, html: bool) -> str:
    """What the page has to say below a template."""
    scopes = [scope for scope in SCOPES if scope in SCOPE]
    try:
        return f"=> {json.dumps(compile_text(source, where='t', scopes=scopes, html=html).render(SCOPE))}"
    except (RenderError, TemplateError) as error:
        return f"!> {error.message.removeprefix('t: ')}"


@pytest.mark.parametrize(("example", "html"), EXAMPLES)
def test_docs_example_gives_what_it_says(example: str, html: bool):
    """An example's template renders to the JSON, or fails with the error, in the line below it."""
    *template, told = example.splitlines()
    if told.startswith("=> "):
        told = f"=> {json.dumps(json.loads(told[3:]))}"
    assert outcome("\n".join(template), html=html) == told


def test_docs_name_every_filter_and_show_it():
    """Each filter stands in the text and is used in an example."""
    prose = re.sub(r"```.*?```", "", PAGE.split("## Filters")[1], flags=re.DOTALL)
    documented = set(re.findall(r"`(\w+)(?:\(.*?\))?`", prose.replace("\n", " ")))
    shown = set(re.findall(r"\| (\w+)", "".join(block for _, block in BLOCKS)))
    assert set(FILTERS) <= documented
    assert set(FILTERS) <= shown


def test_docs_name_every_test():
    """Each test stands in the list of tests."""
    listed = re.search(r"^Tests: (.*?)\n\n", PAGE, re.DOTALL | re.MULTILINE)[1]
    assert set(re.findall(r"`(\S+?)`", listed)) == set(TESTS)


def test_docs_name_every_scope():
    """Each scope stands in the table of scopes."""
    table = PAGE.split("## Scopes")[1].split("##")[0]
    assert all(f"`{scope}`" in table for scope in SCOPES)
