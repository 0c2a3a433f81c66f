"""Holding templates against what they name: an action's against a segment's texts, all against the lists."""

from collections.abc import Collection, Iterable

from clarion.errors import InputErrors, TemplateError, nearest
from clarion.templating import Compiled


def check_texts(templates: Iterable[Compiled], names: Collection[str], *, action: str, where: str) -> None:
    """Whether a segment has every message text that its action asks for.

    Args:
        templates: The action's.
        names: Names of the segment's texts.
        action: Name of the action.
        where: Path of the segment's texts.

    Raises:
        TemplateError: One is missing.
        InputErrors: Several are.
    """
    missing = _missing(templates, scope="template", names=names)
    _refuse(
        TemplateError(
            f"the action {action!r} uses template.{name} (at {place}), which is not given here",
            where=where,
            expected=f"one of {', '.join(names)} there, or {name} here" if names else f"{name} here",
            nearest=nearest(name, names),
        )
        for name, place in missing.items()
    )


def check_items(templates: Iterable[Compiled], columns: Collection[str]) -> None:
    """Whether some list has each attribute without which a template never renders.

    Args:
        templates: What is rendered for items.
        columns: The attributes that the lists have together.

    Raises:
        TemplateError: One names an attribute that no list has.
        InputErrors: Several do.
    """
    missing = _missing(templates, scope="item", names=columns)
    _refuse(
        TemplateError(f"no list has the attribute {name!r}", where=place, nearest=nearest(name, columns))
        for name, place in missing.items()
    )


def _missing(templates: Iterable[Compiled], *, scope: str, names: Collection[str]) -> dict[str, str]:
    """The attributes of a scope that must be there and are not, each with the first place that names it."""
    found: dict[str, str] = {}
    for template in templates:
        for (of, name), place in template.required.items():
            if of == scope and name not in names:
                found.setdefault(name, place)
    return found


def _refuse(problems: Iterable[TemplateError]) -> None:
    found = list(problems)
    if found:
        raise found[0] if len(found) == 1 else InputErrors(found)
