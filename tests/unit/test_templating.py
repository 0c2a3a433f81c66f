"""Compiling and rendering templates."""

import threading
from typing import Any

import pytest

from clarion.errors import RenderError, TemplateError
from clarion.templating import SCOPES, Compiled, compile_text, compile_value

SCOPE = {
    "item": {
        "First Name": "Ann",
        "items": "mine",
        "plan": "gold",
        "empty": None,
        "days_left": "12",
        "zip": "0049",
        "count": 3,
        "tags": ["a", "b"],
        "address": {"city": "Lyon", "floor": None},
        "markup": "<b>&</b>",
    },
    "recipient": "+447700900123",
    "parameters": {"sender": "Acme"},
    "template": {"message": "Hi {{ item.plan }}"},
    "job": {"name": "renewals"},
    "run": {},
    "run_item": {"id": 42},
}


def compiled(source: str, *, html: bool = False) -> Compiled:
    """One template that may use every scope."""
    return compile_text(source, where="t", scopes=SCOPES, html=html)


def rendered(source: str, scope: dict[str, Any] | None = None, *, html: bool = False) -> Any:
    """What one template gives."""
    return compiled(source, html=html).render(SCOPE if scope is None else scope)


def test_payload_renders_every_text_within_it_and_keeps_the_rest():
    """Texts at any depth are templates; names, numbers, null and the order of names stay."""
    payload = {
        "from": "{{ parameters.sender }}",
        "to": [{"number": "{{ recipient }}"}],
        "n": 1,
        "rate": 0.5,
        "flag": True,
        "none": None,
        "text": "{{ template.message }}",
    }
    result = compile_value(payload, where="payload", scopes=SCOPES).render(SCOPE)
    assert result == payload | {
        "from": "Acme",
        "to": [{"number": "+447700900123"}],
        "text": "Hi {{ item.plan }}",
    }
    assert list(result) == list(payload)


def test_payload_is_new_for_each_render():
    """What a caller does to one message's payload does not reach the next."""
    template = compile_value({"a": {"b": []}, "c": "{{ item.tags }}"}, where="payload", scopes=SCOPES)
    first = template.render(SCOPE)
    first["a"]["b"].append(1)
    first["c"].append(1)
    assert template.render(SCOPE) == {"a": {"b": []}, "c": ["a", "b"]}
    assert SCOPE["item"]["tags"] == ["a", "b"]


@pytest.mark.parametrize(
    ("source", "value"),
    [
        ("{{ item.count }}", 3),
        ("{{ item.zip }}", "0049"),
        ("{{ item.tags }}", ["a", "b"]),
        ("{{ item.address }}", {"city": "Lyon", "floor": None}),
        ("{{ item.count == 3 }}", True),
        ("{{ none }}", None),
        ("{{ item.empty | default(none) }}", None),
        ("{{ item.count }}{{ item.count }}", "33"),
        ("{{ item.count }} ", "3 "),
        ("{{ item.count }}\n", "3\n"),
        ("{% if true %}{{ item.count }}{% endif %}", "3"),
        ("{{ '[1, 2]' }}", "[1, 2]"),
        ("{{ true }}!", "true!"),
        ("{{ item.tags }}!", '["a","b"]!'),
        ("{{ 'a' ~ 1 ~ true ~ item.tags }}", 'a1true["a","b"]'),
        ("{{ 'only then' if item.count == 4 }}", ""),
    ],
)
def test_render_keeps_the_type_of_a_lone_expression_only(source: str, value: Any):
    """One expression alone keeps its type; with anything beside it the result is text."""
    result = rendered(source)
    assert (result, type(result)) == (value, type(value))


def test_render_text_is_always_text():
    """URLs and headers take text, whatever the type of the expression."""
    assert compiled("{{ item.count }}").render_text(SCOPE) == "3"
    assert compiled("{{ item.tags }}").render_text(SCOPE) == '["a","b"]'
    assert compile_value(True, where="t", scopes=()).render_text({}) == "true"
    with pytest.raises(RenderError, match=r"^t: none cannot stand within text"):
        compiled("{{ none }}").render_text(SCOPE)


@pytest.mark.parametrize("source", ["{{ item.items }}", "{{ item['items'] }}"])
def test_attribute_is_never_a_method(source: str):
    """An attribute with the name of a dict's method is the attribute."""
    assert rendered(source) == "mine"


@pytest.mark.parametrize("source", ["{{ item.keys }}", "{{ item.__class__ }}", "{{ item.plan.upper }}"])
def test_python_attribute_is_missing(source: str):
    """Nothing of Python is reachable by a dot, not even to look at."""
    with pytest.raises(RenderError, match="has no"):
        rendered(source)
    assert rendered(source.replace(" }}", " is defined }}")) is False


