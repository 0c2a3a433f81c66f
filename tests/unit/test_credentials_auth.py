"""Credentials on real requests: by hand, and by httpx clients, to a server that tells what arrived."""

import asyncio
import base64
import json
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import httpx
import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from hypothesis import given
from hypothesis import strategies as st
from pydantic import SecretStr

from clarion.errors import InputError, JobError
from clarion.models.credentials import ApiKey, BasicAuth, BearerToken, VonageApplication, WebhookUrl
from clarion.sending.auth import ApplicationTokenAuth, BodyAuth, QueryAuth, RequestAuth, load_private_key

Send = Callable[[httpx.Request, RequestAuth], dict[str, Any]]


class _Echo(BaseHTTPRequestHandler):
    """Answers with what arrived; a wrong Content-Length would leave it waiting or cut the body."""

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        url = urlsplit(self.path)
        answer = {
            "headers": {name.lower(): value for name, value in self.headers.items()},
            "query": parse_qsl(url.query, keep_blank_values=True),
            "body": body.decode(),
        }
        content = json.dumps(answer).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *_: object) -> None:
        """Keeps the test's output clean."""


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    """The address of a server that echoes."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Echo)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    thread.join()
    server.server_close()


def _by_hand(request: httpx.Request, auth: RequestAuth) -> dict[str, Any]:
    with httpx.Client() as client:
        return client.send(auth.apply(request)).json()


def _by_client(request: httpx.Request, auth: RequestAuth) -> dict[str, Any]:
    with httpx.Client(auth=auth) as client:
        return client.send(request).json()


def _by_async_client(request: httpx.Request, auth: RequestAuth) -> dict[str, Any]:
    async def send() -> dict[str, Any]:
        async with httpx.AsyncClient(auth=auth) as client:
            return (await client.send(request)).json()

    return asyncio.run(send())


@pytest.fixture(params=[_by_hand, _by_client, _by_async_client])
def send(request: pytest.FixtureRequest) -> Send:
    """The three ways to send with credentials."""
    return request.param


def test_bearer_token_arrives(url: str, send: Send):
    """The token stands in the Authorization header."""
    auth = BearerToken(token=SecretStr("abc.DEF-1")).auth()
    assert send(httpx.Request("POST", url), auth)["headers"]["authorization"] == "Bearer abc.DEF-1"


def test_basic_auth_arrives(url: str, send: Send):
    """User name and password stand in the Authorization header, as UTF-8."""
    auth = BasicAuth(username="acme", password=SecretStr("pä:ss")).auth()
    scheme, _, encoded = send(httpx.Request("POST", url), auth)["headers"]["authorization"].partition(" ")
    assert (scheme, base64.b64decode(encoded).decode()) == ("Basic", "acme:pä:ss")


def test_api_key_arrives_in_headers(url: str, send: Send):
    """Every field is a header, in place of one that the action wrote."""
    auth = ApiKey(fields={"X-Api-Key": SecretStr("k1"), "X-Api-Secret": SecretStr("s 1")}).auth()
    request = httpx.Request("POST", url, headers={"x-api-key": "theirs"})
    headers = send(request, auth)["headers"]
    assert (headers["x-api-key"], headers["x-api-secret"]) == ("k1", "s 1")


def test_api_key_arrives_in_the_query(url: str, send: Send):
    """Every field is a parameter, after those of the action."""
    auth = ApiKey(
        fields={"api_key": SecretStr("k&1"), "api_secret": SecretStr("ü=")}, location="query"
    ).auth()
    request = httpx.Request("POST", f"{url}/sms?to=a%20b&flag&api_key=theirs")
    assert send(request, auth)["query"] == [
        ["to", "a b"],
        ["flag", ""],
        ["api_key", "k&1"],
        ["api_secret", "ü="],
    ]


def test_api_key_arrives_in_a_json_body(url: str, send: Send):
    """The longer body arrives whole; numbers beyond 64 bits keep their digits."""
    auth = ApiKey(fields={"api_key": SecretStr("k1"), "api_secret": SecretStr("ü")}, location="body").auth()
    payload = {"to": "447700900000", "n": 12345678901234567890123, "text": "Grüße", "api_key": "theirs"}
    request = httpx.Request("POST", url, json=payload, headers={"X-Trace": "1"})
    arrived = send(request, auth)
    assert json.loads(arrived["body"]) == {**payload, "api_key": "k1", "api_secret": "ü"}
    assert arrived["headers"]["content-length"] == str(len(arrived["body"].encode()))
    assert (arrived["headers"]["content-type"], arrived["headers"]["x-trace"]) == ("application/json", "1")


def test_api_key_arrives_in_a_form(url: str, send: Send):
    """The fields follow those of the form."""
    auth = ApiKey(fields={"api_key": SecretStr("k 1"), "api_secret": SecretStr("&")}, location="body").auth()
    arrived = send(httpx.Request("POST", url, data={"to": "447700900000", "text": "a & b"}), auth)
    assert parse_qsl(arrived["body"]) == [
        ("to", "447700900000"),
        ("text", "a & b"),
        ("api_key", "k 1"),
        ("api_secret", "&"),
    ]


@pytest.mark.parametrize(
    ("request_", "problem"),
    [
        (httpx.Request("POST", "http://x.test", content=b"raw"), "without a typed body"),
        (httpx.Request("GET", "http://x.test"), "without a typed body"),
        (
            httpx.Request("POST", "http://x.test", content="<a/>", headers={"Content-Type": "text/xml"}),
            "text/xml",
        ),
        (httpx.Request("POST", "http://x.test", json=["a"]), "no object"),
        (
            httpx.Request(
                "POST", "http://x.test", content=b"{", headers={"Content-Type": "application/json"}
            ),
            "no JSON",
        ),
    ],
)
def test_api_key_refuses_a_body_without_fields(request_: httpx.Request, problem: str):
    """A body that is neither an object nor a form cannot carry fields, and the error says what can."""
    auth = ApiKey(fields={"api_key": SecretStr("s3cret")}, location="body").auth()
    with pytest.raises(
        InputError, match=rf"^credentials: .*{problem}.*location of header or query"
    ) as caught:
        auth.apply(request_)
    assert "s3cret" not in str(caught.value)


def test_body_auth_keeps_what_travels_with_the_request():
    """Method, URL and extensions (time-outs) are those of the first request."""
    request = httpx.Request("PUT", "http://x.test/a?b=c", json={}, extensions={"timeout": {"read": 3}})
    applied = BodyAuth({"k": "v"}).apply(request)
    assert (applied.method, applied.url, applied.extensions) == ("PUT", request.url, {"timeout": {"read": 3}})


@given(
    pairs=st.lists(st.tuples(st.text(st.characters(codec="utf-8")), st.text(st.characters(codec="utf-8")))),
    value=st.text(st.characters(codec="utf-8"), min_size=1),
)
def test_query_auth_keeps_every_other_parameter(pairs: list[tuple[str, str]], value: str):
    """Whatever the action's parameters are, they stay as they were written, in their order."""
    request = httpx.Request("GET", "http://x.test/a", params=pairs)
    kept = [
        pair for pair in parse_qsl(request.url.query.decode(), keep_blank_values=True) if pair[0] != "key"
    ]
    applied = QueryAuth({"key": value}).apply(request)
    arrived = parse_qsl(applied.url.query.decode(), keep_blank_values=True)
    assert arrived == [*kept, ("key", value)]


