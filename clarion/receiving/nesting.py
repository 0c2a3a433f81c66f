"""JSON that is nested deeper than anything here reads: cut, as text and without recursion."""

import re
from itertools import accumulate

import orjson

from clarion.templating.limits import MAX_DEPTH

_TEXT = rb'"[^"\\]*+(?:\\.[^"\\]*+)*+"?'
"""A text, or what is left where its end is missing: so that no byte is looked at twice."""

_TEXTS = re.compile(_TEXT, re.DOTALL)
_TOKENS = re.compile(_TEXT + rb"|[\[\]{}]", re.DOTALL)
_BEGINS, _ENDS = b"[{", b"]}"
_STEPS = dict.fromkeys(_BEGINS, 1) | dict.fromkeys(_ENDS, -1)
_OTHERS = bytes(set(range(256)) - _STEPS.keys())


def is_deep(body: bytes) -> bool:
    """Whether lists and mappings are nested deeper than `MAX_DEPTH`."""
    if sum(map(body.count, (b"[", b"{"))) <= MAX_DEPTH:
        return False
    levels = accumulate(map(_STEPS.__getitem__, _TEXTS.sub(b"", body).translate(None, _OTHERS)))
    return max(levels, default=0) > MAX_DEPTH


def shallow(body: bytes) -> bytes:
    """The JSON with each list and mapping that is nested too deeply as a text, which is its JSON.

    Args:
        body: Anything; what is no JSON comes back as something that is none.
    """
    if not is_deep(body):
        return body
    parts: list[bytes] = []
    level, kept, begin = 0, 0, 0
    for token in _TOKENS.finditer(body):
        step = _STEPS.get(body[token.start()], 0)
        if step > 0 and level == MAX_DEPTH:
            begin = token.start()
        level += step
        if step < 0 and level == MAX_DEPTH:
            text = body[begin : token.end()].decode("utf-8", "replace")
            parts += [body[kept:begin], orjson.dumps(text)]
            kept = token.end()
    return b"".join([*parts, body[kept:]])
