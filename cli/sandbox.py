"""`clarion sandbox`: a provider to rehearse against."""

import json
from typing import Annotated, Any

import typer
from pydantic import ValidationError

from clarion.errors import InputErrors, SettingError
from clarion.sandbox import DEFAULT_HOST, DEFAULT_PORT, Behaviour, Sandbox, serve

HELP = """
Run a provider to rehearse against: it accepts any method and path, answers as the Vonage Messages API does
(or as Twilio, SendGrid, Slack, ... on their paths), misbehaves as told, and counts what it got per recipient.

Example: one recipient in fifty is refused, and no more than 30 requests a second are let through

    clarion sandbox --reject 0.02 --throttle 30

Then send to http://127.0.0.1:8099/v1/messages and read http://127.0.0.1:8099/_sandbox/stats. Ctrl-C ends it.
"""


def register(app: typer.Typer) -> None:
    """Add the command to the application."""
    app.command("sandbox", help=HELP)(sandbox)


def sandbox(
    *,
    port: Annotated[int, typer.Option(help="Port to listen on; 0 for any free one.")] = DEFAULT_PORT,
    host: Annotated[str, typer.Option(help="Address to listen on.")] = DEFAULT_HOST,
    latency_ms: Annotated[float, typer.Option(help="Milliseconds that every answer takes.")] = 0,
    reject: Annotated[float, typer.Option(help="Share of the recipients always refused, 0 to 1.")] = 0,
    throttle: Annotated[
        int | None, typer.Option(help="Requests let through in a second; the rest gets 429.")
    ] = None,
    error: Annotated[float, typer.Option(help="Share of the requests answered 500 or 503, 0 to 1.")] = 0,
    drop: Annotated[
        float, typer.Option(help="Share of the requests hung up on, half of them after accepting, 0 to 1.")
    ] = 0,
    seed: Annotated[int, typer.Option(help="The same seed refuses the same recipients.")] = 0,
    as_json: Annotated[
        bool, typer.Option("--json", help="One JSON line at the start, one with the counts at the end.")
    ] = False,
) -> None:
    """Serve until Ctrl-C, then print what came."""
    behaviour = _behaviour(
        latency_ms=latency_ms, reject=reject, throttle=throttle, error=error, drop=drop, seed=seed
    )
    stats = serve(behaviour, host=host, port=port, on_start=_print_json if as_json else _print_start)
    counts = {name: value for name, value in stats.items() if isinstance(value, int)}
    counts |= {"recipients": len(stats["recipients"]), "duplicates": len(stats["duplicates"])}
    typer.echo(json.dumps(counts) if as_json else _summary(counts))


def _behaviour(**options: Any) -> Behaviour:
    try:
        return Behaviour(**options)
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
    typer.echo(f"Statistics {running.url}/_sandbox/stats, requests {running.url}/_sandbox/requests")


def _summary(counts: dict[str, int]) -> str:
    return (
        f"\n{counts['requests']} requests: {counts['accepted']} accepted for {counts['recipients']} "
        f"recipients ({counts['duplicates']} of them more than once), {counts['rejected']} rejected, "
        f"{counts['throttled']} throttled, {counts['errors']} errors, {counts['dropped']} hung up on"
    )
