"""Any service that posts JSON or a form: a bearer token or an HMAC of the body, templates that read it."""

from collections.abc import Mapping, Sequence
from typing import Any

from clarion.errors import RenderError, UnverifiedError
from clarion.models.action import ResponsePolicy
from clarion.models.webhook_credentials import GenericWebhook, WebhookMapping
from clarion.receiving.incoming import IncomingEvent
from clarion.receiving.reading import event_id, long_text, objects, text_of, time_of
from clarion.receiving.requests import Proof, WebhookRequest
from clarion.receiving.signatures import hmac_spellings, matches
from clarion.templating import Compiled, compile_text

_SCOPES = frozenset({"event", "response"})
"""`response.error` of an action may be for the answer of a call; such a template says nothing here."""


class GenericMapping:
    """Templates that read the payloads of a service.

    Args:
        mapping: The mapping of an endpoint, or the `response` of an action.
        where: What it belongs to, told in errors.

    Raises:
        TemplateError: A template does not parse.
    """

    def __init__(self, mapping: WebhookMapping | ResponsePolicy, *, where: str) -> None:
        sources = {f"event.{name}": value for name, value in mapping.event.model_dump().items()}
        sources |= {f"error.{name}": value for name, value in mapping.error.model_dump().items()}
        sources |= {f"inbound.{name}": value for name, value in (mapping.inbound or {}).items()}
        sources["status.value"] = mapping.status.value if mapping.status else None
        self._templates: dict[str, Compiled] = {
            name: compile_text(source, where=f"{where}.{name}", scopes=_SCOPES)
            for name, source in sources.items()
            if source is not None
        }

    def event(self, data: dict[str, Any], *, delivery: str) -> IncomingEvent:
        """A payload as an event; `delivery` is the id of one that has none of its own.

        A text makes it a message of the recipient, else a status a receipt; what has neither is unknown.
        """
        scope = {"event": data}
        given = text_of(self._value("event.id", scope))
        shared: dict[str, Any] = {
            "provider_event_id": event_id("id", given) if given else delivery,
            "occurred_at": time_of(self._value("event.occurred_at", scope)),
            "client_ref": text_of(self._value("event.client_ref", scope)),
            "data": data,
        }
        text = long_text(self._value("inbound.text", scope))
        customer = text_of(self._value("inbound.from", scope))
        if text is not None and customer is not None:
            return IncomingEvent(
                type="recipient-response",
                recipient=customer,
                sender=text_of(self._value("inbound.to", scope)),
                related_id=text_of(self._value("inbound.quoted_id", scope)),
                text=text,
                **shared,
            )
        return self._receipt(scope, shared)

    def _receipt(self, scope: Mapping[str, Any], shared: Mapping[str, Any]) -> IncomingEvent:
        status, given = text_of(self._value("status.value", scope)), shared["provider_event_id"]
        # Of a service that gives a message's id for the event's, a later status is another event.
        identified: dict[str, Any] = {
            **shared,
            "provider_event_id": event_id(given, status) if status else given,
        }
        return IncomingEvent(
            type="unknown" if status is None else "action-call-info",
            recipient=text_of(self._value("event.recipient", scope)),
            invocation_id=text_of(self._value("event.invocation_id", scope)),
            status=status,
            error_code=text_of(self._value("error.code", scope)),
            error=long_text(self._value("error.reason", scope)),
            **identified,
        )

    def _value(self, name: str, scope: Mapping[str, Any]) -> Any:
        """What a template finds; None where it finds nothing, or there is no template."""
        template = self._templates.get(name)
        try:
            return None if template is None else template.render(scope)
        except RenderError:
            return None


class GenericProvider:
    """Webhooks of any service.

    Args:
        credentials: Its tokens or secrets; neither believes everything (an open endpoint).
        mapping: How to read it; None keeps all that comes as unknown events.
    """

    def __init__(self, credentials: GenericWebhook, *, mapping: GenericMapping | None) -> None:
        self._credentials = credentials
        self._mapping = mapping

    def verify(self, request: WebhookRequest) -> Proof:
        """As `Provider.verify`: by the bearer token, or by the header with the HMAC of the body."""
        if self._credentials.tokens():
            return self._by_token(request)
        return self._by_signature(request) if self._credentials.secrets() else Proof()

    def events(self, request: WebhookRequest, *, delivery: str) -> Sequence[IncomingEvent]:
        """As `Provider.events`; a JSON list is one event an entry."""
        return [
            self._event(data, delivery=event_id(delivery, str(number)))
            for number, data in enumerate(objects(request))
        ]

    def _event(self, data: dict[str, Any], *, delivery: str) -> IncomingEvent:
        if self._mapping is None:
            return IncomingEvent(type="unknown", provider_event_id=delivery, data=data)
        return self._mapping.event(data, delivery=delivery)

    def _by_token(self, request: WebhookRequest) -> Proof:
        scheme, _, token = request.headers.get("authorization", "").partition(" ")
        if scheme.lower() != "bearer":
            raise UnverifiedError("has no Authorization: Bearer header")
        if not matches(token, [each.decode() for each in self._credentials.tokens()]):
            raise UnverifiedError("has a wrong bearer token; check token")
        return Proof()

    def _by_signature(self, request: WebhookRequest) -> Proof:
        header, algorithm = self._credentials.header, self._credentials.algorithm
        signature = request.headers.get(header.lower())
        if not signature:
            raise UnverifiedError(f"has no {header}; check header")
        if request.method == "GET":
            raise UnverifiedError("is a GET, whose parameters the signature of the body does not cover")
        expected = [
            text
            for secret in self._credentials.secrets()
            for text in hmac_spellings(secret, request.body, algorithm)
        ]
        if not matches(signature.removeprefix(f"{algorithm}="), expected):
            raise UnverifiedError("has a wrong signature; check secret and algorithm")
        return Proof()
