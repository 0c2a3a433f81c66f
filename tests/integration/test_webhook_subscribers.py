"""Who may subscribe, and the secrets that sign."""

import json
from typing import Any

import httpx
import pytest
from pydantic import SecretStr
from standardwebhooks.webhooks import Webhook

from clarion.errors import JobError
from clarion.models.webhook_secret import WebhookSecret, new_secret
from tests.integration.webhook_deliveries import SECRET, subscriber


@pytest.mark.parametrize(
    "url", ["ftp://x/", "file:///etc/passwd", "//x/", "http://", "http://u:p@x/", "javascript:1"]
)
def test_subscribers_url_is_http_without_a_password(url: str):
    """Nothing but http and https is called, and no password stands where lists of subscribers show it."""
    with pytest.raises(ValueError, match="url"):
        subscriber(url)


@pytest.mark.parametrize(
    "changes",
    [{"events": []}, {"events": ["click", "click"]}, {"events": ["run-items-total"]}, {"name": "A b"},
     {"secret": "bearer-token/main"}, {"secret": SECRET}],
)  # fmt: skip
def test_subscriber_that_is_none_is_refused(changes: dict[str, Any]):
    """Types that are stored, each once; a name for tables; a reference for a secret, never the secret."""
    with pytest.raises(ValueError, match=next(iter(changes))):
        subscriber("http://127.0.0.1:9/", **changes)


@pytest.mark.parametrize(
    "text", ["", "whsec_", "whsec_short", "whsec_" + "A" * 200, "whsec_****", "not base64!"]
)
def test_secret_that_is_none_is_refused_without_being_told(text: str):
    """A secret has 24 to 64 bytes in base64; what was given is not repeated."""
    with pytest.raises((JobError, ValueError)) as error:
        WebhookSecret(secret=SecretStr(text))
    assert text in {"", "whsec_"} or text not in str(error.value)


def test_secrets_are_made_anew_each_time():
    """Each is as the specification wants it."""
    made = {new_secret() for _ in range(10)}
    assert len(made) == 10
    assert all(len(WebhookSecret(secret=SecretStr(each)).key()) == 32 for each in made)


def test_signed_action_has_the_three_headers():
    """The same kind of credentials signs an action's request, and a preview shows no signature."""
    request = httpx.Request("POST", "http://127.0.0.1:9/", json={"a": "ä"})
    signed = WebhookSecret(secret=SecretStr(SECRET)).auth().apply(request)
    assert Webhook(SECRET).verify(signed.content, dict(signed.headers)) == {"a": "ä"}
    masked = WebhookSecret(secret=SecretStr(SECRET)).masked_auth().apply(request)
    assert masked.headers["webhook-signature"] == "v1,****"
    assert json.loads(request.content) == {"a": "ä"}
