"""What an item's named limits go by: the sender, the account, the host that its keys render to."""

import hashlib
from collections.abc import Mapping
from typing import Any

import orjson

from clarion.campaign import CompiledAction, CompiledSegment
from clarion.errors import RenderError
from clarion.templating import Compiled

MOST_CHARACTERS = 200
"""A longer value is kept as a digest of it: PostgreSQL finds no key by more than 2,700 bytes."""


def limit_keys(action: CompiledAction, segment: CompiledSegment, scope: Mapping[str, Any]) -> str | None:
    """The values of an action's limit keys for one item, as the ledger keeps them; None without limits.

    A JSON list, one text a limit, empty where a limit has no key: `["Acme",""]`.

    Args:
        action: The action that the item is sent with.
        segment: The segment as it sends it: whose parameters the keys see.
        scope: `item`, `job`, `run` and `recipient`.

    Raises:
        RenderError: A key, or a parameter that it uses, does not render with this item.
    """
    if not action.limit_keys:
        return None
    names = _parameters_of(action)
    if names is None or names:
        scope = {**scope, "parameters": action.values(segment, scope, names=names)}
    values = ["" if key is None else _value(key, scope) for key in action.limit_keys]
    return orjson.dumps(values).decode()


def _parameters_of(action: CompiledAction) -> frozenset[str] | None:
    """The parameters that the keys name; None where they look them up by a name that is only found then."""
    keys = [key for key in action.limit_keys if key is not None and "parameters" in key.scopes]
    found = [{name for scope, name in key.references if scope == "parameters"} for key in keys]
    return frozenset().union(*found) if all(found) else None


def _value(key: Compiled, scope: Mapping[str, Any]) -> str:
    text = key.render_text(scope).strip()
    if len(text) <= MOST_CHARACTERS and text.isprintable():
        return text
    try:
        return f"sha256:{hashlib.sha256(text.encode()).hexdigest()}"
    except UnicodeEncodeError:
        raise RenderError(f"{key.where}: holds half a character (a lone surrogate)") from None
