"""Job and action files: YAML or JSON to models, every mistake with its path in the file."""

import json
import re
import types
import typing
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, TypeVar

from pydantic import BaseModel, ValidationError

from clarion.documents import read_document, read_text
from clarion.errors import InputError, InputErrors, JobError, nearest, path_text
from clarion.models.action import Action
from clarion.models.base import Model
from clarion.models.job import Job, Segment, TemplateText
from clarion.models.lists import FileList

M = TypeVar("M", bound=Model)

SHOWN_CHARACTERS = 80
"""How much of a refused value an error message repeats."""

PLANNED_LISTS = frozenset({"hubspot", "salesforce", "sql"})
"""Kinds of lists that this version does not read yet."""


def load_job(path: str | Path) -> Job:
    """The job in a YAML or JSON file, with the files of its templates read in.

    Args:
        path: The file; a job's relative paths are relative to its folder.

    Raises:
        JobError: The file cannot be read, or one thing in it is wrong.
        InputErrors: Several things are wrong.
    """
    path = Path(path)
    job = parse_model(Job, read_document(path), source=str(path))
    return inline_templates(job, base=path.parent)


def load_action(path: str | Path) -> Action:
    """The action in a YAML or JSON file. Raises as `load_job` does."""
    return parse_model(Action, read_document(Path(path)), source=str(path))


def anchor_paths(job: Job, *, base: Path) -> Job:
    """The job with absolute list paths, for use away from its folder. URLs stay as they are."""

    def anchored(source: Any) -> Any:
        if isinstance(source, FileList) and "://" not in source.file:
            return source.model_copy(update={"file": str((base / source.file).resolve())})
        return source

    recipients = job.recipients.model_copy(
        update={
            "include": [anchored(source) for source in job.recipients.include],
            "exclude": [anchored(source) for source in job.recipients.exclude],
        }
    )
    return job.model_copy(update={"recipients": recipients})


def inline_templates(job: Job, *, base: Path) -> Job:
    """The job with the text of every template file read in.

    Raises:
        JobError: A template file is missing or is no UTF-8 text.
    """
    segments = [_inlined_segment(segment, index=n, base=base) for n, segment in enumerate(job.segments)]
    events = [
        handler.model_copy(
            update={"template": _inlined(handler.template, where=f"events[{number}]", base=base)}
        )
        for number, handler in enumerate(job.events)
    ]
    return job.model_copy(update={"segments": segments, "events": events})


def _inlined_segment(segment: Segment, *, index: int, base: Path) -> Segment:
    where = f"segments[{index}]"
    steps = [
        step.model_copy(
            update={"template": _inlined(step.template, where=f"{where}.fallback[{number}]", base=base)}
        )
        for number, step in enumerate(segment.fallback)
    ]
    texts = _inlined(segment.template, where=where, base=base)
    return segment.model_copy(update={"template": texts, "fallback": steps})


def _inlined(template: dict[str, TemplateText], *, where: str, base: Path) -> dict[str, TemplateText]:
    return {
        name: text
        if text.text is not None
        else TemplateText(
            file=text.file, text=read_text(base / str(text.file), where=f"{where}.template.{name}")
        )
        for name, text in template.items()
    }


def parse_model(model: type[M], data: Any, *, source: str) -> M:
    """`data` as a `model`.

    Raises:
        JobError: One thing is wrong; its place reads `segments[1].condition`.
        InputErrors: Several things are wrong.
    """
    if not isinstance(data, dict):
        raise JobError("holds no mapping", where=source, expected=f"the keys of {_article(model.__name__)}")
    try:
        return model.model_validate(data)
    except ValidationError as exc:
        errors = [dict(error) for error in exc.errors(include_url=False)]
    problems = [_problem(model, error) for error in _without_consequences(errors)]
    raise problems[0] if len(problems) == 1 else InputErrors(problems)


