"""YAML and JSON files as plain data: numbers keep their spelling, no key stands twice."""

import json
import re
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, NoReturn

import yaml
from yaml.constructor import ConstructorError

from clarion.errors import JobError, nearest
from clarion.models.base import SourceFloat, SourceInt

MAX_FILE_BYTES = 10 * 1024 * 1024

MAX_REPEATED_VALUES = 100_000
"""Values that a file may have by reference (YAML's aliases) beside those written out: some lines of
references to references would otherwise be as many values as no memory holds."""

_TAG = "tag:yaml.org,2002:"
_BOOL = re.compile(r"^(?:true|True|TRUE|false|False|FALSE)$")
_NULL = re.compile(r"^(?:~|null|Null|NULL|)$")
_INT = re.compile(r"^[-+]?[0-9]+$")
_FLOAT = re.compile(r"^[-+]?(?:\.[0-9]+|[0-9]+\.[0-9]*(?:[eE][-+]?[0-9]+)?|[0-9]+[eE][-+]?[0-9]+)$")


class _Loader(yaml.SafeLoader):
    """YAML 1.2's core types, numbers that remember their spelling, no repeated keys, no dates, no tags."""

    def get_single_node(self) -> yaml.Node | None:
        """The file's one tree, looked over before anything is made of it."""
        node = super().get_single_node()
        if node is not None:
            _check_tree(node)
        return node


_Loader.yaml_implicit_resolvers = {}
_Loader.yaml_constructors = {}


def _check_tree(root: yaml.Node) -> None:
    """Refuses a key that stands twice, and more references than can be followed."""
    seen: set[int] = set()
    repeated, waiting = 0, [root]
    while waiting:
        node = waiting.pop()
        if id(node) in seen:
            repeated += 1
            if repeated > MAX_REPEATED_VALUES:
                raise _wrong(node, f"the references (*) repeat more than {MAX_REPEATED_VALUES} values")
        elif isinstance(node, yaml.MappingNode):
            _check_keys(node)
        seen.add(id(node))
        if isinstance(node, yaml.SequenceNode):
            waiting += node.value
        elif isinstance(node, yaml.MappingNode):
            waiting += [value for _, value in node.value]


def _check_keys(node: yaml.MappingNode) -> None:
    seen: set[str] = set()
    for key, _ in node.value:
        if not isinstance(key, yaml.ScalarNode):
            raise _wrong(key, "a key must be text")
        if key.value in seen and key.tag != f"{_TAG}merge":
            raise _wrong(key, f"the key {key.value!r} stands here twice")
        seen.add(key.value)


def _wrong(node: yaml.Node, problem: str) -> ConstructorError:
    return ConstructorError(None, None, problem, node.start_mark)


def _construct_scalar(kind: re.Pattern[str], make: Callable[[str], Any]) -> Callable[[_Loader, Any], Any]:
    """A constructor; it looks at the text again, because a tag (`!!int abc`) may claim what is not so."""

    def construct(loader: _Loader, node: yaml.ScalarNode) -> Any:
        text = str(loader.construct_scalar(node))
        with suppress(ValueError):  # a number of thousands of digits is none that Python reads
            if kind.match(text):
                return make(text)
        name = node.tag.removeprefix(_TAG)
        raise _wrong(node, f"{text[:40]!r} is no {name}")

    return construct


def _spelled_int(text: str) -> SourceInt:
    number = SourceInt(text)
    number.text = text
    return number


def _spelled_float(text: str) -> SourceFloat:
    number = SourceFloat(text)
    number.text = text
    return number


def _construct_mapping(loader: _Loader, node: yaml.Node) -> dict[str, Any]:
    if not isinstance(node, yaml.MappingNode):
        raise _wrong(node, "this is no mapping")
    loader.flatten_mapping(node)  # what is merged in comes first, so that the mapping's own keys count
    return {key.value: loader.construct_object(value, deep=True) for key, value in node.value}


def _construct_text(loader: _Loader, node: yaml.ScalarNode) -> str:
    text = str(loader.construct_scalar(node))
    # JSON escapes an emoji as the two halves of a pair; YAML would keep them apart.
    return (
        text if text.isascii() else text.encode("utf-16", "surrogatepass").decode("utf-16", "surrogatepass")
    )


