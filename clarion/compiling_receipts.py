"""Compiling how an action reads what comes back: templates over the raw event."""

from clarion.campaign import Problems
from clarion.errors import TemplateError
from clarion.models.action import ResponsePolicy
from clarion.receipts import WELL_KNOWN, CompiledReceipt, reading_of
from clarion.templating import SCOPES, compile_value

EVENT_SCOPES = ("event",)


def compile_receipt(response: ResponsePolicy, *, where: str) -> CompiledReceipt:
    """How the action whose `response` this is reads receipts.

    What a generic endpoint reads by, `event` and `inbound`, is only checked here.

    Args:
        response: The action's.
        where: Its path in the file.

    Raises:
        TemplateError: A template does not parse, or sees more than the event.
        InputErrors: Several are so.
    """
    status, error = response.status, response.error
    sources = {
        "status.value": status.value if status else None,
        "error.code": error.code if of_receipt(error.code) else None,
        "error.reason": error.reason if of_receipt(error.reason) else None,
        **{f"event.{name}": text for name, text in response.event.model_dump().items()},
        **{f"inbound.{name}": text for name, text in (response.inbound or {}).items()},
    }
    problems = Problems()
    compiled = {
        name: problems.attempt(compile_value, source, where=f"{where}.{name}", scopes=EVENT_SCOPES)
        for name, source in sources.items()
        if source is not None
    }
    problems.check()
    return CompiledReceipt(
        status=compiled.get("status.value"),
        reading=WELL_KNOWN if status is None else reading_of(status),
        error_code=compiled.get("error.code"),
        error_reason=compiled.get("error.reason"),
    )


def of_receipt(source: str | None) -> bool:
    """Whether a template of `response.error` is for receipts: it sees the event, not the answer of the call.

    One that does not parse is not: where it is compiled for the answer that is told.
    """
    if source is None:
        return False
    try:
        return "event" in compile_value(source, where="", scopes=SCOPES).scopes
    except TemplateError:
        return False
