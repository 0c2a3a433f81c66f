"""Jobs, saved as Prefect blocks, to be started from the UI and on a schedule."""

from prefect.blocks.core import Block
from pydantic import HttpUrl

from blocks.documents import document_data
from clarion.jobfile import parse_model
from clarion.models import job


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
