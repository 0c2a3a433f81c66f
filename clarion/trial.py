"""A job cut down to one message for one recipient: what a person sends to themselves first."""

from dataclasses import dataclass
from datetime import datetime

import orjson

from clarion.compiling import compile_job
from clarion.errors import InputError, SettingError
from clarion.lists import frame_items
from clarion.models.job import Job, Recipients
from clarion.models.lists import ItemsList
from clarion.planning import PlannedItem, Planner
from clarion.sources import ListReader

TRIAL_RUN = {"id": "test", "name": None, "start_at": None}


@dataclass(frozen=True, kw_only=True)
class Trial:
    """A test that may be sent.

    Args:
        job: The job cut down to it.
        would_be_skipped: Why a run would leave the row out (excluded, no-segment, ...); None where it would
            not. Nothing can be sent for a row that is in no segment.
    """

    job: Job
    would_be_skipped: str | None


def make_trial(job: Job, *, reader: ListReader, row: int, recipient: str, now: datetime) -> Trial:
    """The trial of one row, looked at before anything is sent.

    Args:
        job: The job, saved actions resolved.
        reader: Reads its lists.
        row: Row of its lists, from 1.
        recipient: Who gets the message.
        now: The time that conditions see.

    Raises:
        SettingError: The recipient is not what the job's recipients must be.
        InputError: The lists have fewer rows.
        ListError: A list cannot be read.
    """
    trial = trial_job(job, reader=reader, row=row, recipient=recipient)
    planned = _planned(trial, reader=reader, now=now)
    for each in planned:
        if each.reason == "invalid-recipient":
            raise SettingError(
                each.error or f"{recipient!r} is no recipient",
                where="--to",
                expected=_EXPECTED_RECIPIENTS[job.recipient.type],
            )
    lists = job.recipients.model_copy(update={"include": trial.recipients.include})
    whole = job.model_copy(update={"recipients": lists})
    fates = _planned(whole, reader=reader, now=now)
    skipped = all(each.status == "skipped" for each in fates)
    return Trial(job=trial, would_be_skipped=fates[0].reason if fates and skipped else None)


_EXPECTED_RECIPIENTS = {
    "phone": "a phone number, as +447700900123",
    "email": "an e-mail address",
    "text": "a text without control characters",
}


def _planned(job: Job, *, reader: ListReader, now: datetime) -> list[PlannedItem]:
    planner = Planner(campaign=compile_job(job), run=TRIAL_RUN, now=now, reader=reader)
    return [item for chunk in planner.plan() for item in chunk]


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
                item = frame_items(frame.iloc[row - before - 1 : row - before])[0]
                # An empty cell is an attribute of the list all the same.
                return dict.fromkeys(map(str, frame.columns)) | item
            before += len(frame)
    if not before:
        raise InputError("the lists have no rows", where="--row")
    raise InputError(f"the lists have {before} rows", where="--row", expected=f"1 to {before}")
