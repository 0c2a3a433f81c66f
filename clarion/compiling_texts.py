"""Compiling templates and conditions, each held against the attributes that are known by then."""

from collections.abc import Mapping, Sequence
from functools import partial
from types import MappingProxyType
from typing import Any

from clarion.campaign import located
from clarion.conditions import Condition, parse
from clarion.errors import TemplateError, nearest
from clarion.templating import Compiled, compile_value

ATTRIBUTES: Mapping[str, Sequence[str]] = MappingProxyType(
    {
        "job": ("name", "description", "tags"),
        "run": ("id", "name", "start_at"),
        "run_item": ("id", "row", "segment"),
        "response": ("status_code", "headers", "body"),
    }
)
"""What the scopes hold that are the same for every item."""

ITEM_SCOPES = ("item", "job", "run")
SEGMENT_SCOPES = (*ITEM_SCOPES, "recipient", "run_item")
ACTION_SCOPES = (*SEGMENT_SCOPES, "parameters", "template")
LIMIT_SCOPES = (*ITEM_SCOPES, "recipient", "parameters")


NOTHING: Mapping[str, Sequence[str]] = MappingProxyType({})


def compile_optional(source: Any, *, where: str, scopes: Sequence[str], **options: Any) -> Any:
    """As `compile_template`; None where there is nothing to compile."""
    return None if source is None else compile_template(source, where=where, scopes=scopes, **options)


def compile_template(
    source: Any,
    *,
    where: str,
    scopes: Sequence[str],
    parameters: Sequence[str] = (),
    html: bool = False,
    more: Mapping[str, Sequence[str]] = NOTHING,
) -> Compiled:
    """The value compiled, and held against the attributes that are known before there is any item.

    Args:
        source: JSON whose texts are templates.
        where: Its path in the file.
        scopes: The scopes that it may use.
        parameters: What the action declares.
        html: Whether values are escaped.
        more: The attributes of further scopes, by name.

    Raises:
        TemplateError: It does not parse, or names an attribute that its scope does not have.
    """
    compiled = compile_value(source, where=where, scopes=scopes, html=html)
    known = {**ATTRIBUTES, **more, "parameters": parameters}
    for scope, name in sorted(compiled.references):
        if scope in known and name not in known[scope]:
            raise TemplateError(
                f"{scope} has no {name!r}",
                where=where,
                expected=f"one of {', '.join(known[scope])}"
                if known[scope]
                else f"no {scope}: there are none",
                nearest=nearest(name, known[scope]),
            )
    return compiled


def compile_condition(
    source: str | None,
    *,
    where: str,
    scopes: Sequence[str],
    more: Mapping[str, Sequence[str]] = NOTHING,
) -> Condition | None:
    """The condition parsed; None where there is none. Takes what `compile_template` takes.

    Raises:
        ConditionError: It does not parse, or names an attribute that its scope does not have.
    """
    if source is None:
        return None
    condition = located(where, partial(parse, source, scopes=scopes))
    located(where, partial(condition.check, {**ATTRIBUTES, **more}))
    return condition
