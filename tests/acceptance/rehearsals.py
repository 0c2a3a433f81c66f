"""Examples planned, previewed and sent without Prefect and without pacing: all of them in a few seconds."""

from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
from pydantic import SecretStr

from clarion.campaign import Campaign
from clarion.compiling import compile_job
from clarion.jobfile import load_job
from clarion.ledger.claims import Slice
from clarion.ledger.database import Database
from clarion.ledger.items import read_items
from clarion.ledger.plans import PlanWriter
from clarion.ledger.runs import NewRun, create_run
from clarion.models.credential_kinds import dummy_credentials
from clarion.models.credentials import ApiKey, Credentials
from clarion.planning import Planner
from clarion.previewing import Preview, preview
from clarion.sending.sender import Sender
from clarion.sending.wire import Wire
from clarion.sending.writer import Limit
from clarion.sources import ListReader

EXAMPLES = Path(__file__).parents[2] / "examples"

SAVED: Mapping[str, Credentials] = {
    "api-key/vonage": ApiKey(
        fields={"api_key": SecretStr("abcd1234"), "api_secret": SecretStr("abcdef0123456789")},
        location="body",
    ),
    "api-key/teams": ApiKey(fields={"sig": SecretStr("made-up-signature")}, location="query"),
}
"""As the READMEs save them; what is not here is made up by its type."""


def campaign_of(path: Path) -> tuple[Campaign, ListReader]:
    """A job compiled and checked, with what reads its lists."""
    campaign = compile_job(load_job(path))
    reader = ListReader(base=path.parent, run_items=_no_runs)
    reader.check(campaign)
    return campaign, reader


def _no_runs(source: Any) -> Iterator[Any]:
    raise AssertionError(source)


def credentials_of(campaign: Campaign) -> dict[str, Credentials]:
    """The credentials of each action that has some."""
    references = {name: action.action.credentials for name, action in campaign.actions.items()}
    return {
        name: SAVED.get(reference) or dummy_credentials(reference)
        for name, reference in references.items()
        if reference
    }


def previewed(path: Path) -> Preview:
    """A preview with all of its requests, the secrets masked."""
    campaign, reader = campaign_of(path)
    auths = {name: found.masked_auth() for name, found in credentials_of(campaign).items()}
    return preview(campaign, reader=reader, auths=auths, samples=1_000)


def real_wire() -> httpx.AsyncBaseTransport:
    """Sends over sockets."""
    return Wire(max_connections=8)


def rehearse(
    path: Path,
    *,
    database: Database,
    against: str | None,
    wire: Callable[[], httpx.AsyncBaseTransport] = real_wire,
) -> list[dict[str, Any]]:
    """The settled items of a run of a job."""
    campaign, reader = campaign_of(path)
    job = campaign.job
    new = NewRun(
        job_name=job.name,
        job=job.model_dump_json(),
        base=str(path.parent),
        kind="rehearsal",
        against=against,
    )
    run = create_run(database, new)
    writer = PlanWriter(database, run.id)
    writer.begin()
    for items in Planner(campaign=campaign, run=run.scope(), now=datetime.now(UTC), reader=reader).plan():
        writer.write(items)
    writer.finish(limit=None, bad_rows=reader.report.bad_rows)
    sender = Sender(database, wire=wire, connections=8)
    session = sender.open(
        run,
        campaign,
        auths={name: found.auth() for name, found in credentials_of(campaign).items()},
        limits={name: Limit(key=name, tps=None) for name in campaign.actions},
    )
    for action in campaign.actions:
        part = Slice(action=action, first_id=0, last_id=10**9)
        while (left := sender.deliver(session, part)).pending:
            sender.call(session.wait(left.due_in_seconds))  # a back-off is the ledger's clock's
    sender.leave(session)
    sender.close()
    return [item for page in read_items(database, run.id) for item in page]
