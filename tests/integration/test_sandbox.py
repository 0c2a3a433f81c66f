import asyncio
import json
import socket
import threading
from collections import Counter
from datetime import datetime

import httpx
import pytest

from clarion.errors import SettingError
from clarion.sandbox import Behaviour, Sandbox
from clarion.sandbox.connection import MAX_BODY_BYTES

MESSAGES = "/v1/messages"


def post(client: httpx.Client, recipient: str, **headers: str) -> httpx.Response:
    """Send a message to one recipient."""
    return client.post(MESSAGES, json={"to": recipient, "text": "Hi"}, headers=headers)


def client_of(sandbox: Sandbox) -> httpx.Client:
    """A client that knows the sandbox's address."""
    return httpx.Client(base_url=sandbox.url, trust_env=False)


def exchange(sandbox: Sandbox, sent: bytes) -> bytes:
    """Everything the sandbox says until it hangs up."""
    port = httpx.URL(sandbox.url).port
    with socket.create_connection(("127.0.0.1", port or 0), timeout=10) as raw:
        raw.sendall(sent)
        return b"".join(iter(lambda: raw.recv(65_536), b""))


def test_sandbox_counts_per_recipient_and_key():
    """Each acceptance is counted for its recipient, duplicates and repeated keys stand out."""
    with Sandbox() as sandbox, client_of(sandbox) as client:
        answers = [post(client, recipient, **{"Idempotency-Key": f"key-{recipient}"}) for recipient in "abcb"]
        stats = client.get("/_sandbox/stats").json()
        assert stats == sandbox.stats()
    assert [answer.status_code for answer in answers] == [202] * 4
    assert len({answer.json()["message_uuid"] for answer in answers}) == 4
    assert stats["recipients"] == {"a": 1, "b": 2, "c": 1}
    assert stats["duplicates"] == {"b": 2}
    assert stats["repeated_keys"] == 1
    assert (stats["requests"], stats["accepted"]) == (4, 4)


def test_sandbox_lists_requests_without_secrets():
    """The details are as sent, but for the credentials."""
    with Sandbox() as sandbox, client_of(sandbox) as client:
        post(client, "447700900000", Authorization="Bearer secret-token")
        client.put("/other?b=2&api_key=secret-key", data={"To": "x", "api_secret": "secret-value"})
        client.get("/nobody")
        listed = client.get("/_sandbox/requests").json()
        text = client.get("/_sandbox/requests").text
        assert listed == sandbox.requests()
        second = client.get("/_sandbox/requests", params={"limit": 1, "offset": 1}).json()
        of_x = client.get("/_sandbox/requests", params={"recipient": "x"}).json()
    assert "secret-" not in text
    assert [entry["n"] for entry in listed] == [1, 2, 3]
    first = listed[0]
    assert datetime.fromisoformat(first["at"]).utcoffset() is not None
    assert (first["method"], first["path"], first["query"]) == ("POST", MESSAGES, "")
    assert first["headers"]["authorization"] == "Bearer ***"
    assert first["body"] == {"to": "447700900000", "text": "Hi"}
    assert (first["recipient"], first["verdict"], first["status"]) == ("447700900000", "accepted", 202)
    assert second == of_x == [listed[1]]
    assert listed[1]["query"] == "b=2&api_key=***"
    assert listed[1]["body"] == {"To": "x", "api_secret": "***"}
    assert listed[2]["recipient"] == "/nobody"


def test_sandbox_reject_is_stable_and_others_pass():
    """The same recipients are refused with 422 each time, and never counted as accepted."""
    behaviour = Behaviour(reject=0.5, seed=4)
    with Sandbox(behaviour) as sandbox, client_of(sandbox) as client:
        rounds = [{n: post(client, str(n)).status_code for n in range(20)} for _ in range(2)]
        stats = sandbox.stats()
    assert rounds[0] == rounds[1]
    refused = {n for n, status in rounds[0].items() if status == 422}
    assert refused == {n for n in range(20) if behaviour.refuses(str(n))}
    assert 0 < len(refused) < 20
    assert stats["rejected"] == 2 * len(refused)
    assert stats["recipients"] == {str(n): 2 for n in range(20) if n not in refused}


