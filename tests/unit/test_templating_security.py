"""What a template must not be able to do, whoever wrote it."""

import tracemalloc

import pytest

from clarion.errors import RenderError, TemplateError
from clarion.templating import SCOPES, compile_text

SCOPE = {"item": {"name": "Ann", "n": 10**9, "list": [1, 2], "map": {"a": 1}}, "recipient": "+447700900123"}

ESCAPES = [
    "{{ ''.__class__.__mro__[1].__subclasses__() }}",
    "{{ item.__class__ }}",
    "{{ item['__class__'] }}",
    "{{ item.name.__class__.__base__ }}",
    "{{ item.name.format }}",
    "{{ '{0.__class__}'.format(item) }}",
    "{{ '%s' | format(item) }}",
    "{{ '%(x)s' % item }}",
    "{{ item.get('name') }}",
    "{{ item.update({'name': 'x'}) }}",
    "{{ item.list.append(3) }}",
    "{{ item.map.clear() }}",
    "{{ (item | attr('__class__')) }}",
    "{{ item | attr('keys') }}",
    "{{ [item] | map(attribute='__class__') | list }}",
    "{{ [item] | map('attr', '__class__') | list }}",
    "{{ [item] | map(attribute='name.__class__') | list }}",
    "{{ [item] | selectattr('__class__') | list }}",
    "{{ [item] | sum(attribute='__class__') }}",
    "{{ self }}",
    "{{ self.__init__ }}",
    "{{ self._TemplateReference__context }}",
    "{{ lipsum.__globals__ }}",
    "{{ cycler.__init__.__globals__.os }}",
    "{{ joiner() }}",
    "{{ namespace(a=1) }}",
    "{{ dict(a=1) }}",
    "{{ range.__self__ }}",
    "{{ range(3).__class__ }}",
    "{{ config }}",
    "{{ context }}",
    "{{ environment }}",
    "{{ __builtins__ }}",
    "{{ caller() }}",
    "{% for x in [1] %}{{ loop.__class__ }}{% endfor %}",
    "{% for x in [1] %}{{ loop._iterable }}{% endfor %}",
    "{% for x in [1] %}{{ loop._undefined }}{% endfor %}",
    "{% for x in [1] %}{{ loop(item.list) }}{% endfor %}",
    "{% for x in [1] %}{{ loop.cycle.__func__ }}{% endfor %}",
    "{% for x in item.list recursive %}{{ loop([x]) }}{% endfor %}",
    "{% include '/etc/passwd' %}",
    "{% import 'os' as os %}",
    "{% from 'os' import path %}",
    "{% extends 'base' %}",
    "{% block x %}{% endblock %}",
    "{% macro f() %}{{ f() }}{% endmacro %}{{ f() }}",
    "{% call f() %}{% endcall %}",
    "{% autoescape false %}{{ item.name }}{% endautoescape %}",
    "{% set item.name = 'x' %}",
    "{% set range = 1 %}",
    "{% filter upper %}x{% endfilter %}",
    "{% set x %}y{% endset %}",
    "{% do item.list.append(1) %}",
    "{% debug %}",
    "{{ item.name | pprint }}",
    "{{ item.list | random }}",
    "{{ item.name | safe }}",
    "{{ item.map | xmlattr }}",
    "{{ item.list | map(item.name) | list }}",
    "{{ item.nothing.__class__ }}",
    "{{ (1).real }}",
    "{{ item.name.encode }}",
    "{{ item.list.__len__ }}",
]
BOMBS = [
    "{{ range(10**9) | list }}",
    "{{ range(item.n) }}",
    "{{ 'a' * 10**9 }}",
    "{{ 10**9 * 'a' }}",
    "{{ 'a' * item.n }}",
    "{{ [0] * item.n }}",
    "{{ 10 ** 10 ** 10 }}",
    "{{ item.n ** item.n }}",
    "{{ '%1000000000d' % 1 }}",
    "{{ 'a' | center(10**9) }}",
    "{{ 'a' | indent(10**9) }}",
    "{{ 1 | round(10**9) }}",
    "{{ 1 | round(-10**9) }}",
    "{{ ('a' * 10**6) | replace('a', 'b' * 10**6) }}",
    "{{ range(9999) | join('a' * 10**6) }}",
    "{{ range(9999) | map('replace', '1', 'a' * 10**6) | list }}",
    "{% for a in range(9999) %}{% for b in range(9999) %}x{% endfor %}{% endfor %}",
    "{% for a in range(9999) %}{{ 'a' * 10**6 }}{% endfor %}",
    "{{ 'a' * 10**6 }}" * 100,
    "{% set a = 'aaaaaaaaaa' %}" + "{% set a = a ~ a %}" * 40 + "{{ a }}",
    "{% set a = 'aaaaaaaaaa' %}" + "{% set a = a + a %}" * 40 + "{{ a }}",
    "{% set a = [1] %}" + "{% set a = [a, a] %}" * 40 + "{{ a }}",
    "{% set a = [1] %}" + "{% set a = (a, a) %}" * 40 + "{{ a | length }}",
    "{% set a = {} %}" + "{% set a = {'x': a, 'y': a} %}" * 40 + "{{ a == a }}",
    "{% set a = 9 %}" + "{% set a = a * a %}" * 40 + "{{ a }}",
    "{{ " + "(" * 5000 + "1" + ")" * 5000 + " }}",
    "{{ " + "-" * 50000 + "1 }}",
    "{{ " + "9" * 5000 + " }}",
    "{% for a in [1] %}" * 50 + "{% endfor %}" * 50,
    "{{ '1e999999999' | number }}",
    "{{ '1e999999999' | int }}",
    "{{ 'a' * 10**6 ~ 'a' * 10**6 }}",
]


