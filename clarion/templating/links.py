"""The functions of templates that make links: `link(...)` and `unsubscribe_link(...)`.

A call becomes an internal filter of the same arguments, so that the sandbox goes on calling nothing. What
makes the links stands in the scope under a name that no template can spell.
"""

import re
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, NamedTuple, Protocol

from jinja2 import nodes
from jinja2.runtime import Context
from jinja2.utils import pass_context

from clarion.errors import RenderError, TemplateError, nearest
from clarion.templating.limits import encodable, to_text

LINK, UNSUBSCRIBE = "link", "unsubscribe_link"
LINKS_SCOPE = "(links)"
"""Where a render finds what makes its links."""

UNSUBSCRIBE_SCOPES = ("everything", "channel", "job")

_OPTIONS = MappingProxyType({LINK: ("name", "click_id"), UNSUBSCRIBE: ("scope",)})
FUNCTIONS = frozenset(_OPTIONS)
NEEDED_SCOPE = "run_item"
"""A link belongs to a run item: where there is none, there are no links."""

_WORD = re.compile(r"[\w.-]{1,64}", re.ASCII)
_DEFAULT_NAME = "link"


class Stem(NamedTuple):
    """What all links of one call in a template have in common.

    `prefix` is the text that each of its URLs begins with, the whole URL where nothing in it depends on the
    item. `click_id` is the query parameter that hands the token on to the page, empty for none.
    """

    name: str
    prefix: str
    click_id: str = ""


class Links(Protocol):
    """Makes the links of one run item."""

    def link(self, url: str, stem: Stem) -> str:
        """The short URL that leads to `url`. Raises RenderError."""
        ...

    def unsubscribe_link(self, scope: str) -> str:
        """The URL of the recipient's unsubscribe page. Raises RenderError."""
        ...


def is_link_call(node: nodes.Node) -> bool:
    """Whether the node calls one of the functions."""
    return isinstance(node, nodes.Call) and isinstance(node.node, nodes.Name) and node.node.name in FUNCTIONS


def check_link_call(node: nodes.Call) -> None:
    """Refuses what a call cannot have.

    Raises:
        TemplateError: With the line and the form that it should have.
    """
    name = _function(node)
    try:
        if name == LINK:
            stem = stem_of(node)
            _check_words(node, stem)
        else:
            _unsubscribe_scope(node)
    except TemplateError as exc:
        raise TemplateError(
            f"line {node.lineno}: {exc.problem}", expected=exc.expected, nearest=exc.nearest
        ) from None


def _check_words(node: nodes.Call, stem: Stem) -> None:
    given = _options(node)
    for option, value in (("name", stem.name), ("click_id", stem.click_id)):
        if option in given and not _WORD.fullmatch(value):
            raise TemplateError(
                f"the {option} {value!r} of a link is no plain word", expected="letters, digits, - _ ."
            )
    if isinstance(node.args[0], nodes.Const):
        try:
            check_target(stem.prefix)
        except RenderError as exc:
            raise TemplateError(exc.message) from None


def stem_of(node: nodes.Call) -> Stem:
    """What the links of a call of `link` have in common.

    Raises:
        TemplateError: The call has not one URL, or options that are not known or not fixed.
    """
    if len(node.args) != 1 or node.dyn_args is not None or node.dyn_kwargs is not None:
        raise TemplateError("link takes one URL", expected='link("https://...", name="offer")')
    options = _options(node)
    return Stem(options.get("name", _DEFAULT_NAME), _prefix(node.args[0]), options.get("click_id", ""))


def link_filter(node: nodes.Call) -> tuple[str, nodes.Expr, list[nodes.Expr]]:
    """The internal filter that stands for a call: its name, its value and its arguments."""
    if _function(node) == LINK:
        return f"({LINK})", node.args[0], [nodes.Const(part) for part in stem_of(node)]
    return f"({UNSUBSCRIBE})", nodes.Const(_unsubscribe_scope(node)), []


def _function(node: nodes.Call) -> str:
    assert isinstance(node.node, nodes.Name)  # noqa: S101  # is_link_call
    return node.node.name


def _unsubscribe_scope(node: nodes.Call) -> str:
    if node.args or node.dyn_args is not None or node.dyn_kwargs is not None:
        raise TemplateError("unsubscribe_link takes no URL", expected='unsubscribe_link(scope="job")')
    scope = _options(node).get("scope", UNSUBSCRIBE_SCOPES[0])
    if scope not in UNSUBSCRIBE_SCOPES:
        raise TemplateError(
            f"there is no scope {scope!r}",
            expected=f"one of {', '.join(UNSUBSCRIBE_SCOPES)}",
            nearest=nearest(scope, UNSUBSCRIBE_SCOPES),
        )
    return scope


def _options(node: nodes.Call) -> dict[str, str]:
    """The named arguments: known names, fixed texts."""
    function, given = _function(node), {}
    for keyword in node.kwargs:
        known = _OPTIONS[function]
        if keyword.key not in known:
            raise TemplateError(
                f"{function} has no argument {keyword.key!r}",
                expected=f"one of {', '.join(known)}",
                nearest=nearest(keyword.key, known),
            )
        if not isinstance(keyword.value, nodes.Const) or not isinstance(keyword.value.value, str):
            raise TemplateError(f"the {keyword.key} of {function} is a fixed text, in quotes")
        given[keyword.key] = keyword.value.value
    return given


def _prefix(url: nodes.Expr) -> str:
    """The text that the value of an expression begins with, whatever the item."""
    if isinstance(url, nodes.Concat):
        return _prefix(url.nodes[0])
    if isinstance(url, nodes.Add):
        return _prefix(url.left)
    return url.value if isinstance(url, nodes.Const) and isinstance(url.value, str) else ""


MOST_CHARACTERS = 2_000
"""Longer URLs do not get through every browser and proxy."""

# No blanks or control characters; no user, no backslash: what reads as one host and leads to another.
_TARGET = re.compile(r"https?://[^\s\x00-\x20\x7f/?#@\\]+(?:[/?#][^\s\x00-\x20\x7f\\]*)?", re.IGNORECASE)


def check_target(url: str) -> None:
    """Whether a link may lead there.

    Raises:
        RenderError: It is no absolute http or https URL, or holds what has to be encoded.
    """
    if len(url) > MOST_CHARACTERS:
        raise RenderError(f"a link's URL has more than {MOST_CHARACTERS} characters")
    if not _TARGET.fullmatch(url):
        blank = any(char.isspace() for char in url.strip())
        advice = ": what is filled in needs | urlencode" if blank else ""
        raise RenderError(f"a link needs an absolute http or https URL without blanks or user names{advice}")


def _links(context: Context) -> Links:
    found = context.scope.get(LINKS_SCOPE)  # ty: ignore[missing-attribute]  # a RenderContext
    if found is None:
        raise RenderError("there is no run item here that a link could belong to")
    return found


@pass_context
def _made_link(context: Context, url: Any, name: str, prefix: str, click_id: str) -> str:
    target = encodable(to_text(url))
    check_target(target)
    return _links(context).link(target, Stem(name, prefix, click_id))


@pass_context
def _made_unsubscribe_link(context: Context, scope: str) -> str:
    return _links(context).unsubscribe_link(scope)


LINK_FILTERS: Mapping[str, Callable[..., str]] = MappingProxyType(
    {f"({LINK})": _made_link, f"({UNSUBSCRIBE})": _made_unsubscribe_link}
)
"""What the compiler puts in the place of the calls. No template can spell their names."""
