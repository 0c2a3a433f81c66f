"""Values in URLs stay where the template has put them."""

from typing import Any

import httpx
import pytest

from clarion.errors import RenderError
from clarion.rendering import render_request
from tests.unit.campaigns import make_action


def url_of(template: str, value: str) -> str:
    """The URL of an action whose template's `item.v` is the value."""
    scope: dict[str, Any] = {"item": {"v": value}, "recipient": "+447700900001"}
    request = render_request(make_action(command={"url": template}), scope, idempotency_key="k")
    return str(request.url)


@pytest.mark.parametrize(
    ("template", "value", "what"),
    [
        ("http://h/m/{{ item.v }}", "../../admin?x=1#", "a #"),
        ("http://h/m/{{ item.v }}", "../../admin", "a path of dots"),
        ("http://h/m/{{ item.v }}/send", "..", "a path of dots"),
        ("http://h/m/{{ item.v }}/send", ".", "a path of dots"),
        ("http://h/m/{{ item.v }}/send", "%2E%2e", "a path of dots"),
        ("http://h/m/{{ item.v }}/send", r"a\..\b", "a path of dots"),
        ("http://h/m/{{ item.v | urlencode }}", "../../admin", "a path of dots"),
        ("http://h/m/{{ item.v }}/send", "x?y=1", "a ?"),
        ("http://h/m/{{ item.v }}/send?a=1", "x?y=1", "a ?"),
        ("http://h/m/{{ item.v }}?a=1", "x?y=1", "a ?"),
        ("http://h/m?text={{ item.v }}&from=x", "a#b", "a #"),
        ("{{ item.v }}/send", "http://h/a/../b", "a path of dots"),
    ],
)
def test_value_that_leads_elsewhere_is_refused(template: str, value: str, what: str):
    """Dots of a path, a query's beginning and a fragment are the template's to write."""
    with pytest.raises(RenderError, match="a value brings") as error:
        url_of(template, value)
    assert what.removeprefix("a ") in error.value.message
    assert value == "." or value not in error.value.message


@pytest.mark.parametrize(
    ("template", "value", "path"),
    [
        ("http://h/m/{{ item.v }}", "4477.0090.", "/m/4477.0090."),
        ("http://h/m/{{ item.v }}", "...", "/m/..."),
        ("http://h/m/{{ item.v | urlencode }}", "x?y#z", "/m/x%3Fy%23z"),
        ("http://h/m?text={{ item.v }}", "Really?", "/m?text=Really?"),
        ("http://h/{{ recipient }}/m?text={{ item.v }}", "Really?/..", "/+447700900001/m?text=Really?/.."),
        ("{{ item.v }}", "http://h/a?b=1", "/a?b=1"),
        ("http://h/a/../{{ item.v }}", "b", "/b"),
        ("http://h/a{{ '?b=1' if item.v }}", "b", "/a?b=1"),
    ],
)
def test_value_that_stays_in_its_place_is_sent(template: str, value: str, path: str):
    """What the template itself writes stands, and what is encoded."""
    assert url_of(template, value) == str(httpx.URL(f"http://h{path}"))