def _refuse_tag(_loader: _Loader, node: yaml.Node) -> NoReturn:
    raise _wrong(node, f"the tag {node.tag.replace(_TAG, '!!')!r} is not allowed")


for _name, _pattern, _starts, _make in (
    ("bool", _BOOL, "tTfF", lambda text: text.lower() == "true"),
    ("null", _NULL, ("~", "n", "N", ""), lambda _: None),
    ("int", _INT, "-+0123456789", _spelled_int),
    ("float", _FLOAT, "-+.0123456789", _spelled_float),
):
    _Loader.add_implicit_resolver(_TAG + _name, _pattern, list(_starts))
    _Loader.add_constructor(_TAG + _name, _construct_scalar(_pattern, _make))
_Loader.add_implicit_resolver(f"{_TAG}merge", re.compile(r"^<<$"), ["<"])
_Loader.add_constructor(f"{_TAG}str", _construct_text)
_Loader.add_constructor(f"{_TAG}seq", lambda loader, node: loader.construct_sequence(node, deep=True))
_Loader.add_constructor(f"{_TAG}map", _construct_mapping)
_Loader.add_constructor(None, _refuse_tag)


def read_document(path: Path) -> Any:
    """What a YAML or JSON file holds, numbers with their spelling.

    Raises:
        JobError: No such file, too large, no text, no YAML or JSON, or a key stands twice.
    """
    text = read_text(path, where="file")
    try:
        if path.suffix.lower() == ".json":
            return json.loads(text, object_pairs_hook=_unique_pairs)
        return yaml.load(text, Loader=_Loader)  # noqa: S506  # a SafeLoader, restricted further
    except ConstructorError as exc:
        raise JobError(str(exc.problem), where=_place(path, exc.problem_mark)) from None
    except yaml.MarkedYAMLError as exc:
        problem = ", ".join(part for part in (exc.context, exc.problem) if part)
        raise JobError(problem, where=_place(path, exc.problem_mark), expected="YAML") from None
    except yaml.reader.ReaderError as exc:
        line = text.count("\n", 0, exc.position) + 1
        raise JobError(
            f"the character #x{exc.character:04x} is not allowed", where=f"{path}:{line}", expected="YAML"
        ) from None
    except json.JSONDecodeError as exc:
        raise JobError(exc.msg, where=f"{path}:{exc.lineno}:{exc.colno}", expected="JSON") from None
    except RecursionError:
        raise JobError("is nested too deeply", where=str(path)) from None
    except ValueError as exc:
        raise JobError(str(exc), where=str(path)) from None


def _place(path: Path, mark: yaml.Mark | None) -> str:
    return f"{path}:{mark.line + 1}:{mark.column + 1}" if mark else str(path)


def _unique_pairs(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, value in pairs:
        if key in found:
            raise ValueError(f"the key {key!r} stands twice")
        found[key] = value
    return found


def read_text(path: Path, *, where: str) -> str:
    """The text of a UTF-8 file, without its byte order mark.

    Raises:
        JobError: It is missing (the nearest name in its folder is told), too large, or no UTF-8 text.
    """
    try:
        size = path.stat().st_size
        text = path.read_text(encoding="utf-8-sig") if size <= MAX_FILE_BYTES else ""
    except FileNotFoundError:
        raise JobError(
            f"no file {path.name!r} in {path.parent}", where=where, nearest=nearest(path.name, _names(path))
        ) from None
    except UnicodeDecodeError as exc:
        line = exc.object.count(b"\n", 0, exc.start) + 1
        raise JobError(
            f"cannot read {path}: line {line} is no UTF-8", where=where, expected="a UTF-8 text file"
        ) from None
    except OSError as exc:
        raise JobError(f"cannot read {path}: {exc.strerror}", where=where, expected="a text file") from exc
    except ValueError:
        raise JobError(f"{str(path)!r} is no path", where=where) from None
    if size > MAX_FILE_BYTES:
        most = f"at most {MAX_FILE_BYTES} bytes"
        raise JobError(f"{path} is {size} bytes long", where=where, expected=most)
    return text


def _names(path: Path) -> list[str]:
    with suppress(OSError):
        return [each.name for each in path.parent.iterdir()]
    return []
