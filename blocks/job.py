"""Jobs, saved as Prefect blocks, to be started from the UI and on a schedule."""

from typing import Any

from prefect.blocks.core import Block, schema_extra
from pydantic import ConfigDict, HttpUrl

from blocks.documents import document_data
from clarion.jobfile import parse_model
from clarion.models import job


def _open_to_references(schema: dict[str, Any], model: type[Block]) -> None:
    """Prefect's own additions to the schema, less the ban on other keys.

    A deployment that presets the job holds a reference to the saved block, `{"$ref": ...}`, and Prefect's
    check of a deployment's parameters takes the published schema at its word. The model stays strict.
    """
    schema_extra(schema, model)
    schema.pop("additionalProperties", None)


class Job(Block, job.Job):
    """A campaign: whom to reach, in which segments, with which actions, and when.

    Example:
        ```python
        from blocks.job import Job

        job = Job.load("BLOCK_NAME")
        ```
    """

    _block_type_name = "Job"
    _block_type_slug = "job"
    _documentation_url = HttpUrl("https://github.com/clarion/clarion/blob/main/README.md")

    model_config = ConfigDict(json_schema_extra=_open_to_references)


def load_job(name: str) -> job.Job:
    """The job saved under a name, as a model of the core.

    Args:
        name: The saved block's name, with or without `job/` before it.

    Raises:
        JobError: Nothing is saved there, or what is saved is not valid.
        InputErrors: Several things in it are not valid.
        SettingError: Prefect's API cannot be used.
    """
    name = name.removeprefix("job/")
    data = document_data(Job, name, save_with=f"clarion job save FILE --name {name}")
    return parse_model(job.Job, data, source=f"job/{name}")
