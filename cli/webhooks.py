"""Outgoing webhooks: `clarion webhooks list`, `add`, `remove`, `test`, `dead`, `replay`."""

import uuid
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any

import httpx
import typer
from pydantic import SecretStr

from blocks.credentials import WebhookSecret, load_credentials
from blocks.documents import delete_document, save_document, saved_names
from blocks.webhooks import WebhookSubscriber, load_subscribers
from clarion.errors import SettingError, nearest
from clarion.jobfile import load_job, parse_model
from clarion.ledger.database import Database
from clarion.ledger.webhooks import count_deliveries, dead_letters, replay
from clarion.models.subscribers import SECRET_KIND, SUBSCRIBED_TYPES, Subscriber
from clarion.models.webhook_secret import new_secret
from clarion.outgoing import message, request_to, send_once
from cli.console import EXIT_FAILED, AsJson, console, print_json, print_sentence
from cli.jobs import naming
from cli.row_tables import rows_table
from cli.tables import print_table
from cli.usage import help_if_alone
from tasks.webhooks import deliver_webhooks

REPLAY_SECONDS = 60.0

NameArgument = Annotated[str, typer.Argument(metavar="NAME", help="Name of the subscriber.")]
SubscriberOption = Annotated[
    str | None, typer.Option(metavar="NAME", help="Only this one's; JOB/NAME for one of a job's.")
]

LIST = """
List who gets events, and how many each was delivered, is to get, and was given up on.

Example:

    clarion webhooks list
"""

ADD = f"""
Have events of all jobs posted to a URL, signed as standardwebhooks.com specifies. Saved in Prefect.

Without --secret a new secret is made, saved as webhook-secret/NAME, and shown once: the receiver needs it.
Types: {", ".join(SUBSCRIBED_TYPES)}.

Example:

    clarion webhooks add crm --url https://crm.example.com/hooks --event recipient-response --event click
"""

REMOVE = """
Post no more events to a subscriber. What it has not got yet is given up when it is due.

Example:

    clarion webhooks remove crm
"""

TEST = """
Post an event of type clarion.test to a subscriber, and show the answer. Exit code 1 unless it is taken.

Examples:

    clarion webhooks test crm
    clarion webhooks test crm --job renewals.yaml
"""

DEAD = """
List what was given up: the event, whom it was for, and what the last try came to.

Example:

    clarion webhooks dead --subscriber crm
"""

REPLAY = """
Post what was given up once more, at once, with all its tries before it.

Example:

    clarion webhooks replay --subscriber crm
"""


def register(app: typer.Typer) -> None:
    """Add the commands to the application."""
    group = typer.Typer(
        callback=help_if_alone, invoke_without_command=True, help="Events posted to other systems."
    )
    group.command("list", help=LIST)(show)
    group.command("add", help=ADD)(add)
    group.command("remove", help=REMOVE)(remove)
    group.command("test", help=TEST)(post_test)
    group.command("dead", help=DEAD)(dead)
    group.command("replay", help=REPLAY)(replay_dead)
    app.add_typer(group, name="webhooks")


def show(*, as_json: AsJson = False) -> None:
    """List the subscribers with their deliveries."""
    subscribers = {each.name: each for each in load_subscribers()}
    with Database() as database:
        counts = count_deliveries(database)
    rows = [_row(name, subscribers.get(name), counts.get(name, {})) for name in {**subscribers, **counts}]
    if as_json:
        print_json(rows)
    elif rows:
        shown = [{**row, "events": ", ".join(row["events"] or ())} for row in rows]
        print_table(console(), rows_table(shown))
    else:
        print_sentence("Nobody gets events. `clarion webhooks add`, or `webhooks` in a job, changes that.")


def _row(name: str, subscriber: Subscriber | None, counts: dict[str, int]) -> dict[str, Any]:
    """One subscriber; of a job's only the deliveries are known here."""
    return {
        "subscriber": name,
        "url": subscriber and subscriber.url,
        "events": subscriber and subscriber.events,
        "secret": subscriber and subscriber.secret,
        **{status: counts.get(status, 0) for status in ("delivered", "pending", "dead")},
    }