def test_sandbox_throttle_answers_429_above_the_limit():
    """What comes above the limit of a second is told to wait."""
    with Sandbox(Behaviour(throttle=3)) as sandbox, client_of(sandbox) as client:
        answers = [post(client, str(n)) for n in range(200)]
        stats = sandbox.stats()
    throttled = [answer for answer in answers if answer.status_code == 429]
    assert [answer.status_code for answer in answers[:3]] == [202] * 3
    assert stats["throttled"] == len(throttled) > 0
    assert stats["accepted"] == 200 - len(throttled)
    assert throttled[0].json()["title"] == "Rate Limit Hit"


def test_sandbox_errors_are_500_and_503():
    """Server errors come in both kinds, and are no acceptance."""
    with Sandbox(Behaviour(error=1.0)) as sandbox, client_of(sandbox) as client:
        statuses = Counter(post(client, "a").status_code for _ in range(50))
        stats = sandbox.stats()
    assert set(statuses) == {500, 503}
    assert (stats["errors"], stats["recipients"]) == (50, {})


def test_sandbox_drop_hangs_up_before_and_after_accepting():
    """The client gets no byte, and only the sandbox knows which half was accepted."""
    with Sandbox(Behaviour(drop=1.0)) as sandbox, client_of(sandbox) as client:
        for n in range(60):
            with pytest.raises(httpx.RemoteProtocolError, match="disconnected without sending a response"):
                post(client, str(n))
        stats = sandbox.stats()
        verdicts = Counter(entry["verdict"] for entry in sandbox.requests())
        assert {entry["status"] for entry in sandbox.requests()} == {None}
    accepted = stats["accepted"]
    assert 0 < accepted < 60
    assert (stats["requests"], stats["dropped"], stats["dropped_after_accepting"]) == (60, 60, accepted)
    assert verdicts == {"dropped": 60 - accepted, "accepted-dropped": accepted}
    assert len(stats["recipients"]) == accepted


def test_sandbox_counts_when_a_request_arrives_and_answers_later():
    """The latency is between the count and the answer: a client that died while waiting was served."""
    with Sandbox(Behaviour(latency_ms=60_000)) as sandbox:
        body = json.dumps({"to": "a"}).encode()
        head = b"POST /v1/messages HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n" % len(body)
        port = httpx.URL(sandbox.url).port or 0
        with socket.create_connection(("127.0.0.1", port)) as raw, client_of(sandbox) as client:
            raw.sendall(head + body)
            polls = (client.get("/_sandbox/stats").json()["requests"] for _ in range(10_000))
            assert any(polls)
            assert sandbox.stats()["recipients"] == {"a": 1}
            raw.setblocking(False)
            with pytest.raises(BlockingIOError):
                raw.recv(1)


def test_sandbox_serves_many_connections_at_once():
    """Two hundred requests over forty connections, each with a latency, add up."""

    async def send(sandbox: Sandbox) -> list[int]:
        limits = httpx.Limits(max_connections=40)
        async with httpx.AsyncClient(base_url=sandbox.url, limits=limits, trust_env=False) as client:
            calls = (client.post(MESSAGES, json={"to": str(n)}) for n in range(200))
            return [answer.status_code for answer in await asyncio.gather(*calls)]

    with Sandbox(Behaviour(latency_ms=5, reject=0.1, error=0.1)) as sandbox:
        statuses = Counter(asyncio.run(send(sandbox)))
        stats = sandbox.stats()
    assert stats["requests"] == 200 == sum(stats["per_second"])
    assert stats["accepted"] == statuses[202] == len(stats["recipients"])
    assert stats["rejected"] == statuses[422] > 0
    assert stats["errors"] == statuses[500] + statuses[503] > 0
    assert stats["duplicates"] == {}


def test_sandbox_reset_forgets_and_begins_anew():
    """After a reset the counts are zero and the random sequence starts over."""
    with Sandbox(Behaviour(error=0.5)) as sandbox, client_of(sandbox) as client:
        first = [post(client, "a").status_code for _ in range(20)]
        assert client.delete("/_sandbox/reset").json() == {"status": "reset"}
        assert sandbox.stats()["requests"] == 0
        assert sandbox.requests() == []
        assert [post(client, "a").status_code for _ in range(20)] == first
        sandbox.reset()
        assert sandbox.stats()["recipients"] == {}


