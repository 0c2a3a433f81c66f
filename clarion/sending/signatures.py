"""Signed requests, as standardwebhooks.com specifies them."""

import time
import uuid
from collections.abc import Callable
from datetime import UTC, datetime

import httpx
from standardwebhooks.webhooks import Webhook

from clarion.exchange import set_header
from clarion.sending.auth import RequestAuth

ID_HEADER = "webhook-id"
TIMESTAMP_HEADER = "webhook-timestamp"
SIGNATURE_HEADER = "webhook-signature"


class SignatureAuth(RequestAuth):
    """Signs the body, its id and the time of sending.

    A request that has a `webhook-id` keeps it, so that the receiver knows another try for the same message;
    any other gets a new one.

    Args:
        key: The bytes of the secret.
        clock: Seconds since the epoch.
    """

    def __init__(self, key: bytes, *, clock: Callable[[], float] = time.time) -> None:
        self._webhook = Webhook(key)
        self._clock = clock

    def apply(self, request: httpx.Request) -> httpx.Request:
        """The same request with the three headers; its body must be UTF-8."""
        message = request.headers.get(ID_HEADER) or str(uuid.uuid4())
        seconds = int(self._clock())
        signature = self._webhook.sign(
            msg_id=message, timestamp=datetime.fromtimestamp(seconds, UTC), data=request.content.decode()
        )
        set_header(request, ID_HEADER, message)
        set_header(request, TIMESTAMP_HEADER, str(seconds))
        set_header(request, SIGNATURE_HEADER, signature)
        return request
