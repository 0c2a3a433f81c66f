"""Whom a transport talks to: certificates and proxies, the same tests on httpx's own and on Clarion's."""

import asyncio
import datetime as dt
import ipaddress
import ssl
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import httpx
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from clarion.errors import SettingError
from clarion.sending.wire import Wire, left_unsent
from tests.integration.wire_server import (
    PATIENT,
    Seen,
    accept,
    failure,
    forget_proxies,
    post,
    raw_then_close,
    send,
    serving,
)

Open = Callable[[], httpx.AsyncBaseTransport]


class Authority(NamedTuple):
    """A made-up authority: its certificate, a server it vouches for at 127.0.0.1, and one for elsewhere."""

    certificate: Path
    right: ssl.SSLContext
    wrong: ssl.SSLContext


@pytest.fixture(params=[httpx.AsyncHTTPTransport, Wire], ids=["httpx", "wire"])
def open_transport(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Open:
    """How to open the transport under test, when the environment is as it should be."""
    forget_proxies(monkeypatch)
    return request.param


@pytest.fixture(params=[None, Wire], ids=["httpx", "wire"])
def open_client(
    request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> Callable[[], httpx.AsyncClient]:
    """How to open a client: with httpx it is the client that reads the environment's proxies."""
    forget_proxies(monkeypatch)
    return lambda: httpx.AsyncClient(transport=request.param and request.param())


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    """An authority that only those know who are told."""
    directory = tmp_path_factory.mktemp("tls")
    ca_key = ec.generate_private_key(ec.SECP256R1())
    ca = _certificate("authority", key=ca_key, signer=ca_key, issuer="authority", address=None)
    path = directory / "ca.pem"
    path.write_bytes(ca.public_bytes(serialization.Encoding.PEM))
    right, wrong = (
        _server_context(directory, ca_key=ca_key, address=address) for address in ("127.0.0.1", "127.0.0.2")
    )
    return Authority(path, right, wrong)


def _certificate(
    name: str,
    *,
    key: ec.EllipticCurvePrivateKey,
    signer: ec.EllipticCurvePrivateKey,
    issuer: str,
    address: str | None,
) -> x509.Certificate:
    now = dt.datetime.now(dt.UTC)
    builder = (
        x509.CertificateBuilder()
        .subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)]))
        .issuer_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, issuer)]))
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - dt.timedelta(days=1))
        .not_valid_after(now + dt.timedelta(days=1))
        .add_extension(x509.BasicConstraints(ca=address is None, path_length=None), critical=True)
    )
    if address:
        names = x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address(address))])
        builder = builder.add_extension(names, critical=False)
    return builder.sign(signer, hashes.SHA256())


def _server_context(directory: Path, *, ca_key: ec.EllipticCurvePrivateKey, address: str) -> ssl.SSLContext:
    key = ec.generate_private_key(ec.SECP256R1())
    certificate = _certificate(address, key=key, signer=ca_key, issuer="authority", address=address)
    path = directory / f"{address}.pem"
    path.write_bytes(
        certificate.public_bytes(serialization.Encoding.PEM)
        + key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
    )
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(path)
    return context


@pytest.mark.parametrize("trouble", ["unknown authority", "wrong address", "no TLS"])
def test_wire_sends_nothing_to_a_server_it_cannot_trust(
    open_transport: Open, monkeypatch: pytest.MonkeyPatch, authority: Authority, trouble: str
):
    """Certificates are verified, for the authority and for the name, before a byte of the request leaves."""
    monkeypatch.delenv("SSL_CERT_DIR", raising=False)
    if trouble != "unknown authority":
        monkeypatch.setenv("SSL_CERT_FILE", str(authority.certificate))
    tls = {"unknown authority": authority.right, "wrong address": authority.wrong}.get(trouble)
    error, seen = asyncio.run(_fail_over_tls(open_transport, tls))
    # A server without TLS waits for the end of a request that does not come.
    assert type(error) is (httpx.ConnectTimeout if trouble == "no TLS" else httpx.ConnectError)
    assert left_unsent(error)
    assert seen == []


