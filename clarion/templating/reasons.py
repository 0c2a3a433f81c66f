"""Why a text did not render, in words for the person who wrote it; without the item's values."""

from collections.abc import Iterator, Mapping
from typing import Any

from clarion.errors import ItemError, RenderError, nearest
from clarion.templating.environment import MissingError, absent

_SEARCHED_DEPTH = 6
_KINDS = {str: "a text", bool: "true or false", int: "a number", float: "a number", list: "a list"}


def render_error(error: Exception, *, where: str, scope: Mapping[str, Any]) -> RenderError:
    """The error of one item for whatever went wrong while its text was rendered."""
    return RenderError(f"{where}: {_reason(error, scope)}")


def _reason(error: Exception, scope: Mapping[str, Any]) -> str:
    if isinstance(error, MissingError):
        return _missing(error, scope)
    if isinstance(error, ItemError):
        return error.message
    if isinstance(error, RecursionError):
        return "a value is nested too deeply"
    if isinstance(error, TypeError) and "'str'" in str(error):
        return f"{error} (what a list holds is text; | int and | float make it a number)"
    return str(error) or type(error).__name__


def _missing(error: MissingError, scope: Mapping[str, Any]) -> str:
    owner, name = error.owner, error.name
    if owner is absent:
        return f"{name} is missing"
    place = _place(owner, scope)
    if isinstance(owner, Mapping):
        if name in owner:
            return f"{place}{_step(name)} is empty"
        near = nearest(name, owner) if isinstance(name, str) else None
        return f"{place} has no {name!r}" + (f" (did you mean {near!r}?)" if near else "")
    if isinstance(owner, list | tuple | range) and isinstance(name, int):
        return f"{place} has no element {name}: it has {len(owner)}"
    return f"{_KINDS.get(type(owner), 'the value')} has no {name!r}"


def _place(owner: Any, scope: Mapping[str, Any]) -> str:
    """`item.address` for the mapping that stands there."""
    return next((path for path, value in _places(scope, "", 0) if value is owner), "the value")


def _places(values: Any, path: str, depth: int) -> Iterator[tuple[str, Any]]:
    if depth > _SEARCHED_DEPTH:
        return
    named = values.items() if isinstance(values, Mapping) else enumerate(values)
    for name, value in named:
        if isinstance(value, Mapping | list):
            inner = f"{path}{_step(name)}" if path else str(name)
            yield inner, value
            yield from _places(value, inner, depth + 1)


def _step(name: Any) -> str:
    return f".{name}" if isinstance(name, str) and name.isidentifier() else f"[{name!r}]"