def _without_consequences(errors: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The errors without those of a list of a planned kind: that it has no `file` is no mistake."""
    planned = {
        error["loc"][:-1]
        for error in errors
        if error["type"] == "extra_forbidden" and error["loc"][-1] in PLANNED_LISTS
    }
    return [error for error in errors if error["type"] != "missing" or error["loc"][:-1] not in planned]


def _article(name: str) -> str:
    return f"an {name.lower()}" if name[0] in "AEIOU" else f"a {name.lower()}"


_EXPECTED = {
    "bool_type": "true or false",
    "dict_type": "a mapping",
    "float_type": "a number",
    "int_type": "a whole number",
    "list_type": "a list",
    "model_type": "a mapping",
    "string_type": "text",
}
"""Pydantic's types of errors in words for the person who wrote the file; others say it well themselves."""


def _problem(model: type[BaseModel], error: dict[str, Any]) -> InputError:
    where = path_text(_without_tags(error["loc"])) or "file"
    kind = error["type"]
    if kind == "extra_forbidden":
        return _unknown_key(model, error["loc"], where=where)
    if kind == "missing":
        return JobError("is missing", where=where)
    if kind == "value_error":
        return JobError(error["msg"].removeprefix("Value error, "), where=where)
    given = _shown(error["input"])
    if kind == "literal_error":
        choices = str(error["ctx"]["expected"])
        names = re.findall(r"'([^']*)'", choices)
        near = nearest(str(error["input"]), names)
        return JobError(f"{given} is not valid", where=where, expected=choices, nearest=near)
    return JobError(f"{given} is not valid", where=where, expected=_expected(kind, error))


def _expected(kind: str, error: dict[str, Any]) -> str:
    least = error.get("ctx", {}).get("min_length")
    if least is not None:
        return f"at least {least} {'character' if isinstance(error['input'], str) else 'entry'}"
    most = error.get("ctx", {}).get("max_length")
    if most is not None:
        return f"at most {most} characters"
    message = error["msg"].removeprefix("Input should be ")
    return _EXPECTED.get(kind, message[0].lower() + message[1:])


def _shown(value: Any) -> str:
    text = json.dumps(value, default=str, ensure_ascii=False)
    return text if len(text) <= SHOWN_CHARACTERS else f"{text[:SHOWN_CHARACTERS]}..."


def _unknown_key(model: type[BaseModel], loc: tuple[str | int, ...], *, where: str) -> InputError:
    key = str(loc[-1])
    models = _models_at(model, loc[:-1])
    names = sorted({name for each in models for name in each.model_fields})
    if FileList in models and key in PLANNED_LISTS:
        return JobError(
            "is not honoured by this version yet, so it is refused rather than ignored", where=where
        )
    return JobError(
        "unknown key", where=where, expected=f"one of {', '.join(names)}", nearest=nearest(key, names)
    )


def _models_at(model: type[BaseModel], loc: tuple[str | int, ...]) -> list[type[BaseModel]]:
    """The models that a path leads to, following fields, list items, mapping values and kinds of lists."""
    current: list[Any] = [model]
    for index, step in enumerate(loc):
        if _is_tag(loc, index):
            current = [each for each in current if str(step) in each.model_fields]
            continue
        following: list[Any] = []
        for each in current:
            if isinstance(each, type) and issubclass(each, BaseModel):
                field = each.model_fields.get(str(step))
                following += list(_alternatives(field.annotation)) if field else []
            else:
                following += [alt for arg in typing.get_args(each)[-1:] for alt in _alternatives(arg)]
        current = following
    return [each for each in current if isinstance(each, type) and issubclass(each, BaseModel)]


def _alternatives(annotation: Any) -> Iterator[Any]:
    origin = typing.get_origin(annotation)
    if origin is Annotated:
        yield from _alternatives(typing.get_args(annotation)[0])
    elif origin in {typing.Union, types.UnionType}:
        for each in typing.get_args(annotation):
            yield from _alternatives(each)
    else:
        yield annotation


def _is_tag(loc: tuple[str | int, ...], index: int) -> bool:
    """Whether a step is the tag that Pydantic adds for the kind of list (`include`, 0, `file`, ...)."""
    return loc[index - 2 : index - 1] in {("include",), ("exclude",)} and isinstance(loc[index - 1], int)


def _without_tags(loc: tuple[str | int, ...]) -> tuple[str | int, ...]:
    return tuple(
        step for index, step in enumerate(loc) if step != "[key]" and not (index > 1 and _is_tag(loc, index))
    )
