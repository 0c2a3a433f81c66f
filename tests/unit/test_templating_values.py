"""Whatever an item holds: it comes out as it is, or as a reason; and what of it may stand in a header."""

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from clarion.errors import RenderError, TemplateError
from clarion.templating import (
    SCOPES,
    Compiled,
    check_header_name,
    check_header_value,
    compile_text,
    compile_value,
)

json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.characters(categories=["Cs"]),
    lambda nested: st.lists(nested) | st.dictionaries(st.text(), nested),
    max_leaves=20,
)
sendable_text = st.text(st.characters(exclude_categories=["Cs"]))


def compiled(source: str) -> Compiled:
    """One template that may use every scope."""
    return compile_text(source, where="t", scopes=SCOPES)


def rendered(source: str, scope: dict[str, Any]) -> Any:
    """What one template gives."""
    return compiled(source).render(scope)


@settings(deadline=None)
@given(sendable_text)
def test_text_value_comes_out_verbatim(value: str):
    """Whatever text an item holds, template syntax and line ends included, stands in the message as it is."""
    scope = {"item": {"x": value}, "parameters": {"y": rendered("{{ item.x }}", {"item": {"x": value}})}}
    assert rendered("{{ item.x }}", scope) == value
    assert rendered("<{{ item.x }}|{{ parameters.y }}>", scope) == f"<{value}|{value}>"
    assert rendered("{{ '' ~ item.x }}", scope) == value


@pytest.mark.parametrize(
    "value", ["{{ 7*7 }}", "{% include 'x' %}", "{# gone #}", "{{", "%}", "{{ item.x }}", "\r\n"]
)
def test_template_syntax_in_a_value_is_text(value: str):
    """A value is never a template, also after it went through parameters and the message."""
    parameters = {"note": rendered("{{ item.x }}", {"item": {"x": value}})}
    message = rendered("Note: {{ parameters.note }}", {"parameters": parameters})
    payload = compile_value({"text": "{{ template.message }}"}, where="p", scopes=SCOPES)
    assert payload.render({"template": {"message": message}}) == {"text": f"Note: {value}"}


EVERYTHING = compile_value(
    {
        "native": "{{ item.x }}",
        "text": "a {{ item.x }} b",
        "nested": "{{ item.x.y[0] | default('z') }}{{ item.x[item.n] | default(1) }}",
    },
    where="p",
    scopes=SCOPES,
)
EACH = [
    compiled(source)
    for source in (
        "{{ item.x }}",
        "a {{ item.x }}",
        "{{ item.x | upper }}{{ item.x | title }}",
        "{{ item.x | int + 1 }}",
        "{{ item.x | float | round(2) }}",
        "{{ item.x * item.n }}",
        "{{ item.n ** item.x }}",
        "{{ item.x + item.x }}",
        "{% for a in item.x %}{{ loop.index }}{{ a }}{{ loop.length }}{% endfor %}",
        "{{ range(item.x) | list }}",
        "{{ item.x | phone(item.x) }}",
        "{{ item.x | phone('US') }}",
        "{{ item.x | date(locale=item.x) }}",
        "{{ '2026-01-31T09:00Z' | datetime(item.x, timezone=item.x) }}",
        "{{ '2026-01-31' | date(item.x) }}",
        "{{ item.n | currency(item.x) }}",
        "{{ item.x | number(item.x) }}{{ item.x | percent }}",
        "{{ item.x | sms_truncate }}{{ item.x | sms_segments }}",
        "{{ item.x | urlencode }}",
        "{{ item.x | tojson }}",
        "{{ item.x | join(item.x) }}",
        "{{ item.x | replace('a', item.x) }}",
        "{{ item.x | sort | first }}{{ item.x | dictsort }}",
        "{{ item.x | map(attribute='y') | list }}",
        "{{ item.x[item.x] }}{{ item.x[1:] }}",
        "{{ item.x % item.n }}{{ item.x // item.n }}",
        "{{ item.x | truncate(item.n) }}",
        "{{ item.x == item.n }}{{ item.x < item.n }}{{ item.x in item.x }}",
    )
]


@settings(deadline=None)
@given(json_values, st.integers(-10, 10) | st.floats() | st.integers())
def test_nothing_but_a_render_error_is_raised(x: Any, n: Any):
    """Whatever an item holds, rendering gives a value that JSON can carry or a RenderError."""
    for template in [EVERYTHING, *EACH]:
        try:
            template.render_text({"item": {"x": x, "n": n}}).encode()
        except RenderError as error:
            assert error.message.startswith(("t: ", "p"))  # noqa: PT017 - either outcome is right


@settings(deadline=None)
@given(st.text(alphabet="{}%#|'\"()[].,-+*/~<>=! \nabcitemforsn019_", max_size=40))
def test_compile_raises_nothing_but_a_template_error(source: str):
    """Whatever is written as a template, it compiles or is refused."""
    try:
        compiled("{{ " + source + " }}")
        compiled(source)
    except TemplateError as error:
        assert error.where == "t"  # noqa: PT017 - either outcome is right


@pytest.mark.parametrize(
    "value", ["a\r\nX-Evil: 1", "a\nb", "a\rb", "a\0b", "\x7f", "zażółć", "日本", "\ud800"]
)
def test_header_value_that_cannot_be_sent_is_refused(value: str):
    """A line break cannot start another header, and what is not Latin-1 cannot be sent."""
    with pytest.raises(RenderError, match=r"^headers\.X-Name: the header's value holds a"):
        check_header_value(value, where="headers.X-Name")


@pytest.mark.parametrize("value", ["", "plain", "with\ttab", "Zoë", "a: b; c=d"])
def test_header_value_that_can_be_sent_passes(value: str):
    """Printable Latin-1 and the tab are all right."""
    check_header_value(value, where="h")


@settings(deadline=None)
@given(st.text())
def test_header_value_that_passes_is_one_line_of_latin_1(value: str):
    """What passes encodes, and never holds a line break."""
    try:
        check_header_value(value, where="h")
    except RenderError:
        return
    assert not {b"\r", b"\n", b"\0"} & {bytes([byte]) for byte in value.encode("latin-1")}


@pytest.mark.parametrize("name", ["", "X Name", "X:", "X\n", "Ü"])
def test_header_name_that_is_none_is_refused(name: str):
    """A header's name is a token."""
    with pytest.raises(RenderError, match="name is not valid"):
        check_header_name(name, where="headers")
    check_header_name("X-Campaign_1", where="headers")
