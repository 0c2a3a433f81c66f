"""`clarion serve`: receives what comes back."""

import json
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
from typing import Annotated

import typer
from fastapi import APIRouter

from blocks.endpoints import load_endpoints
from clarion.conversions import routes as conversions
from clarion.errors import SettingError
from clarion.ledger.database import Database
from clarion.links.routes import links_router
from clarion.links.unsubscribe_routes import unsubscribe_router
from clarion.optout import check_settings
from clarion.receiving.app import MAX_BODY_BYTES, create_app
from clarion.receiving.endpoints import Endpoint
from clarion.receiving.server import DEFAULT_HOST, DEFAULT_PORT, listen, serve, url_of
from cli.console import print_sentence
from cli.log_lines import log_to_stderr

LEAST_BODY_BYTES = 1_024

HELP = """
Receive what comes back: receipts, replies, opt-outs, clicks, conversions. Each event is on disk before the
provider is told that it arrived.

An endpoint is credentials saved for it; its URL is their name: /webhooks/vonage-webhook/main. All that
are saved (by `clarion credentials save`) are served, unless --endpoint names some; that of conversions,
generic-webhook/conversions, is at /conversions. The log goes to standard error, without personal data.

Examples:

    clarion serve
    clarion serve --port 8085 --public-url https://answers.example.com

Ctrl-C or SIGTERM ends it, once the requests on their way are answered.
"""


def register(app: typer.Typer) -> None:
    """Add the command to the application."""
    app.command("serve", help=HELP)(serve_webhooks)


def serve_webhooks(
    *,
    host: Annotated[str, typer.Option(help="Address to listen on.")] = DEFAULT_HOST,
    port: Annotated[int, typer.Option(help="Port to listen on; 0 for any free one.")] = DEFAULT_PORT,
    endpoint: Annotated[
        list[str] | None,
        typer.Option(metavar="KIND/NAME", help="Serve only this endpoint; may be repeated."),
    ] = None,
    opened: Annotated[
        list[str] | None,
        typer.Option(
            "--open", metavar="NAME", help="Serve an endpoint that believes whoever posts there: KIND/NAME."
        ),
    ] = None,
    public_url: Annotated[
        str | None, typer.Option(help="What the world calls this server; Twilio signs it.")
    ] = None,
    max_body_bytes: Annotated[int, typer.Option(help="Longest body of a webhook.")] = MAX_BODY_BYTES,
    handle: Annotated[
        bool, typer.Option(help="Handle events here, or leave that to the flow handle-events.")
    ] = True,
    as_json: Annotated[
        bool, typer.Option("--json", help="One JSON line at the start, and JSON lines for a log.")
    ] = False,
) -> None:
    """Serve until Ctrl-C or SIGTERM."""
    base = _checked_url(public_url)
    if max_body_bytes < LEAST_BODY_BYTES:
        raise SettingError(
            f"{max_body_bytes} is too short",
            where="--max-body-bytes",
            expected=f"at least {LEAST_BODY_BYTES}",
        )
    check_settings()
    endpoints = load_endpoints(endpoint or [], opened=opened or [])
    with Database() as database, listen(host, port) as listening, _handling(handle) as nudge:
        log_to_stderr(as_json=as_json)
        url = url_of(listening)
        app = create_app(
            database,
            [each for each in endpoints if each.reference != conversions.REFERENCE],
            routers=_routers(database, endpoints, nudge=nudge),
            on_stored=nudge,
            max_body_bytes=max_body_bytes,
            public_url=base,
        )
        serve(
            app,
            listening,
            on_start=lambda: _tell_start(endpoints, url=base or url, listening=url, as_json=as_json),
        )


@contextmanager
def _handling(handle: bool) -> Generator[Callable[[], None] | None]:
    """What tells the thread that handles events that there are some; None where nobody here handles any."""
    if not handle:
        yield None
        return
    from flows.handle_events import Drainer  # noqa: PLC0415  # takes a second, which not to handle spares

    with Drainer() as drainer:
        yield drainer.nudge


def _routers(
    database: Database, endpoints: Sequence[Endpoint], *, nudge: Callable[[], None] | None
) -> list[APIRouter]:
    """Beside the webhooks: links, the unsubscribe page, and conversions where they have a secret."""
    posted = [each for each in endpoints if each.reference == conversions.REFERENCE]
    return [
        links_router(database, on_stored=nudge),
        unsubscribe_router(database, on_stored=nudge),
        *(conversions.conversions_router(database, each, on_stored=nudge) for each in posted),
    ]


def _path(endpoint: Endpoint) -> str:
    return conversions.PATH if endpoint.reference == conversions.REFERENCE else endpoint.path


def _checked_url(url: str | None) -> str | None:
    """The URL without a slash at the end.

    Raises:
        SettingError: It is none.
    """
    if url is None or (url.startswith(("https://", "http://")) and "?" not in url and "#" not in url):
        return url and url.rstrip("/")
    raise SettingError(
        f"{url!r} is no URL", where="--public-url", expected="https://HOST, perhaps with a path"
    )


def _tell_start(endpoints: Sequence[Endpoint], *, url: str, listening: str, as_json: bool) -> None:
    if as_json:
        named = [
            {"endpoint": each.reference, "url": f"{url}{_path(each)}", "open": each.is_open}
            for each in endpoints
        ]
        typer.echo(json.dumps({"url": listening, "endpoints": named}))
    else:
        typer.echo(f"Receiving at {listening} (health: {listening}/health; Ctrl-C ends it)")
        for each in endpoints:
            typer.echo(f"  {url}{_path(each)}{'  OPEN' if each.is_open else ''}")
    if not endpoints:
        print_sentence(
            "clarion: no endpoint is saved; `clarion credentials save vonage-webhook/main` saves one"
        )
    for each in endpoints:
        if each.is_open:
            print_sentence(
                f"clarion: warning: {each.reference} is open: whatever is posted there is believed"
            )
