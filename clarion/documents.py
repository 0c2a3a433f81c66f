"""YAML and JSON files as plain data: numbers keep their spelling, no key stands twice."""

import json
import re
from pathlib import Path
from typing import Any

import yaml

from clarion.errors import JobError, nearest
from clarion.models.base import SourceFloat, SourceInt

MAX_FILE_BYTES = 10 * 1024 * 1024


class _Loader(yaml.SafeLoader):
    """YAML 1.2's core types, numbers that remember their spelling, no repeated keys, no dates."""


_Loader.yaml_implicit_resolvers = {}  # YAML 1.1's own, and only for this class

_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:bool", re.compile(r"^(?:true|True|TRUE|false|False|FALSE)$"), list("tTfF")
)
_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:null", re.compile(r"^(?:~|null|Null|NULL|)$"), ["~", "n", "N", ""]
)
_Loader.add_implicit_resolver("tag:yaml.org,2002:int", re.compile(r"^[-+]?\d+$"), list("-+0123456789"))
_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float",
    re.compile(r"^[-+]?(?:\.\d+|\d+\.\d*(?:[eE][-+]?\d+)?|\d+[eE][-+]?\d+)$"),
    list("-+.0123456789"),
)
_Loader.add_implicit_resolver("tag:yaml.org,2002:merge", re.compile(r"^<<$"), ["<"])


def _construct_int(_loader: yaml.SafeLoader, node: yaml.ScalarNode) -> SourceInt:
    number = SourceInt(node.value)
    number.text = node.value
    return number


def _construct_float(_loader: yaml.SafeLoader, node: yaml.ScalarNode) -> SourceFloat:
    number = SourceFloat(node.value)
    number.text = node.value
    return number


def _construct_mapping(loader: _Loader, node: yaml.MappingNode) -> dict[Any, Any]:
    seen: set[str] = set()
    for key, _ in node.value:
        if key.tag == "tag:yaml.org,2002:merge":
            continue
        if not isinstance(key, yaml.ScalarNode):
            raise yaml.constructor.ConstructorError(None, None, "a key must be text", key.start_mark)
        if key.value in seen:
            raise yaml.constructor.ConstructorError(
                None, None, f"the key {key.value!r} stands here twice", key.start_mark
            )
        seen.add(key.value)
        key.tag = "tag:yaml.org,2002:str"
    loader.flatten_mapping(node)
    return loader.construct_mapping(node, deep=True)


_Loader.add_constructor("tag:yaml.org,2002:int", _construct_int)
_Loader.add_constructor("tag:yaml.org,2002:float", _construct_float)
_Loader.add_constructor("tag:yaml.org,2002:map", _construct_mapping)


def read_document(path: Path) -> Any:
    """What a YAML or JSON file holds, numbers with their spelling.

    Raises:
        JobError: No such file, too large, no text, no YAML or JSON, or a key stands twice.
    """
    try:
        size = path.stat().st_size
    except OSError:
        size = 0
    if size > MAX_FILE_BYTES:
        raise JobError(f"is {size} bytes long", where=str(path), expected=f"at most {MAX_FILE_BYTES} bytes")
    text = read_text(path, where="file")
    try:
        if path.suffix.lower() == ".json":
            return json.loads(text, object_pairs_hook=_unique_pairs)
        return yaml.load(text, Loader=_Loader)  # noqa: S506  # a SafeLoader, restricted further
    except yaml.MarkedYAMLError as exc:
        mark = exc.problem_mark
        line = f":{mark.line + 1}:{mark.column + 1}" if mark else ""
        raise JobError(f"{exc.problem or 'is no YAML'}", where=f"{path}{line}", expected="YAML") from None
    except (yaml.YAMLError, RecursionError) as exc:
        raise JobError(f"is no YAML: {exc}", where=str(path)) from None
    except json.JSONDecodeError as exc:
        raise JobError(exc.msg, where=f"{path}:{exc.lineno}:{exc.colno}", expected="JSON") from None
    except ValueError as exc:
        raise JobError(str(exc), where=str(path)) from None


def _unique_pairs(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, value in pairs:
        if key in found:
            raise ValueError(f"the key {key!r} stands twice")
        found[key] = value
    return found


def read_text(path: Path, *, where: str) -> str:
    """The text of a UTF-8 file.

    Raises:
        JobError: It is missing (the nearest name in its folder is told) or is no UTF-8 text.
    """
    try:
        return path.read_text(encoding="utf-8")
    except FileNotFoundError:
        siblings = [each.name for each in path.parent.iterdir()] if path.parent.is_dir() else []
        raise JobError(
            f"no file {path.name!r} in {path.parent}", where=where, nearest=nearest(path.name, siblings)
        ) from None
    except (OSError, UnicodeDecodeError) as exc:
        raise JobError(f"cannot read {path}: {exc}", where=where, expected="a UTF-8 text file") from exc