@pytest.mark.parametrize(
    ("source", "reason"),
    [
        ("Dear {{ item.empty }}", "t: item.empty is empty"),
        ("Dear {{ item['first name'] }}", "t: item has no 'first name' (did you mean 'First Name'?)"),
        ("{{ item.address.town }}", "t: item.address has no 'town'"),
        ("{{ item.address.floor }}", "t: item.address.floor is empty"),
        ("{{ item.tags[7] }}", "t: item.tags has no element 7: it has 2"),
        ("{{ item.nowhere.at.all }}", "t: item has no 'nowhere'"),
        ("{{ event.text }}", "t: event is missing"),
        ("{{ item.plan + 1 }}", None),
        ("{{ item.empty | upper }}", "t: item.empty is empty"),
        ("{{ item.empty | date }}", "t: item.empty is empty"),
        ("{{ item.count | date(locale=item.empty) }}", None),
        ("{% for tag in item.empty %}{% endfor %}", "t: item.empty is empty"),
        ("{% if item.empty %}{% endif %}", "t: item.empty is empty"),
        ("{{ [item.empty] }}", "t: item.empty is empty"),
        ("{{ {'a': item.empty} }}", "t: item.empty is empty"),
        ("{{ [item.empty] | tojson }}", "t: item.empty is empty"),
        ("{{ [] | first }}", "t: No first item, sequence was empty."),
        ("{{ 1 / 0 }}", "t: division by zero"),
        ("{{ item[item.tags] }}", None),
        ("{% if item.count == 0 %}{% set x = 1 %}{% endif %}{{ x }}", "t: x is missing"),
        ("{% for i in [1] %}{% if i == 0 %}{% set x = 1 %}{% endif %}{{ x }}{% endfor %}", "t: x is missing"),
    ],
)
def test_render_error_says_where_and_why(source: str, reason: str | None):
    """The reason names the attribute in plain words."""
    with pytest.raises(RenderError) as caught:
        rendered(source)
    assert caught.value.message == reason if reason else caught.value.message.startswith("t: ")


def test_render_error_names_the_path_within_the_payload():
    """An error in a nested text names that text."""
    payload = {"to": ["{{ item.nope }}"], "text": "x"}
    with pytest.raises(RenderError, match=r"^actions\.send-sms\.payload\.to\[0\]: item has no 'nope'"):
        compile_value(payload, where="actions.send-sms.payload", scopes=SCOPES).render(SCOPE)


def test_missing_is_filled_by_default_and_asked_by_tests():
    """Null, absent, and an attribute of either are all missing."""
    for path in (
        "item.empty",
        "item.nope",
        "item.empty.deeper",
        "item.address.floor",
        "item.tags[9]",
        "event.x",
    ):
        assert rendered(f"{{{{ {path} | default('filled') }}}}") == "filled"
        assert rendered(f"{{{{ [{path} is defined, {path} is undefined, {path} is none] }}}}") == [
            False,
            True,
            True,
        ]


@pytest.mark.parametrize(
    ("source", "where", "problem"),
    [
        ("{{ item.plan", "t", "line 1: "),
        ("fine\n{{ item. }}", "t", "line 2: "),
        ("{{ item.plan | uper }}", "t", "there is no filter 'uper' (did you mean 'upper'?)"),
        ("{{ item.plan is strin }}", "t", "there is no test 'strin' (did you mean 'string'?)"),
        ("{{ item.tags | map('uper') }}", "t", "there is no filter 'uper' (did you mean 'upper'?)"),
        ("{{ item.tags | select('od') }}", "t", "there is no test 'od'"),
        ("{{ itm.plan }}", "t", "(did you mean 'item'?)"),
        ("{{ event.text }}", "t", "'event' is not known here"),
        ("{{ recipient.number }}", "t", "recipient is text and has no 'number'"),
        ("{% set item = 1 %}", "t", "'item' cannot be set"),
        ("{% for i in [1] %}{% set x = i %}{% endfor %}{{ x }}", "t", "'x' is set within a loop"),
        ("{% with x = 1 %}{% endwith %}{{ x }}", "t", "'x' is set within a loop or a with"),
        ("{% for i in [1] %}{{ y }}{% set x = i %}{% endfor %}", "t", "the name 'y' is not known"),
        ("{{ item.plan.upper() }}", "t", "expected a filter: {{ value | upper }}"),
    ],
)
def test_template_error_says_where_and_what_is_nearest(source: str, where: str, problem: str):
    """A template that cannot work is refused before anything is sent."""
    with pytest.raises(TemplateError) as caught:
        compile_text(source, where="t", scopes=[scope for scope in SCOPES if scope != "event"])
    assert caught.value.where == where
    assert problem in caught.value.message