def add(
    name: NameArgument,
    *,
    url: Annotated[str, typer.Option(metavar="URL", help="http or https URL that events are posted to.")],
    event: Annotated[
        list[str], typer.Option(metavar="TYPE", help="Type of events to post; repeat for several.")
    ],
    secret: Annotated[
        str | None, typer.Option(metavar="webhook-secret/NAME", help="Saved secret that signs.")
    ] = None,
    replace: Annotated[bool, typer.Option("--replace", help="Replace the subscriber of this name.")] = False,
    as_json: AsJson = False,
) -> None:
    """Add a subscriber, and its secret where it has none."""
    reference = secret or f"{SECRET_KIND}/{name}"
    given = {"name": name, "url": url, "events": list(event), "secret": reference}
    with naming("webhooks add"):
        subscriber = parse_model(Subscriber, given, source="webhooks add")
    if secret is not None:
        load_credentials(secret)
    block = WebhookSubscriber.model_validate(subscriber.model_dump(exclude={"name"}))
    new = save_document(block, name, replace=replace)
    made = _new_secret(name) if secret is None else None  # what is refused leaves none behind
    if as_json:
        print_json({"saved": f"webhook-subscriber/{name}", "new": new, "secret": made})
        return
    typer.echo(f"{'Added' if new else 'Replaced'} {name}, signed with {reference}.")
    if made is not None:
        typer.echo(f"The receiver needs the secret, which is not shown again: {made}")


def _new_secret(name: str) -> str | None:
    """A new secret, saved under the name; None where one is saved there already."""
    if name in saved_names(WebhookSecret):
        return None
    made = new_secret()
    save_document(WebhookSecret(secret=SecretStr(made)), name, replace=False)
    return made


def remove(name: NameArgument, *, as_json: AsJson = False) -> None:
    """Remove a subscriber; its secret stays saved."""
    _installed(name)
    delete_document(WebhookSubscriber, name)
    if as_json:
        print_json({"removed": name})
    else:
        typer.echo(f"Removed {name}.")


def _installed(name: str) -> Subscriber:
    subscribers = {each.name: each for each in load_subscribers()}
    if name in subscribers:
        return subscribers[name]
    raise _unknown(name, list(subscribers))


def _unknown(name: str, names: list[str]) -> SettingError:
    expected = f"one of {', '.join(names)}" if names else "`clarion webhooks add` adds one"
    return SettingError(
        f"there is no subscriber {name!r}", where="NAME", expected=expected, nearest=nearest(name, names)
    )


def post_test(
    name: NameArgument,
    *,
    job: Annotated[Path | None, typer.Option(metavar="FILE", help="Job file whose subscriber it is.")] = None,
    as_json: AsJson = False,
) -> None:
    """Post a test event."""
    subscriber = _installed(name) if job is None else _of_job(name, job)
    auth = load_credentials(subscriber.secret).auth()
    data = {"subscriber": name, "message": "Events will look like this, with other data."}
    body = message("clarion.test", datetime.now(UTC), data)
    request = request_to(subscriber, auth, uid=str(uuid.uuid4()), body=body)
    try:
        code, error = send_once(request), None
    except httpx.RequestError as exc:
        code, error = None, f"{type(exc).__name__}: {exc}"
    taken = code is not None and httpx.codes.is_success(code)
    if as_json:
        print_json({"subscriber": name, "taken": taken, "status_code": code, "error": error})
    else:
        told = f"answered {code}" if code is not None else f"gave no answer ({error})"
        typer.echo(f"{subscriber.url} {told}: {'taken' if taken else 'not taken'}.")
    if not taken:
        raise typer.Exit(EXIT_FAILED)


def _of_job(name: str, file: Path) -> Subscriber:
    with naming(str(file)):
        subscribers = {each.name: each for each in load_job(file).webhooks}
    if name not in subscribers:
        raise _unknown(name, list(subscribers))
    return subscribers[name]


def dead(
    *,
    subscriber: SubscriberOption = None,
    limit: Annotated[int, typer.Option(min=1, metavar="N", help="At most so many.")] = 50,
    as_json: AsJson = False,
) -> None:
    """List dead letters."""
    with Database() as database:
        rows = dead_letters(database, subscriber=subscriber, most=limit)
    if as_json:
        print_json(rows)
    elif rows:
        print_table(console(), rows_table(rows))
    else:
        print_sentence("Nothing was given up.")


def replay_dead(
    *,
    subscriber: SubscriberOption = None,
    event: Annotated[str | None, typer.Option(metavar="ID", help="Only this event.")] = None,
    as_json: AsJson = False,
) -> None:
    """Post dead letters once more."""
    with Database() as database:
        count = replay(database, subscriber=subscriber, event=event)
    told = deliver_webhooks(seconds=REPLAY_SECONDS) if count else {"delivered": 0, "pending": 0, "dead": 0}
    if as_json:
        print_json({"replayed": count, **told})
    else:
        again = f"{told['pending']:,} to be tried again"
        typer.echo(f"Posted {count:,} once more: {told['delivered']:,} delivered, {again}.")
