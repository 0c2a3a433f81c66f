import datetime as dt
import sys
import threading

import pytest

from clarion.conditions import parse
from clarion.errors import ConditionError

NOW = dt.datetime(2026, 1, 15, tzinfo=dt.UTC)

ATTACKS = [
    "__import__('os').system('true')",
    "__import__",
    "().__class__.__bases__[0].__subclasses__()",
    "item.__class__",
    "item.__class__.__mro__[1] == 1",
    "item.x.__init__.__globals__ == 1",
    "item.x.items() == 1",
    "item.x.format(1) == 'a'",
    "lower(item.x).__class__ == 'a'",
    "lower(item.x)[0] == 'a'",
    "lower.__globals__ == 1",
    "lower.__call__(item.x) == 'a'",
    "'a'.join(item.x) == 'a'",
    "'{0.__class__}'.format(item) == 'a'",
    "'%s' % item.x == 'a'",
    "'a'[0] == 'a'",
    "f'{item.x}' == 'a'",
    "f'{__import__(\"os\")}' == 'a'",
    "b'a' == item.x",
    "u'a' == item.x",
    "rb'a' == item.x",
    "eval('1') == 1",
    "exec('1')",
    "open('/etc/passwd')",
    "getattr(item, 'x') == 1",
    "globals() == 1",
    "print(item.x)",
    "lambda: 1",
    "(lambda: item.x)() == 1",
    "[x for x in item.x] == 1",
    "any(x == 1 for x in item.x)",
    "{x: 1 for x in item.x} == 1",
    "{1, 2} == item.x",
    "{'a': 1} == item.x",
    "(y := item.x) == 1",
    "lower(*item.x) == 'a'",
    "lower(**item.x) == 'a'",
    "lower(text=item.x) == 'a'",
    "*item.x",
    "item.x if item.y else item.z",
    "await item.x",
    "(yield item.x)",
    "(yield from item.x)",
    "item.x; item.y",
    "import os",
    "item.x = 1",
    "del item.x",
    "10 ** 10 ** 10 == item.x",
    "item.x ** 2 == 1",
    "item.x // 2 == 1",
    "item.x << 100000 == 1",
    "item.x @ item.y == 1",
    "item.x | item.y",
    "~item.x == 1",
    "+item.x == 1",
    "'a' * 10 ** 9 == item.x",
    "'a' * 1000000000 == item.x",
    "[0] * 1000000000 == item.x",
    "[item.x] == 1",
    "(item.x, 1) == 1",
    "item[item.y] == 1",
    "item[1:2] == 1",
    "item['a', 'b'] == 1",
    "item[True] == 1",
    "item[1.5] == 1",
    "item[lower('a')] == 1",
    "1j == item.x",
    "... == item.x",
    "item.x is item.y",
    "item.x) or (item.y",
    "item.x] or [item.y",
    "item.x == 1] + [item.y == 2",
    "item.x == 1 for item.y in [1",
    "item.x == 1\nitem.y == 2",
    "item.x == '\\N{BULLET}'",
    "item.x == '\\ud800'",
    "item.x == '\ud800'",
    "item.x == '\\x00'",
    "item.x == 1\x00",
    "\\",
    "`item.x`",
    "item.x == $1",
    "?",
    "'unclosed",
    "'''unclosed",
    "1or item.x" + "(" * 10,
    "(" * 3000,
    "(" * 1900 + "item.x" + ")" * 1900,
    "[" * 3000 + "]",
    "-" * 3900 + "1 == 1",
    "not " * 990 + "item.x",
    "item" + ".x" * 1900,
    "item" + "[0]" * 1300,
    "1" + "+1" * 1900 + " == 1",
    "lower(" * 600 + "item.x" + ")" * 600 + " == 'a'",
    "item.x == " * 390 + "lower",
    "item.x == '" + "a" * 4000 + "'",
]


@pytest.mark.parametrize(
    "source", ATTACKS, ids=[f"{number}-{attack[:24]!a}" for number, attack in enumerate(ATTACKS)]
)
def test_conditions_refuse_whatever_is_not_listed(source: str):
    """Everything that is no part of the language is a ConditionError, however odd, deep or long it is."""
    with pytest.raises(ConditionError):
        parse(source, scopes=["item"])


def test_conditions_never_touch_an_objects_attributes():
    """Names lead into mappings and lists alone: an object in the data is not asked for anything."""

    class Trap:
        def __getattribute__(self, name: str) -> object:
            if name not in {"__class__"}:
                raise AssertionError(f"{name} was read")
            return object.__getattribute__(self, name)

    for source in (
        "item.x.status == 1",
        'item.x == "a"',
        "item.x[0] == 1",
        '"a" in item.x',
        "item.x",
        "length(item.x) == 1",
    ):
        assert not parse(source, scopes=["item"]).holds({"item": {"x": Trap()}}, now=NOW)


def test_conditions_of_the_greatest_depth_need_little_stack():
    """The deepest condition that is accepted is read and evaluated far from the recursion limit."""
    source = "not " * 40 + "item.x"
    held: list[bool] = []

    def nested(levels: int) -> None:
        if levels:
            nested(levels - 1)
        else:
            held.append(parse(source, scopes=["item"]).holds({"item": {"x": "yes"}}, now=NOW))

    thread = threading.Thread(target=nested, args=(sys.getrecursionlimit() // 2,))
    thread.start()
    thread.join()

    assert held == [True]
