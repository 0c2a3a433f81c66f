"""`clarion sandbox`: a provider to rehearse against."""

import json
import os
from typing import Annotated, Any, TypeVar

import typer
from pydantic import SecretStr, ValidationError

from clarion.errors import InputErrors, SettingError
from clarion.models.base import Model
from clarion.sandbox import DEFAULT_HOST, DEFAULT_PORT, Answers, Behaviour, Sandbox, reply_plan, serve
from clarion.sandbox.answers import DUMMY_SECRET, SIGNATURE_SECRET_SETTING

HELP = """
Run a provider to rehearse against: it accepts any method and path, answers as the Vonage Messages API does
(or as Twilio, SendGrid, Slack, ... on their paths), misbehaves as told, and counts what it got per recipient.

Example: one recipient in fifty is refused, and no more than 30 requests a second are let through

    clarion sandbox --reject 0.02 --throttle 30

Then send to http://127.0.0.1:8099/v1/messages and read http://127.0.0.1:8099/_sandbox/stats. Ctrl-C ends it.

It also answers, by webhooks of the Messages API to a receiver (clarion serve), signed with the secret in
VONAGE_SIGNATURE_SECRET: receipts, replies, clicks on links of this machine.

Example: 95 of 100 messages arrive, one recipient in ten writes back

    clarion sandbox --receipts 0.95 --replies 0.1 --webhooks http://127.0.0.1:8085/webhooks/vonage-webhook/main
"""

M = TypeVar("M", bound=Model)


def register(app: typer.Typer) -> None:
    """Add the command to the application."""
    app.command("sandbox", help=HELP)(sandbox)


Port = Annotated[int, typer.Option(help="Port to listen on; 0 for any free one.")]
Host = Annotated[str, typer.Option(help="Address to listen on.")]
LatencyMs = Annotated[float, typer.Option(help="Milliseconds that every answer takes.")]
Reject = Annotated[float, typer.Option(help="Share of the recipients always refused, 0 to 1.")]
Throttle = Annotated[int | None, typer.Option(help="Requests let through in a second; the rest gets 429.")]
Error = Annotated[float, typer.Option(help="Share of the requests answered 500 or 503, 0 to 1.")]
Drop = Annotated[
    float, typer.Option(help="Share of the requests hung up on, half of them after accepting, 0 to 1.")
]
Webhooks = Annotated[
    str | None, typer.Option(metavar="URL", help="Where receipts and replies are posted to.")
]
Receipts = Annotated[
    float | None,
    typer.Option(metavar="RATE", help="Share of the recipients whose messages arrive; the rest's do not."),
]
Replies = Annotated[
    str | None,
    typer.Option(metavar="FILE|RATE", help="Share of the recipients who write back, or a file of texts."),
]
Clicks = Annotated[
    float, typer.Option(metavar="RATE", help="Share of the recipients who follow links, 0 to 1.")
]
Duplicates = Annotated[
    float, typer.Option(metavar="RATE", help="Share of the webhooks that are posted twice, 0 to 1.")
]
DelayMs = Annotated[
    float, typer.Option(help="Milliseconds until a receipt; replies and clicks take twice as long.")
]
Seed = Annotated[int, typer.Option(help="The same seed decides the same for the same recipients.")]
AsJson = Annotated[
    bool, typer.Option("--json", help="One JSON line at the start, one with the counts at the end.")
]


def sandbox(
    *,
    port: Port = DEFAULT_PORT,
    host: Host = DEFAULT_HOST,
    latency_ms: LatencyMs = 0,
    reject: Reject = 0,
    throttle: Throttle = None,
    error: Error = 0,
    drop: Drop = 0,
    webhooks: Webhooks = None,
    receipts: Receipts = None,
    replies: Replies = None,
    clicks: Clicks = 0,
    duplicates: Duplicates = 0,
    delay_ms: DelayMs = 200,
    seed: Seed = 0,
    as_json: AsJson = False,
) -> None:
    """Serve until Ctrl-C, then print what came."""
    behaviour = _checked(
        Behaviour,
        latency_ms=latency_ms, reject=reject, throttle=throttle, error=error, drop=drop, seed=seed,
    )  # fmt: skip
    answers = _checked(
        Answers,
        webhooks=webhooks, receipts=receipts, clicks=clicks, duplicates=duplicates, delay_ms=delay_ms,
        seed=seed,
        replies=None if replies is None else reply_plan(replies),
        secret=SecretStr(os.environ.get(SIGNATURE_SECRET_SETTING) or DUMMY_SECRET),
    )  # fmt: skip
    if webhooks is None and (receipts is not None or replies is not None):
        raise SettingError("is missing", where="--webhooks", expected="the URL that answers are posted to")
    on_start = _print_json if as_json else _print_start
    stats = serve(behaviour, answers=answers, host=host, port=port, on_start=on_start)
    counts = _counted(stats)
    typer.echo(json.dumps(counts) if as_json else _summary(counts))


def _counted(stats: dict[str, Any]) -> dict[str, Any]:
    """The statistics without the names of recipients."""
    counts = {name: value for name, value in stats.items() if isinstance(value, int)}
    counts |= {"recipients": len(stats["recipients"]), "duplicates": len(stats["duplicates"])}
    if answers := stats.get("answers"):
        people = ("delivered", "rejected", "replies", "clicks")
        counts["answers"] = {name: sum(answers[name].values()) for name in people} | answers["webhooks"]
    return counts


def _checked(model: type[M], **options: Any) -> M:
    try:
        return model(**options)
    except ValidationError as exc:
        problems = [
            SettingError(
                f"{error['input']} is not allowed",
                where=f"--{error['loc'][0]}".replace("_", "-"),
                expected=error["msg"].removeprefix("Input should be "),
            )
            for error in exc.errors()
        ]
        raise problems[0] if len(problems) == 1 else InputErrors(problems) from exc


def _print_json(running: Sandbox) -> None:
    typer.echo(json.dumps({"url": running.url, "behaviour": running.behaviour.model_dump()}))


def _print_start(running: Sandbox) -> None:
    typer.echo(f"Sandbox    {running.url} (any method, any path; Ctrl-C ends it)")
    typer.echo(f"Behaviour  {running.behaviour.describe()}")
    if running.answers.any:
        typer.echo(f"Answers    {running.answers.describe()}")
    typer.echo(f"Statistics {running.url}/_sandbox/stats, requests {running.url}/_sandbox/requests")


def _summary(counts: dict[str, Any]) -> str:
    told = (
        f"\n{counts['requests']} requests: {counts['accepted']} accepted for {counts['recipients']} "
        f"recipients ({counts['duplicates']} of them more than once), {counts['rejected']} rejected, "
        f"{counts['throttled']} throttled, {counts['errors']} errors, {counts['dropped']} hung up on"
    )
    if answers := counts.get("answers"):
        told += (
            f"\n{answers['delivered']} delivered, {answers['rejected']} not, {answers['replies']} replies, "
            f"{answers['clicks']} clicks; of the webhooks {answers['sent']} arrived, "
            f"{answers['refused']} were refused, {answers['given_up'] + answers['waiting']} did not"
        )
    return told
