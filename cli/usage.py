"""Mistakes on the command line in Clarion's own words, and help texts whose examples can be pasted."""

import re
from collections.abc import Iterator, Sequence
from typing import Any

import typer

from clarion.errors import InputError, SettingError, nearest

UsageError: Any = typer.BadParameter.__mro__[1]
"""What Typer raises for every mistake on a command line; it has no public name of its own."""

_AS_WRITTEN = "\b"
"""On a line before a paragraph it keeps Typer from filling the paragraph's lines."""

_QUOTED = re.compile(r"'([^']*)'")


def as_written(text: str) -> str:
    """A help text in which the lines of indented paragraphs, the examples, stay as they are."""
    paragraphs = text.strip("\n").split("\n\n")
    return "\n\n".join(f"{_AS_WRITTEN}\n{each}" if each.startswith("    ") else each for each in paragraphs)


def keep_examples(app: typer.Typer) -> None:
    """Has the help of all commands of an application, and of its groups, show examples as lines."""
    for command in app.registered_commands:
        command.help = as_written(command.help or "")
    for group in app.registered_groups:
        if group.typer_instance is not None:
            keep_examples(group.typer_instance)


def help_if_alone(context: typer.Context) -> None:
    """Shows the help of a group that is called without a command."""
    if context.invoked_subcommand is None:
        typer.echo(context.get_help())
        raise typer.Exit(code=2)


def unknown_command(name: str, known: Sequence[str], *, within: str = "") -> SettingError:
    """The error for a command that does not exist, of a group where `within` names one."""
    return SettingError(
        f"there is no command {name!r}",
        where=within or None,
        expected=f"one of {', '.join(known)}",
        nearest=nearest(name, known),
    )


def mistake(error: Any) -> InputError:
    """The error for what Typer refuses.

    Args:
        error: A UsageError. Which one is told by its attributes, as its subclasses are private to Typer.
    """
    context = getattr(error, "ctx", None)
    within = context.command_path.removeprefix("clarion").strip() if context is not None else ""
    parameter = getattr(error, "param", None)
    if hasattr(error, "possibilities"):
        return _unknown_option(error.option_name, context, within=within)
    if parameter is not None and hasattr(error, "param_type"):
        return _misused(f"{_place(parameter)} is missing", within=within)
    if parameter is not None:
        return _bad_value(error.message, parameter)
    command = re.match(r"No such command '(.*?)'", error.message)
    if command and context is not None:
        return unknown_command(command[1], list(context.command.commands), within=within)
    return _misused(_in_our_words(error.message), within=within)


def _misused(problem: str, *, within: str) -> InputError:
    help_command = " ".join(each for each in ("clarion", within, "--help") if each)
    return SettingError(problem, where=within or None, expected=f"what `{help_command}` tells")


def _unknown_option(name: str, context: Any, *, within: str) -> InputError:
    known = list(_options(context)) if context is not None else []
    return SettingError(
        f"there is no option {name}",
        where=within or None,
        expected=f"one of {', '.join(known)}" if known else None,
        nearest=nearest(name, known),
    )


def _options(context: Any) -> Iterator[str]:
    for parameter in context.command.get_params(context):
        if parameter.param_type_name == "option":
            yield from parameter.opts


def _place(parameter: Any) -> str:
    """How a person writes the parameter: `--limit`, or the name of an argument."""
    if parameter.param_type_name == "option":
        return next((name for name in parameter.opts if name.startswith("--")), parameter.opts[0])
    return parameter.metavar or parameter.name.upper()


def _bad_value(message: str, parameter: Any) -> InputError:
    text = message.removeprefix("Value error, ").removesuffix(".")
    value, is_choice, choices = text.partition(" is not one of ")
    if is_choice:
        names = _QUOTED.findall(choices)
        given = value.strip("'")
        return SettingError(
            f"{given!r} is not valid",
            where=_place(parameter),
            expected=f"one of {', '.join(names)}",
            nearest=nearest(given, names),
        )
    return SettingError("is not valid", where=_place(parameter), expected=expectation(text))


_EXPECTATIONS = (
    (r"Input should be a valid integer.*", "a whole number"),
    (r"Input should be a valid number.*", "a number"),
    (r"Input should be greater than or equal to (.*)", r"at least \1"),
    (r"Input should be less than or equal to (.*)", r"at most \1"),
    (r"Input should be greater than (.*)", r"more than \1"),
    (r"Input should be less than (.*)", r"less than \1"),
    (r"Input should be (.*)", r"\1"),
)


def expectation(message: str) -> str:
    """What was expected, in words, of a message of Pydantic's about a value."""
    for pattern, words in _EXPECTATIONS:
        found = re.fullmatch(pattern, message)
        if found:
            return found.expand(words)
    return message[:1].lower() + message[1:]


_OUR_WORDS = (
    (r"Got unexpected extra argument\S* \((.*)\)", r"\1 is too much"),
    (r"Option '(.*?)' requires an argument", r"\1 needs a value"),
    (r"Option '(.*?)' does not take a value", r"\1 takes no value"),
)


def _in_our_words(message: str) -> str:
    text = message.removesuffix(".")
    for pattern, words in _OUR_WORDS:
        found = re.fullmatch(pattern, text)
        if found:
            return found.expand(words)
    return text[:1].lower() + text[1:]
