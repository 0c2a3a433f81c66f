"""The filters and tests of templates: a list of what is allowed, most of it Jinja's own.

Not in it, on purpose: what reaches into objects (`attr`), makes markup of data (`safe`, `xmlattr`,
`urlize`), is random (`random`), can be asked for gigabytes (`format`, `center`, `indent`, `wordwrap`), or has
no use in a message.
"""

import functools
import math
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any

from jinja2 import Undefined
from jinja2.filters import FILTERS as JINJA_FILTERS
from jinja2.filters import make_attrgetter
from jinja2.nodes import EvalContext
from jinja2.runtime import Context
from jinja2.tests import TESTS as JINJA_TESTS
from jinja2.utils import htmlsafe_json_dumps, pass_context, pass_eval_context

from clarion.errors import RenderError
from clarion.recipients import e164, national
from clarion.templating import formats, names, sms
from clarion.templating.limits import MAX_SIZE, bounded, dumped, gathered, to_text

_JINJA_FILTERS: Mapping[str, Callable[..., Any]] = {**JINJA_FILTERS}
_REQUIRED = object()
_MAX_PRECISION = 15


def _present(function: Callable[..., Any]) -> Callable[..., Any]:
    """The filter; of a missing value it tells that, rather than that it is no text or number."""

    @functools.wraps(function)
    def checked(value: Any, *args: Any, **kwargs: Any) -> Any:
        if isinstance(value, Undefined):
            str(value)
        return function(value, *args, **kwargs)

    return checked


@_present
def to_int(value: Any, default: Any = _REQUIRED) -> Any:
    """A whole number; a fraction is cut off."""
    try:
        return bounded(int(value))
    except (ValueError, TypeError, OverflowError):
        return int(number) if (number := to_float(value, None)) is not None else _or_default(default, "int")


@_present
def to_float(value: Any, default: Any = _REQUIRED) -> Any:
    """A number."""
    try:
        number = float(value)
    except (ValueError, TypeError, OverflowError):
        return _or_default(default, "float")
    return number if math.isfinite(number) else _or_default(default, "float")


def _or_default(default: Any, asked_by: str) -> Any:
    """Jinja gives 0 for what is no number: nobody wants to tell a customer a balance of 0 by mistake."""
    if default is _REQUIRED:
        raise RenderError(f"{asked_by}: the value is no number")
    return default


@_present
def rounded(value: Any, precision: int = 0, method: str = "common") -> Any:
    """The number rounded to `precision` digits behind the point; whole without one."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise RenderError("round: the value is no number")
    if not 0 <= precision <= _MAX_PRECISION:
        raise RenderError(f"round: the precision is not between 0 and {_MAX_PRECISION}")
    result = _JINJA_FILTERS["round"](value, precision, method)
    return result if precision else int(result)


@_present
def replaced(value: Any, old: Any, new: Any) -> str:
    """The text with every `old` replaced by `new`."""
    text, old, new = to_text(value), to_text(old), to_text(new)
    if len(text) + text.count(old) * max(len(new) - len(old), 0) > MAX_SIZE:
        raise RenderError(f"replace: the result gets larger than {MAX_SIZE} characters")
    return text.replace(old, new)


@pass_eval_context
def joined(eval_context: EvalContext, values: Any, separator: str = "", attribute: Any = None) -> str:
    """The values as text with `separator` between them."""
    if attribute is not None:
        values = map(make_attrgetter(eval_context.environment, attribute), values)
    texts = gathered(to_text(value) for value in values)
    bounded([separator] * len(texts))
    return _JINJA_FILTERS["join"](eval_context, texts, separator)


@pass_context
def mapped(context: Context, values: Any, *args: Any, **kwargs: Any) -> list[Any]:
    """An attribute of each value, or each value through a filter."""
    return gathered(_JINJA_FILTERS["map"](context, values, *args, **kwargs))


@_present
def summed(values: Any) -> Any:
    """The sum of numbers."""
    numbers = gathered(values)
    if not all(isinstance(number, int | float) for number in numbers):
        raise RenderError("sum: not all values are numbers")
    return bounded(sum(numbers))


@pass_eval_context
def tojson(eval_context: EvalContext, value: Any) -> str:
    """The value as JSON; within HTML so that it can stand in a script."""
    return htmlsafe_json_dumps(value, dumps=dumped) if eval_context.autoescape else dumped(value)


@_present
def phone(value: Any, region: Any = None) -> str:
    """The phone number in E.164."""
    return e164(to_text(value), region=_region(region))


@_present
def phone_national(value: Any, region: Any = None) -> str:
    """The phone number as it is written in its country."""
    return national(to_text(value), region=_region(region))


def _region(region: Any) -> str | None:
    """An item without a country may still have a number with a country code."""
    return None if region is None or isinstance(region, Undefined) else to_text(region)


@_present
def sms_segments(value: Any) -> int:
    """The number of messages that the text is billed as."""
    return sms.sms_segments(to_text(value))


@_present
def sms_truncate(value: Any, segments: int = 1, end: str = "...") -> str:
    """The text, cut to fit into that many messages."""
    return sms.sms_truncate(to_text(value), segments=segments, end=end)


def is_none(value: Any) -> bool:
    """Whether there is nothing: null and what is missing are the same."""
    return value is None or isinstance(value, Undefined)


_FROM_JINJA = (
    "abs",
    "capitalize",
    "count",
    "d",
    "default",
    "dictsort",
    "e",
    "escape",
    "first",
    "items",
    "last",
    "length",
    "list",
    "lower",
    "max",
    "min",
    "reject",
    "rejectattr",
    "reverse",
    "select",
    "selectattr",
    "sort",
    "striptags",
    "trim",
    "truncate",
    "unique",
    "upper",
    "urlencode",
    "wordcount",
)
_OWN: dict[str, Callable[..., Any]] = {
    "currency": _present(formats.format_currency),
    "date": _present(formats.format_date),
    "datetime": _present(formats.format_datetime),
    "float": to_float,
    "int": to_int,
    "join": joined,
    "map": mapped,
    "number": _present(formats.format_number),
    "percent": _present(formats.format_percent),
    "phone": phone,
    "phone_national": phone_national,
    "replace": replaced,
    "round": rounded,
    "sms_segments": sms_segments,
    "sms_truncate": sms_truncate,
    "string": to_text,
    "sum": summed,
    "time": _present(formats.format_time),
    "title": _present(lambda value: names.title(to_text(value))),
    "tojson": tojson,
}
FILTERS: Mapping[str, Callable[..., Any]] = MappingProxyType(
    {name: _JINJA_FILTERS[name] for name in _FROM_JINJA} | _OWN
)

_TESTS_FROM_JINJA = (
    "!=",
    "<",
    "<=",
    "==",
    ">",
    ">=",
    "boolean",
    "defined",
    "divisibleby",
    "eq",
    "even",
    "false",
    "float",
    "ge",
    "gt",
    "in",
    "integer",
    "iterable",
    "le",
    "lower",
    "lt",
    "mapping",
    "ne",
    "number",
    "odd",
    "sequence",
    "string",
    "true",
    "undefined",
    "upper",
)
TESTS: Mapping[str, Callable[..., bool]] = MappingProxyType(
    {name: JINJA_TESTS[name] for name in _TESTS_FROM_JINJA} | {"none": is_none}
)
