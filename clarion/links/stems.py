"""The links that a job's templates make, found in the job as a run keeps it.

A token names a link by a few bytes instead of carrying its URL. What they stand for is told by the run's own
snapshot of its job, which never changes: nothing more is stored, and a redirect needs no table.
"""

import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

from jinja2 import nodes

from clarion.errors import TemplateError
from clarion.templating.environment import ENVIRONMENTS
from clarion.templating.links import LINK, UNSUBSCRIBE, Stem, is_link_call, stem_of

CODE_BYTES = 3


@dataclass(frozen=True, kw_only=True)
class Found:
    """What the templates of a job make: links with these stems, and unsubscribe links or not."""

    stems: frozenset[Stem]
    unsubscribes: bool

    @property
    def any(self) -> bool:
        """Whether they make a link of either kind."""
        return bool(self.stems) or self.unsubscribes


def find_links(document: Any) -> Found:
    """The links of every template in a document.

    Read from the texts and not from the compiled job: a link outlives the version of Clarion that sent it,
    and has to be understood even where the rest of an old job is not.

    Args:
        document: A job as plain JSON data.
    """
    calls = [call for text in _texts(document) for call in _calls(text)]
    stems = {stem for call in calls for stem in _stems(call)}
    return Found(
        stems=frozenset(stems | {stem._replace(prefix="") for stem in stems}),
        unsubscribes=any(_name(call) == UNSUBSCRIBE for call in calls),
    )


def stem_codes(stems: frozenset[Stem], *, run_uid: str) -> Mapping[Stem, bytes]:
    """Each stem with the bytes that stand for it in the tokens of a run.

    They depend on the run's uid: a token that another ledger's run made names nothing here.
    """
    codes: dict[Stem, bytes] = {}
    taken: set[bytes] = set()
    for stem in sorted(stems):
        tries = (_code(stem, run_uid, number) for number in range(len(stems)))
        codes[stem] = next(code for code in tries if code not in taken)
        taken.add(codes[stem])
    return MappingProxyType(codes)


def _code(stem: Stem, run_uid: str, number: int) -> bytes:
    return _digest("\n".join((run_uid, *stem, str(number))))


def run_code(run_uid: str) -> bytes:
    """The bytes by which the unsubscribe links of a run tell it from the runs of other ledgers."""
    return _digest(run_uid)


def _digest(text: str) -> bytes:
    return hashlib.sha256(text.encode()).digest()[:CODE_BYTES]


def _texts(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        if LINK in value and "(" in value:
            yield value
    elif isinstance(value, Mapping):
        for nested in value.values():
            yield from _texts(nested)
    elif isinstance(value, list | tuple):
        for nested in value:
            yield from _texts(nested)


def _calls(text: str) -> list[nodes.Call]:
    try:
        tree = ENVIRONMENTS[False].parse(text)
    except Exception:  # noqa: BLE001  # no template, then: the compiler has seen all that are
        return []
    return [node for node in tree.find_all(nodes.Call) if is_link_call(node)]


def _stems(call: nodes.Call) -> list[Stem]:
    try:
        return [stem_of(call)] if _name(call) == LINK else []
    except TemplateError:  # as above
        return []


def _name(call: nodes.Call) -> str:
    assert isinstance(call.node, nodes.Name)  # noqa: S101  # is_link_call
    return call.node.name