class _Clock:
    """Seconds since the epoch, moved by the test."""

    def __init__(self) -> None:
        self.now = 1_700_000_000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture(scope="module")
def private_key() -> rsa.RSAPrivateKey:
    """The key of the made-up application."""
    return load_private_key(VonageApplication.dummy().private_key.get_secret_value())


@pytest.fixture
def clock() -> _Clock:
    """A clock that stands still."""
    return _Clock()


@pytest.fixture
def token_auth(private_key: rsa.RSAPrivateKey, clock: _Clock) -> ApplicationTokenAuth:
    """Tokens of 15 minutes by that clock."""
    return ApplicationTokenAuth(
        application_id="app", private_key=private_key, lifetime_seconds=900, clock=clock
    )


def _token(auth: RequestAuth) -> str:
    return auth.apply(httpx.Request("POST", "http://x.test")).headers["Authorization"].removeprefix("Bearer ")


def _claims(token: str, key: rsa.RSAPrivateKey) -> dict[str, Any]:
    return jwt.decode(
        token, key.public_key(), algorithms=["RS256"], options={"verify_exp": False, "verify_iat": False}
    )


def test_application_token_arrives_and_verifies(url: str, send: Send, private_key: rsa.RSAPrivateKey):
    """The provider can check the token with the public key, and it is valid now."""
    arrived = send(httpx.Request("POST", url), VonageApplication.dummy().auth())
    token = arrived["headers"]["authorization"].removeprefix("Bearer ")
    claims = jwt.decode(token, private_key.public_key(), algorithms=["RS256"])
    assert jwt.get_unverified_header(token) == {"alg": "RS256", "typ": "JWT"}
    assert set(claims) == {"application_id", "iat", "jti", "exp"}
    assert claims["exp"] - claims["iat"] == 900


