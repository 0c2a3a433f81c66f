"""The job that a person names on the command line, and errors that name its file."""

import re
from collections.abc import Generator
from contextlib import contextmanager, suppress
from pathlib import Path

from blocks.job import Job
from clarion.errors import (
    ConditionError,
    InputError,
    InputErrors,
    JobError,
    SettingError,
    TemplateError,
    nearest,
)
from clarion.models import job as core
from flows.run_job import find_job

JOB_SUFFIXES = frozenset({".yaml", ".yml", ".json"})


def job_named(reference: str) -> Job:
    """The job that a person names: a file, or the name of a saved job.

    Raises:
        InputError: There is none, or it is not valid; the message names the file.
    """
    expected = "a job file (YAML or JSON), or the name of a saved job"
    if not reference.strip():
        raise SettingError("is empty", where="JOB", expected=expected)
    if Path(reference).is_dir():
        files = _job_files(Path(reference))
        close = files[0] if len(files) == 1 else None
        raise SettingError(f"{reference!r} is a folder", where="JOB", expected=expected, nearest=close)
    with naming(reference):
        return find_job(reference)


def _job_files(folder: Path) -> list[str]:
    with suppress(OSError):
        return sorted(str(each) for each in folder.iterdir() if each.suffix.lower() in JOB_SUFFIXES)
    return []


@contextmanager
def naming(reference: str) -> Generator[None]:
    """Has errors about the keys of a job or action file name the file.

    Args:
        reference: The file, or the name of a saved job.
    """
    try:
        yield
    except InputErrors as exc:
        raise InputErrors(_in_file(problem, reference) for problem in exc.problems) from exc
    except InputError as exc:
        raise _in_file(exc, reference) from exc


def _in_file(error: InputError, reference: str) -> InputError:
    where = error.where
    if where is not None and (where.startswith(reference) or not _is_of_file(error, where)):
        return error
    close = error.nearest
    if where is None:
        files = {Path(each).stem: each for each in _job_files(Path())}
        near = nearest(Path(reference).stem, files)
        close = close or (files[near] if near else None)
        place = "JOB"
    else:
        place = reference if where == "file" else f"{reference}: {where}"
    return type(error)(error.problem, where=place, expected=error.expected, nearest=close)


def _is_of_file(error: InputError, where: str) -> bool:
    """Whether the place of an error is a key of the file; a list's file is a place of its own."""
    head = re.match(r"\w*", where)
    is_key = head is not None and head[0] in core.Job.model_fields
    return is_key or isinstance(error, JobError | ConditionError | TemplateError)