@pytest.mark.parametrize("source", ESCAPES)
@pytest.mark.parametrize("html", [False, True])
def test_escape_from_the_sandbox_is_refused(source: str, html: bool):
    """Nothing of Python is reached, and the item is not changed."""
    with pytest.raises((TemplateError, RenderError)):
        compile_text(source, where="t", scopes=SCOPES, html=html).render(SCOPE)
    assert SCOPE["item"] == {"name": "Ann", "n": 10**9, "list": [1, 2], "map": {"a": 1}}


@pytest.mark.parametrize("source", BOMBS, ids=lambda source: source[:50])
def test_bomb_is_refused_before_it_takes_memory(source: str):
    """What would take gigabytes or hours is an error, within 64 MiB."""
    tracemalloc.start()
    try:
        with pytest.raises((TemplateError, RenderError)):
            compile_text(source, where="t", scopes=SCOPES).render(SCOPE)
        assert tracemalloc.get_traced_memory()[1] < 64 << 20
    finally:
        tracemalloc.stop()


def test_reason_does_not_repeat_what_the_item_holds():
    """Reasons are logged and counted, so that no value of the item stands in them."""
    secret = "s3cr3t-value"
    scope = {"item": {"x": secret, "y": [secret], "z": {"a": secret}}}
    for source in (
        "{{ item.x | int }}",
        "{{ item.x | date }}",
        "{{ item.x | phone('GB') }}",
        "{{ item.x + 1 }}",
        "{{ item.y + 1 }}",
        "{{ item.x | currency(item.x) }}",
        "{{ 1 | currency('GBP', locale=item.x) }}",
        "{{ '2026-01-01T00:00' | date(timezone=item.x) }}",
        "{{ item.x.nope }}",
        "{{ item.z.nope }}",
        "{{ item.x[99] }}",
        "{{ item.x | round }}",
        "{{ item.y | sum }}",
        "{{ range(item.x) }}",
    ):
        with pytest.raises(RenderError) as caught:
            compile_text(source, where="t", scopes=SCOPES).render(scope)
        assert secret not in caught.value.message