def test_application_token_is_kept_until_shortly_before_its_end(
    token_auth: ApplicationTokenAuth, clock: _Clock, private_key: rsa.RSAPrivateKey
):
    """One token serves 14 of its 15 minutes; the next one is another, valid from then on."""
    first = _token(token_auth)
    clock.now += 839.9
    assert _token(token_auth) == first
    clock.now += 0.1
    second = _claims(_token(token_auth), private_key)
    assert second["jti"] != _claims(first, private_key)["jti"]
    assert (second["iat"], second["exp"]) == (int(clock.now), int(clock.now) + 900)


@given(lifetime_seconds=st.integers(30, 86_400), steps=st.lists(st.floats(0, 90_000), max_size=8))
def test_application_token_never_leaves_near_its_end(
    private_key: rsa.RSAPrivateKey, lifetime_seconds: int, steps: list[float]
):
    """Whenever a request leaves, its token has begun and is valid for ten seconds more at least."""
    clock = _Clock()
    auth = ApplicationTokenAuth(
        application_id="app", private_key=private_key, lifetime_seconds=lifetime_seconds, clock=clock
    )
    for step in steps:
        clock.now += step
        claims = _claims(_token(auth), private_key)
        assert claims["iat"] <= clock.now < claims["exp"] - min(60, lifetime_seconds / 3) + 1e-3


def test_application_token_is_renewed_when_the_clock_was_set_back(
    token_auth: ApplicationTokenAuth, clock: _Clock, private_key: rsa.RSAPrivateKey
):
    """A token from the future, made before the clock was corrected, is not kept until then."""
    first = _token(token_auth)
    clock.now -= 86_400
    assert _claims(_token(token_auth), private_key)["iat"] < _claims(first, private_key)["iat"]


def test_application_token_is_made_once_for_all_threads(token_auth: ApplicationTokenAuth):
    """Threads that need a token at the same moment get the same one."""
    barrier = threading.Barrier(8)

    def ask() -> str:
        barrier.wait()
        return _token(token_auth)

    with ThreadPoolExecutor(8) as pool:
        asked = [pool.submit(ask) for _ in range(8)]
    assert len({each.result() for each in asked}) == 1


WEBHOOK = "https://hooks.test/services/T0/B0/s3cret%20path?sig=s1gnature"


def test_webhook_replaces_path_and_query_of_the_action_s_url():
    """The host is the action's, and the body goes where the secret says."""
    request = httpx.Request("POST", "https://hooks.test/services/hidden?x=1", json={"text": "hi"})
    sent = WebhookUrl(url=SecretStr(WEBHOOK)).auth().apply(request)
    assert (str(sent.url), sent.headers["host"], sent.read()) == (WEBHOOK, "hooks.test", request.content)


@pytest.mark.parametrize("url", ["https://evil.test/x", "http://hooks.test/x", "https://hooks.test:8443/x"])
def test_webhook_goes_to_its_own_host_only(url: str):
    """Another host, or one without TLS, would learn the secret; the error does not tell it either."""
    credentials = WebhookUrl(url=SecretStr(WEBHOOK))
    with pytest.raises(
        JobError, match=r"^credentials: they are for https://hooks\.test, and the action"
    ) as caught:
        credentials.auth().apply(httpx.Request("POST", url))
    assert credentials.mask(str(caught.value)) == str(caught.value)


def test_webhook_is_masked_wherever_it_is_told():
    """The whole URL, its path, and the parts of it that open it; what stands in every such URL stays."""
    credentials = WebhookUrl(url=SecretStr(WEBHOOK))
    told = f"error for url ({WEBHOOK}) at /services/T0/B0/s3cret%20path, 's3cret path' s1gnature of services"
    masked = credentials.mask(told)
    assert "s3cret" not in masked
    assert "s1gnature" not in masked
    assert masked.endswith("of services")
    shown = credentials.masked_auth().apply(httpx.Request("POST", "https://hooks.test/services/hidden"))
    assert str(shown.url) == "https://hooks.test/****"


@pytest.mark.parametrize(
    "url",
    [
        "http://hooks.test/a",
        "https://hooks.test",
        "https://hooks.test/",
        "hooks.test/a",
        "https://u:p@h.test/a",
        "x",
    ],
)
def test_webhook_that_is_no_secret_url_is_refused(url: str):
    """A URL without TLS, host or path is a typing error; it is not repeated."""
    with pytest.raises(JobError) as caught:
        WebhookUrl(url=SecretStr(url))
    assert str(caught.value) == "url: is no webhook's URL; expected https://HOST/PATH, as it was given out"