def test_sandbox_administration_tells_what_it_knows():
    """Health shows the behaviour; an unknown page and a bad number are told so; none of it is counted."""
    with Sandbox(Behaviour(latency_ms=3)) as sandbox, client_of(sandbox) as client:
        assert client.get("/_sandbox/health").json()["behaviour"]["latency_ms"] == 3
        unknown = client.get("/_sandbox/statistics")
        wrong = client.get("/_sandbox/requests", params={"limit": "ten"})
        assert sandbox.stats()["requests"] == 0
    assert unknown.status_code == 404
    assert "GET stats" in unknown.json()["known"]
    assert (wrong.status_code, wrong.json()["error"]) == (400, "limit must be a whole number")


@pytest.mark.parametrize("method", ["GET", "POST", "PUT", "PATCH", "DELETE", "HEAD", "OPTIONS"])
def test_sandbox_accepts_any_method(method: str):
    """Nothing is refused for its method; HEAD is answered without a body on a connection that goes on."""
    with Sandbox() as sandbox, client_of(sandbox) as client:
        answers = [client.request(method, "/any/path") for _ in range(2)]
        assert sandbox.stats()["recipients"] == {"/any/path": 2}
    assert [answer.status_code for answer in answers] == [202, 202]
    assert bool(answers[0].content) == (method != "HEAD")


def test_sandbox_reads_chunks_and_pipelined_requests_in_order():
    """Chunked bodies and requests sent before the last answer came are served in their order."""
    chunked = (
        b'POST /sms/json HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n3\r\n{"t\r\n7\r\no":"a"}\r\n0\r\n\r\n'
    )
    other = b'POST /sms/json HTTP/1.1\r\nConnection: close\r\nContent-Length: 10\r\n\r\n{"to":"b"}'
    with Sandbox(Behaviour(latency_ms=1)) as sandbox:
        said = exchange(sandbox, chunked + other)
    assert said.count(b"HTTP/1.1 200 OK") == 2
    assert said.index(b'"to":"a"') < said.index(b'"to":"b"')


def test_sandbox_refuses_what_is_no_http():
    """Nonsense gets a 400 and the connection closed; the next client is served."""
    with Sandbox() as sandbox, client_of(sandbox) as client:
        said = exchange(sandbox, b"\x16\x03\x01 nonsense\r\n\r\n")
        assert post(client, "a").status_code == 202
    assert said.startswith(b"HTTP/1.1 400 ")
    assert b"Connection: close" in said


def test_sandbox_refuses_a_body_beyond_its_limit():
    """A body that would fill the memory gets a 413, counted nowhere."""
    with Sandbox() as sandbox:
        head = b"POST / HTTP/1.1\r\nContent-Length: %d\r\n\r\n" % (MAX_BODY_BYTES + 1)
        with socket.create_connection(("127.0.0.1", httpx.URL(sandbox.url).port or 0)) as raw:
            sender = threading.Thread(target=_send_all, args=(raw, head + bytes(MAX_BODY_BYTES + 1)))
            sender.start()
            said = raw.recv(65_536)
            sender.join()
        assert sandbox.stats()["requests"] == 0
    assert said.startswith(b"HTTP/1.1 413 ")


def _send_all(raw: socket.socket, data: bytes) -> None:
    try:
        raw.sendall(data)
    except OSError:
        return  # refused before the end, as it should be


def test_sandbox_port_in_use_is_told():
    """A second sandbox on the port says so, and the first goes on."""
    with Sandbox() as sandbox, client_of(sandbox) as client:
        port = httpx.URL(sandbox.url).port or 0
        with (
            pytest.raises(SettingError, match=f"127.0.0.1:{port}: address already in use"),
            Sandbox(port=port),
        ):
            pass
        assert post(client, "a").status_code == 202


@pytest.mark.parametrize(("host", "port"), [("127.0.0.1", 70_000), ("no.such.host.invalid", 0)])
def test_sandbox_address_that_cannot_be_is_told(host: str, port: int):
    """No traceback for a port or host that does not exist."""
    with pytest.raises(SettingError, match=f"{port}"), Sandbox(host=host, port=port):
        pass


def test_sandbox_statistics_outlive_it():
    """What came can be read after the sandbox was closed, and nobody listens any more."""
    with Sandbox() as sandbox, client_of(sandbox) as client:
        post(client, "a")
    assert sandbox.stats()["recipients"] == {"a": 1}
    assert len(sandbox.requests(recipient="a")) == 1
    with pytest.raises(httpx.ConnectError), client_of(sandbox) as client:
        post(client, "a")