def test_template_error_names_the_nested_path():
    """The path within a payload is told as a person would write it."""
    with pytest.raises(TemplateError) as caught:
        compile_value({"a-b": [{"c d": "{{ x }}"}]}, where="payload", scopes=SCOPES)
    assert caught.value.where == "payload.a-b[0]['c d']"


@pytest.mark.parametrize(
    "value",
    [
        {"{{ item.plan }}": 1},
        {1: "x"},
        object(),
        float("nan"),
        "x" * (2 << 20),
        [[["\ud800"]]],
        2**64,
    ],
)
def test_value_that_is_no_json_is_refused(value: Any):
    """A name with a template in it, and what JSON cannot carry, is refused when it is compiled."""
    with pytest.raises(TemplateError) as caught:
        compile_value(value, where="payload", scopes=SCOPES)
    assert caught.value.where.startswith("payload")


def test_value_nested_without_end_is_refused():
    """Depth is bounded when compiling and when rendering."""
    deep: list[Any] = []
    for _ in range(2_000):
        deep = [deep]
    with pytest.raises(TemplateError, match="nested deeper"):
        compile_value(deep, where="payload", scopes=SCOPES)
    for source in ("{{ item.deep }}", "x{{ item.deep }}", "{{ item.deep | tojson }}"):
        with pytest.raises(RenderError, match="nested deeper"):
            rendered(source, {"item": {"deep": deep}})


def test_references_are_the_attributes_that_the_templates_name():
    """Both spellings count, at any depth of the payload; a computed name does not."""
    template = compile_value(
        {
            "a": "{{ item.plan }} {{ item['First Name'] | default(parameters.sender) }}",
            "b": ["{{ item[job.name] }}"],
        },
        where="payload",
        scopes=SCOPES,
    )
    assert template.references == {
        ("item", "plan"),
        ("item", "First Name"),
        ("parameters", "sender"),
        ("job", "name"),
    }
    assert template.scopes == {"item", "parameters", "job"}


def test_constant_tells_whether_there_is_any_template():
    """A value without templates renders without a scope."""
    template = compile_value({"a": ["b", 1], "c": None}, where="t", scopes=())
    assert template.constant
    assert template.render({}) == {"a": ["b", 1], "c": None}
    assert not compile_value({"a": ["{{ 1 }}"]}, where="t", scopes=()).constant


@pytest.mark.parametrize(
    "source", ["a\r\nb\rc\nd\n", "a\r\n{{ 'x\r\ny' }}{{\r\n1 }}\r\n", "\x1c\r{{ 1 }}\n\n"]
)
def test_line_ends_come_out_as_they_were_written(source: str):
    """No line end is changed or dropped, with templates or without."""
    expected = source.replace("{{ 'x\r\ny' }}{{\r\n1 }}", "x\r\ny1").replace("{{ 1 }}", "1")
    assert rendered(source) == expected


def test_html_escapes_values_and_text_does_not():
    """Only an html template escapes, once, and it gives text."""
    assert rendered("<p>{{ item.markup }}</p>", html=True) == "<p>&lt;b&gt;&amp;&lt;/b&gt;</p>"
    assert rendered("{{ item.markup | e }}", html=True) == "&lt;b&gt;&amp;&lt;/b&gt;"
    assert rendered("{{ item.markup ~ '<' }}", html=True) == "&lt;b&gt;&amp;&lt;/b&gt;&lt;"
    assert rendered("<i>{{ item.markup | tojson }}</i>", html=True).count("<") == 2
    assert rendered("{{ item.count }}", html=True) == "3"
    assert type(rendered("{{ item.markup }}", html=True)) is str
    assert rendered("{{ item.markup }}") == "<b>&</b>"


def test_variables_of_one_text_do_not_reach_the_next():
    """Texts of a payload are rendered together but know nothing of one another."""
    payload = {
        "a": "{% set x = 1 %}{{ x }}",
        "b": "{% if item.count == 3 %}{% set x = 2 %}{% else %}{% set x = 3 %}{% endif %}{{ x }}",
    }
    assert compile_value(payload, where="p", scopes=SCOPES).render(SCOPE) == {"a": "1", "b": "2"}
    with pytest.raises(TemplateError, match=r"^p\.b: line 1: the name 'x' is not known"):
        compile_value({"a": payload["a"], "b": "{{ x }}"}, where="p", scopes=SCOPES)


def test_compiled_is_rendered_by_many_threads_at_once():
    """One compiled template serves every thread."""
    template = compiled("{% for i in range(item.n) %}{{ loop.index }}{% set x = i %}{{ x }}{% endfor %}")
    results: dict[int, set[str]] = {}

    def work(n: int) -> None:
        results[n] = {template.render({"item": {"n": n}}) for _ in range(200)}

    threads = [threading.Thread(target=work, args=(n,)) for n in range(1, 5)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert results == {n: {"".join(f"{i + 1}{i}" for i in range(n))} for n in range(1, 5)}
