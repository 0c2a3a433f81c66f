"""`link()` and `unsubscribe_link()` in templates."""

from typing import Any

import pytest

from clarion.errors import RenderError, TemplateError
from clarion.templating import SCOPES, compile_text, compile_value
from clarion.templating.links import LINKS_SCOPE, Stem


class Told:
    """Links that say what they were made of."""

    def link(self, url: str, stem: Stem) -> str:
        return f"<{url}|{stem.name}|{stem.prefix}|{stem.click_id}>"

    def unsubscribe_link(self, scope: str) -> str:
        return f"<{scope}>"


def rendered(source: str, *, html: bool = False, **item: Any) -> str:
    """A template rendered for an item."""
    compiled = compile_text(source, where="text", scopes=SCOPES, html=html)
    return compiled.render({"item": item, LINKS_SCOPE: Told()})


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ('{{ link("https://a.example/x") }}', "<https://a.example/x|link|https://a.example/x|>"),
        (
            '{{ link("https://a.example/x", name="offer") }}',
            "<https://a.example/x|offer|https://a.example/x|>",
        ),
        (
            'See {{ link("https://a.example/x", name="o") }}!',
            "See <https://a.example/x|o|https://a.example/x|>!",
        ),
        (
            '{{ link("https://a.example/?c=" ~ item.id) }}',
            "<https://a.example/?c=47|link|https://a.example/?c=|>",
        ),
        (
            '{{ link("https://a.example/?c=" + item.id) }}',
            "<https://a.example/?c=47|link|https://a.example/?c=|>",
        ),
        ("{{ link(item.url, click_id='cid') }}", "<http://b.example|link||cid>"),
        ("{% set url = item.url %}{{ link(url) }}", "<http://b.example|link||>"),
        ('{{ link("https://a.example") | upper }}', "<HTTPS://A.EXAMPLE|LINK|HTTPS://A.EXAMPLE|>"),
        ("{{ unsubscribe_link() }}", "<everything>"),
        ('{{ unsubscribe_link(scope="job") }}.', "<job>."),
    ],
)
def test_link_is_made_of_what_the_template_says(source: str, expected: str):
    """The URL, its name, what of it is the same for everybody, and how the page gets to know of the click."""
    assert rendered(source, id="47", url="http://b.example") == expected


def test_links_of_a_loop_have_one_stem():
    """What a loop appends belongs to the item, what stands there to the template."""
    source = '{% for n in range(2) %}{{ link("https://a.example/" ~ n) }}{% endfor %}'
    made = [f"<https://a.example/{n}|link|https://a.example/|>" for n in range(2)]
    assert rendered(source) == "".join(made)


def test_links_stand_in_html_as_they_are():
    """What is filled into the URL is not escaped before it is signed."""
    source = '<a href="{{ link("https://a.example/?a=1&c=" ~ item.id) }}">'
    assert "https://a.example/?a=1&amp;c=4&amp;7|" in rendered(source, html=True, id="4&7")


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("{{ link() }}", "link takes one URL"),
        ('{{ link("https://a.example", "offer") }}', "link takes one URL"),
        ("{{ link(*item.x) }}", "link takes one URL"),
        ("{{ link('https://a.example', **item.x) }}", "link takes one URL"),
        ('{{ link("https://a.example", nam="x") }}', "no argument 'nam'.*did you mean 'name'"),
        ('{{ link("https://a.example", name=item.x) }}', "a fixed text"),
        ('{{ link("https://a.example", name="a b") }}', "no plain word"),
        ('{{ link("https://a.example", click_id="") }}', "no plain word"),
        ('{{ link("shop.example") }}', "absolute http or https URL"),
        ('{{ link("javascript:alert(1)") }}', "absolute http or https URL"),
        ('{{ link("https://good.example@evil.example/") }}', "absolute http or https URL"),
        ('{{ unsubscribe_link("job") }}', "takes no URL"),
        ('{{ unsubscribe_link(scope="jobs") }}', "no scope 'jobs'.*did you mean 'job'"),
        ("{{ link }}", "'link' is a function"),
        ("{{ [unsubscribe_link] }}", "'unsubscribe_link' is a function"),
        ("{% set link = 1 %}", "the name is taken"),
        ("{% for link in item.links %}{{ link }}{% endfor %}", "the name is taken"),
        ('{{ "https://a.example" | link }}', "no filter 'link'"),
        ('{{ item.link("https://a.example") }}', "no methods"),
    ],
)
def test_link_that_cannot_be_is_refused_at_load(source: str, message: str):
    """A person's mistakes are found before any item is there."""
    with pytest.raises(TemplateError, match=f"text: line 1: .*{message}"):
        compile_text(source, where="text", scopes=SCOPES)


@pytest.mark.parametrize("source", ["{{ link('https://a.example') }}", "{{ unsubscribe_link() }}"])
def test_link_needs_a_run_item(source: str):
    """A recipient, or a time, is rendered before there is anything that a link could belong to."""
    with pytest.raises(TemplateError, match="no run item here"):
        compile_text(source, where="recipient", scopes=("item", "job", "run"))
    compiled = compile_text(source, where="text", scopes=SCOPES)
    with pytest.raises(RenderError, match="no run item here"):
        compiled.render({"item": {}})


@pytest.mark.parametrize(
    "url",
    [
        "shop.example", "//shop.example", "ftp://shop.example", "javascript:alert(1)", "https://", "https:///x",
        "https://a b.example", "https://shop.example/a b", "https://shop.example\\@evil.example/",
        "https://user@evil.example/", "https://shop.example/\nLocation: x", "https://shop.example/\x00", "",
        " https://shop.example", "https://shop.example/" + "x" * 2_000, "https://?x", "https://#x",
    ],
)  # fmt: skip
def test_link_to_what_is_no_page_does_not_render(url: str):
    """An item's value cannot make a link of something else than a page."""
    with pytest.raises(RenderError, match="text: a link"):
        rendered("{{ link(item.url) }}", url=url)


def test_link_tells_of_values_that_are_not_encoded():
    """The usual mistake: a name with a blank, filled in as it is."""
    with pytest.raises(RenderError, match="urlencode"):
        rendered('{{ link("https://a.example/?n=" ~ item.name) }}', name="Ann Lee")
    assert "Ann%20Lee|" in rendered(
        '{{ link("https://a.example/?n=" ~ (item.name | urlencode)) }}', name="Ann Lee"
    )


def test_link_of_a_missing_value_names_it():
    """The attribute is told, as in any other place."""
    with pytest.raises(RenderError, match="item has no 'url'"):
        rendered("{{ link(item.url) }}", other="x")


def test_link_names_what_its_url_is_made_of():
    """The attributes of a URL are checked against the lists, as all are."""
    compiled = compile_value({"a": '{{ link("https://a.example/" ~ item.id) }}'}, where="t", scopes=SCOPES)
    assert compiled.references == {("item", "id")}
    assert compiled.required == {("item", "id"): "t.a"}
