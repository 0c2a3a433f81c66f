"""A webhook's request, and what a provider's module says about it."""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from clarion.receiving.incoming import IncomingEvent


@dataclass(frozen=True, slots=True, kw_only=True)
class WebhookRequest:
    """One request, its body in memory.

    Attributes:
        method: GET or POST.
        url: As the provider called it: the public URL, with the query.
        query: What follows the question mark, as it came.
        headers: By lower-case names.
        body: The bytes as they came; what is signed is these.
    """

    method: str
    url: str
    query: str
    headers: Mapping[str, str]
    body: bytes

    @property
    def content_type(self) -> str:
        """The media type in lower case, without its parameters; empty where none is told."""
        return self.headers.get("content-type", "").partition(";")[0].strip().lower()

    @property
    def content(self) -> bytes:
        """What the provider tells: the query of a GET, else the body."""
        return self.query.encode() if self.method == "GET" else self.body

    def digest(self) -> str:
        """What two requests of the same content have in common, 64 hexadecimal digits.

        Without the media type: what a body says does not depend on what it is called.
        """
        return hashlib.sha256(self.method.encode() + b"\n" + self.content).hexdigest()


@dataclass(frozen=True, slots=True, kw_only=True)
class Proof:
    """Why a request is believed.

    Attributes:
        token: What the provider uses once (a `jti`, a nonce): with other content it is refused. None where
            the provider has none.
    """

    token: str | None = None


class Provider(Protocol):
    """What the module of a provider knows: whether a request is genuine, and what it says."""

    def verify(self, request: WebhookRequest) -> Proof:
        """The proof that the provider made the request, every byte of it.

        Raises:
            UnverifiedError: There is none. The message names the setting to check, and no secret.
        """
        ...

    def events(self, request: WebhookRequest, *, delivery: str) -> Sequence[IncomingEvent]:
        """What a verified request says, at least one event; an unknown one where nobody can tell.

        Args:
            request: Whatever the provider sends: nothing that it holds makes this raise.
            delivery: Id of an event that has none of its own: the same for a redelivery.

        Raises:
            TooManyEntriesError: It is a list of more entries than are read at once.
        """
        ...


def delivery_id(request: WebhookRequest, proof: Proof) -> str:
    """The same for a request with the same token and the same content."""
    return hashlib.sha256(f"{proof.token or ''}\n{request.digest()}".encode()).hexdigest()
