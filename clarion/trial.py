"""A job cut down to one message for one recipient: what a person sends to themselves first."""

import orjson

from clarion.errors import InputError
from clarion.lists import frame_items
from clarion.models.job import Job, Recipients
from clarion.models.lists import ItemsList
from clarion.sources import ListReader


def trial_job(job: Job, *, reader: ListReader, row: int, recipient: str) -> Job:
    """The job with one item, row `row` of its lists (from 1), and `recipient` in place of the item's own.

    Raises:
        InputError: The lists have fewer rows.
        ListError: A list cannot be read.
    """
    item = _item_at(job, reader=reader, row=row)
    literal = orjson.dumps(recipient).decode()  # JSON's texts are Jinja's texts
    return job.model_copy(
        update={
            "recipients": Recipients(include=[ItemsList(items=[item])]),
            "recipient": job.recipient.model_copy(update={"value": f"{{{{ {literal} }}}}"}),
        }
    )


def _item_at(job: Job, *, reader: ListReader, row: int) -> dict[str, object]:
    before = 0
    for source in job.recipients.include:
        for frame in reader.frames(source):
            if before + len(frame) >= row:
                return frame_items(frame.iloc[row - before - 1 : row - before])[0]
            before += len(frame)
    if not before:
        raise InputError("the lists have no rows", where="--row")
    raise InputError(f"the lists have {before} rows", where="--row", expected=f"1 to {before}")
