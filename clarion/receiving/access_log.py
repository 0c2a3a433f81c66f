"""The access log: what was asked for and what became of it, and nothing about people.

No address, no query, no header, no body; and of a path only what is no secret and names nobody: the token of
a link stands there as `{token}`, a page that is not known as nothing.
"""

import logging
import time

from starlette.types import ASGIApp, Message, Receive, Scope, Send

PLAIN_PARAMETERS = frozenset({"kind", "name"})
"""Parts of a path that stand in the log as they are: those of an endpoint."""

NOT_FOUND = 404

_log = logging.getLogger("clarion.access")


class AccessLog:
    """Logs each request after its answer: `method`, `path`, `status`, `milliseconds`, as `extra`.

    Args:
        app: The application.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request, or the application's start and end."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        started, status = time.perf_counter(), 500

        async def noted(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        try:
            await self._app(scope, receive, noted)
        finally:
            milliseconds = round((time.perf_counter() - started) * 1_000, 1)
            fields = {
                "method": scope["method"],
                "path": None if status == NOT_FOUND else _path(scope),
                "status": status,
                "milliseconds": milliseconds,
            }
            _log.info("%(method)s %(path)s %(status)s %(milliseconds)s ms", fields, extra=fields)


def _path(scope: Scope) -> str | None:
    """The path with names for the parts that may be about somebody; None for one that nobody serves."""
    if "endpoint" not in scope:
        return None
    names = {
        str(value): f"{{{name}}}"
        for name, value in scope.get("path_params", {}).items()
        if name not in PLAIN_PARAMETERS
    }
    return "/".join(names.get(part, part) for part in scope["path"].split("/"))