async def _fail_over_tls(
    open_transport: Open, tls: ssl.SSLContext | None
) -> tuple[httpx.RequestError, list[Seen]]:
    timeout = PATIENT if tls else {**PATIENT, "connect": 0.3}
    async with serving(accept, tls=tls) as server, open_transport() as transport:
        return await failure(transport, post(server.url(scheme="https"), timeout=timeout)), server.seen


def test_wire_trusts_the_authorities_of_ssl_cert_file(
    open_transport: Open, monkeypatch: pytest.MonkeyPatch, authority: Authority
):
    """A company's own authority is made known by SSL_CERT_FILE, as everywhere."""
    monkeypatch.delenv("SSL_CERT_DIR", raising=False)
    monkeypatch.setenv("SSL_CERT_FILE", str(authority.certificate))

    async def run() -> int:
        async with serving(accept, tls=authority.right) as server, open_transport() as transport:
            return (await send(transport, post(server.url(scheme="https")))).status_code

    assert asyncio.run(run()) == 202


def test_wire_refuses_to_start_without_authorities(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    """A mistyped SSL_CERT_FILE is told before the first message, by its name."""
    monkeypatch.delenv("SSL_CERT_DIR", raising=False)
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "missing.pem"))
    with pytest.raises(SettingError, match="SSL_CERT_FILE"):
        Wire()


@pytest.mark.parametrize("variable", ["HTTP_PROXY", "ALL_PROXY", "http_proxy"])
def test_wire_uses_the_proxy_of_the_environment(
    open_client: Callable[[], httpx.AsyncClient], monkeypatch: pytest.MonkeyPatch, variable: str
):
    """Plain HTTP goes to the proxy with the whole URL, and the target itself is not looked for."""

    async def run() -> tuple[int, list[str]]:
        async with serving() as proxy:
            monkeypatch.setenv(variable, proxy.url(""))
            async with open_client() as client:
                answer = await client.post("http://provider.invalid/messages?to=1", content=b"x")
                return answer.status_code, [seen.target for seen in proxy.seen]

    assert asyncio.run(run()) == (202, ["http://provider.invalid/messages?to=1"])


def test_wire_goes_past_the_proxy_where_no_proxy_says_so(
    open_client: Callable[[], httpx.AsyncClient], monkeypatch: pytest.MonkeyPatch
):
    """NO_PROXY names hosts that are reached directly."""

    async def run() -> tuple[int, int]:
        async with serving() as proxy, serving() as server:
            monkeypatch.setenv("HTTP_PROXY", proxy.url(""))
            monkeypatch.setenv("NO_PROXY", "example.com,127.0.0.1")
            async with open_client() as client:
                await client.post(server.url(), content=b"x")
            return len(proxy.seen), len(server.seen)

    assert asyncio.run(run()) == (0, 1)


def test_wire_says_that_a_request_without_a_tunnel_never_left(
    open_client: Callable[[], httpx.AsyncClient], monkeypatch: pytest.MonkeyPatch
):
    """A proxy that refuses CONNECT has seen the target's name and nothing of the request."""
    refusal = raw_then_close(b"HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n")

    async def run() -> tuple[httpx.RequestError, list[tuple[str, str]]]:
        async with serving(refusal) as proxy:
            monkeypatch.setenv("HTTPS_PROXY", proxy.url(""))
            async with open_client() as client:
                with pytest.raises(httpx.RequestError) as caught:
                    await client.post("https://provider.invalid/messages", content=b"x")
            return caught.value, [(seen.method, seen.target) for seen in proxy.seen]

    error, seen = asyncio.run(run())
    assert type(error) is httpx.ProxyError
    assert left_unsent(error)
    assert seen == [("CONNECT", "provider.invalid:443")]


@pytest.mark.parametrize("address", ["proxy::3128", "ftp://proxy", "http://"])
def test_wire_refuses_a_proxy_that_is_none(monkeypatch: pytest.MonkeyPatch, address: str):
    """A mistyped proxy is an error: going past it could break a company's rules."""
    forget_proxies(monkeypatch)
    monkeypatch.setenv("HTTPS_PROXY", address)
    with pytest.raises(SettingError, match="HTTPS_PROXY"):
        Wire()
