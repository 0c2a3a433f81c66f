from urllib.parse import urlencode

import orjson
import pytest

from clarion.sandbox.masking import masked_fields, masked_headers, masked_path
from clarion.sandbox.message import Request


def request(target: str = "/x", *, json: object = None, form: dict[str, str] | None = None, **headers: str):
    """A request with JSON, a form, or nothing in it."""
    body = b"" if json is None else orjson.dumps(json)
    if form is not None:
        body, headers = urlencode(form).encode(), {"content_type": "application/x-www-form-urlencoded"}
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return Request(method="POST", target=target, headers=named, body=body)


@pytest.mark.parametrize(
    ("got", "recipients"),
    [
        (request(json={"to": "447700900000"}), ("447700900000",)),
        (request(json={"to": 447700900000}), ("447700900000",)),
        (request(json={"to": {"type": "phone", "number": "1"}}), ("1",)),
        (request(json={"to": [{"type": "phone", "number": "1"}, {"email": "a"}]}), ("1", "a")),
        (request(json={"to": {"type": "phone"}, "recipient": "2"}), ("2",)),
        (request(json={"personalizations": [{"to": [{"email": "a"}]}, {"to": ["b"]}]}), ("a", "b")),
        (request(json={"personalizations": "?"}), ("/x",)),
        (request(form={"To": "+447700900000", "Body": "Hi"}), ("+447700900000",)),
        (request(form={"to": "4"}), ("4",)),
        (request("/x?to=5&text=a"), ("5",)),
        (request("/x?to=5", json={"to": "6"}), ("6",)),
        (request(x_recipient="7"), ("7",)),
        (request("/people/a%20b"), ("/people/a b",)),
        (request(json={"to": ""}), ("/x",)),
        (request(json=["to"]), ("/x",)),
        (request("/services/T0/B0/token", json={"text": "Hi"}), ("/services/T0/B0/***",)),
    ],
)  # fmt: skip
def test_message_recipient_is_found(got: Request, recipients: tuple[str, ...]):
    """The documented places are looked at in the documented order."""
    assert got.recipients == recipients


def test_message_content_is_decoded_by_kind():
    """JSON, a form, plain text, undecodable bytes and nothing."""
    assert request(json={"a": [1]}).content == {"a": [1]}
    assert request(form={"a": "1", "b": ""}).content == {"a": "1", "b": ""}
    assert Request(method="POST", target="/", headers={}, body=b"plain").content == "plain"
    assert Request(method="POST", target="/", headers={}, body=b"\xff").content == "\ufffd"
    assert request().content is None


def test_masking_takes_secrets_out():
    """Secrets go, what tells a caller which scheme or parameter was used stays."""
    assert masked_headers({"authorization": "Bearer abc", "cookie": "a=b", "x-campaign": "c"}) == {
        "authorization": "Bearer ***",
        "cookie": "***",
        "x-campaign": "c",
    }
    assert masked_headers({"authorization": "abc"}) == {"authorization": "***"}
    assert masked_fields({"api_secret": "s", "to": "1"}) == {"api_secret": "***", "to": "1"}
    assert masked_fields("text") == "text"
    assert masked_path("/services/T0/B0/token") == "/services/T0/B0/***"
    assert masked_path("/v1/messages") == "/v1/messages"
