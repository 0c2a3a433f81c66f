"""The sandbox's recipients on real sockets: receipts, replies and clicks, counted as they arrived."""

import hashlib
import json
from collections import Counter
from pathlib import Path

import httpx
import jwt
import pytest
from pydantic import SecretStr
from vonage_jwt import verify_signature

from clarion.errors import SettingError
from clarion.sandbox import Answers, Behaviour, Sandbox, rate_plan, reply_plan
from clarion.sandbox.answering import links_to_here
from clarion.sandbox.answers import DUMMY_SECRET
from tests.integration.webhook_receiver import Received, receiving

MESSAGES = "/v1/messages"
NUMBERS = [f"4477009{number:05}" for number in range(40)]


def send(sandbox: Sandbox, recipient: str, **fields: str) -> httpx.Response:
    """Send a message to one recipient."""
    body = {"channel": "sms", "from": "447700900001", "to": recipient, "text": "Hi", **fields}
    return httpx.post(f"{sandbox.url}{MESSAGES}", json=body, trust_env=False)


def of_kind(received: list[Received], key: str) -> list[dict[str, str]]:
    """The bodies that have a key: `status` for receipts, `text` for replies."""
    bodies = [json.loads(each.body) for each in received]
    return [body for body in bodies if key in body]


def test_receipts_are_posted_for_each_accepted_message_and_counted_when_taken():
    """Each message has one receipt, with its own id and reference; the same recipients always get theirs."""
    with receiving() as receiver:
        answers = Answers(webhooks=f"{receiver.url}/hooks", receipts=0.5, delay_ms=1, seed=5)
        with Sandbox(Behaviour(reject=0.2, seed=5), answers=answers) as sandbox:
            uuids = {}
            for recipient in NUMBERS:
                answer = send(sandbox, recipient, client_ref=f"ref-{recipient}")
                if answer.status_code == 202:
                    uuids[recipient] = answer.json()["message_uuid"]
            assert sandbox.wait_for_answers()
            stats = sandbox.stats()
            told = of_kind(receiver.received, "status")
            again = send(sandbox, next(iter(uuids)))
            assert again.status_code == 202
            assert sandbox.wait_for_answers()
            kinds = [body["status"] for body in of_kind(receiver.received, "status")]
    assert 0 < len(uuids) < len(NUMBERS)
    assert {body["to"]: body["message_uuid"] for body in told} == uuids
    assert {body["to"]: body["client_ref"] for body in told} == {each: f"ref-{each}" for each in uuids}
    by_status = {
        status: {b["to"]: 1 for b in told if b["status"] == status} for status in ("delivered", "rejected")
    }
    assert stats["answers"]["delivered"] == by_status["delivered"] != {}
    assert stats["answers"]["rejected"] == by_status["rejected"] != {}
    assert kinds[-1] == next(body["status"] for body in told if body["to"] == next(iter(uuids)))
    assert all(("error" in body) == (body["status"] == "rejected") for body in told)
    assert {request.path for request in receiver.received} == {"/hooks"}


def test_webhooks_are_signed_as_vonage_documents():
    """An independent library finds the signature good, and the claims hold the hash of the very bytes."""
    secret = "a-secret-of-the-account-0123456789"
    with receiving() as receiver:
        answers = Answers(webhooks=receiver.url, receipts=1, delay_ms=1, secret=SecretStr(secret))
        with Sandbox(answers=answers) as sandbox:
            send(sandbox, NUMBERS[0])
            assert sandbox.wait_for_answers()
    (request,) = receiver.received
    token = request.headers["authorization"].removeprefix("Bearer ")
    assert verify_signature(token, secret)
    assert not verify_signature(token, DUMMY_SECRET)
    claims = jwt.decode(token, secret, algorithms=["HS256"])
    assert claims["payload_hash"] == hashlib.sha256(request.body).hexdigest()
    assert claims["iss"] == "Vonage"
    assert {"iat", "jti", "api_key", "application_id"} <= claims.keys()


def test_replies_come_from_the_customer_once():
    """A share of the recipients writes back, to the number that wrote to them, and not to every message."""
    with receiving() as receiver:
        answers = Answers(webhooks=receiver.url, replies=rate_plan(0.5), delay_ms=1, seed=1)
        with Sandbox(answers=answers) as sandbox:
            for recipient in NUMBERS * 2:
                send(sandbox, recipient)
            assert sandbox.wait_for_answers()
            replies = sandbox.stats()["answers"]["replies"]
    told = of_kind(receiver.received, "text")
    assert Counter(body["from"] for body in told) == replies
    assert set(replies.values()) == {1}
    assert 5 < len(replies) < 35
    assert {body["to"] for body in told} == {"447700900001"}
    assert {body["text"] for body in told} <= {"Yes please", "No thanks", "STOP"}
    assert all("context" not in body for body in told)


def test_reply_of_a_chat_quotes_its_message():
    """Where the channel tells what is answered, the reply does."""
    with receiving() as receiver:
        answers = Answers(webhooks=receiver.url, replies=rate_plan(1), delay_ms=1)
        with Sandbox(answers=answers) as sandbox:
            uuid = send(sandbox, NUMBERS[0], channel="whatsapp").json()["message_uuid"]
            assert sandbox.wait_for_answers()
    (body,) = of_kind(receiver.received, "text")
    assert body["context"] == {"message_uuid": uuid, "message_from": "447700900001"}


@pytest.mark.parametrize("name", ["replies.csv", "replies.json"])
def test_listed_replies_are_written_by_whom_the_file_names(tmp_path: Path, name: str):
    """Each text answers one message, in the order of the file, however the number is spelled there."""
    rows = [("+44 7700 900000", "Who is this?"), ("447700900000", "STOP"), ("447700900005", "Yes")]
    file = tmp_path / name
    if name.endswith(".json"):
        file.write_text(
            json.dumps([{"recipient": who, "text": text} for who, text in rows]), encoding="utf-8"
        )
    else:
        file.write_text(
            "recipient,text\n" + "".join(f"{who},{text}\n" for who, text in rows), encoding="utf-8"
        )
    with receiving() as receiver:
        answers = Answers(webhooks=receiver.url, replies=reply_plan(str(file)), delay_ms=1)
        with Sandbox(answers=answers) as sandbox:
            for recipient in ("447700900000", "447700900005", "447700900009", "447700900000", "447700900000"):
                send(sandbox, recipient)
                assert sandbox.wait_for_answers()
            assert sandbox.stats()["answers"]["replies"] == {"447700900000": 2, "447700900005": 1}
    told = [(body["from"], body["text"]) for body in of_kind(receiver.received, "text")]
    assert told == [("447700900000", "Who is this?"), ("447700900005", "Yes"), ("447700900000", "STOP")]


def test_texts_with_shares_are_written_by_about_so_many(tmp_path: Path):
    """A file of texts and shares decides who writes what; the rest is silent."""
    file = tmp_path / "texts.csv"
    file.write_text("text,share\nYes,0.5\nSTOP,0.25\n", encoding="utf-8")
    replies = reply_plan(str(file)).begin(seed=3)
    said = Counter(replies.next_to(str(number)) for number in range(4_000))
    assert 1_800 < said["Yes"] < 2_200
    assert 850 < said["STOP"] < 1_150
    assert said.keys() == {"Yes", "STOP", None}


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        ("recipient,words\n1,2\n", "row 1 of"),
        ("text,share\nYes,1.5\n", "row 1 of"),
        ("text,share\nYes,0.7\nNo,0.7\n", "more than 1 in all"),
        ("text,share\n", "holds no replies"),
    ],
)
def test_file_of_replies_that_is_none_is_told(tmp_path: Path, content: str, problem: str):
    """A person's mistake in the file names the option and what was expected."""
    file = tmp_path / "replies.csv"
    file.write_text(content, encoding="utf-8")
    with pytest.raises(SettingError, match=problem) as error:
        reply_plan(str(file))
    assert error.value.where == "--replies"
    assert error.value.expected


def test_webhook_that_fails_is_posted_again_and_counted_once(monkeypatch: pytest.MonkeyPatch):
    """A 5xx is tried again with another token until it is taken; a 4xx is not."""
    monkeypatch.setattr("clarion.sandbox.answering.FIRST_WAIT_SECONDS", 0.01)
    seen: Counter[str] = Counter()

    def answer(request: Received) -> tuple[int, dict[str, str]]:
        recipient = json.loads(request.body)["to"]
        seen[recipient] += 1
        if recipient == NUMBERS[1]:
            return 401, {}
        return (503 if seen[recipient] < 3 else 204), {}

    with receiving(answer) as receiver:
        answers = Answers(webhooks=receiver.url, receipts=1, delay_ms=1)
        with Sandbox(answers=answers) as sandbox:
            for recipient in NUMBERS[:2]:
                send(sandbox, recipient)
            assert sandbox.wait_for_answers()
            stats = sandbox.stats()["answers"]
    assert seen == {NUMBERS[0]: 3, NUMBERS[1]: 1}
    assert stats["delivered"] == {NUMBERS[0]: 1}
    assert stats["webhooks"] == {
        "sent": 1, "twice": 0, "redelivered": 2, "refused": 1, "given_up": 0, "waiting": 0,
    }  # fmt: skip
    bodies = [request.body for request in receiver.received if json.loads(request.body)["to"] == NUMBERS[0]]
    assert len(set(bodies)) == 1


def test_webhook_that_nobody_takes_is_given_up(monkeypatch: pytest.MonkeyPatch):
    """Where nobody listens the sandbox stops trying, and says so."""
    monkeypatch.setattr("clarion.sandbox.answering.FIRST_WAIT_SECONDS", 0.001)
    with receiving() as receiver:
        nobody = receiver.url
    with Sandbox(answers=Answers(webhooks=nobody, receipts=1, delay_ms=1)) as sandbox:
        send(sandbox, NUMBERS[0])
        assert sandbox.wait_for_answers()
        stats = sandbox.stats()["answers"]
    assert (stats["delivered"], stats["webhooks"]["given_up"]) == ({}, 1)


def test_duplicates_are_the_same_to_the_byte_and_counted_once():
    """A second copy has the token of the first: a receiver stores it once."""
    with receiving() as receiver:
        answers = Answers(webhooks=receiver.url, receipts=1, duplicates=1, delay_ms=1)
        with Sandbox(answers=answers) as sandbox:
            for recipient in NUMBERS[:5]:
                send(sandbox, recipient)
            assert sandbox.wait_for_answers()
            stats = sandbox.stats()["answers"]
    copies = Counter((request.headers["authorization"], request.body) for request in receiver.received)
    assert sorted(copies.values()) == [2] * 5
    assert stats["delivered"] == dict.fromkeys(NUMBERS[:5], 1)
    assert (stats["webhooks"]["sent"], stats["webhooks"]["twice"]) == (5, 5)


def test_links_of_this_machine_are_followed_by_people():
    """Redirects count as clicks, pages do not; nobody else's links are called."""

    def answer(request: Received) -> tuple[int, dict[str, str]]:
        return (302, {"Location": "https://shop.example/"}) if request.path.startswith("/l/") else (200, {})

    answers = Answers(clicks=0.5, delay_ms=1, seed=2)
    with receiving(answer) as receiver, Sandbox(answers=answers) as sandbox:
        text = f"Look: {receiver.url}/l/abc, and https://example.com/x. Or {receiver.url}/u/out!"
        for recipient in NUMBERS:
            send(sandbox, recipient, text=text)
        assert sandbox.wait_for_answers()
        clicks = sandbox.stats()["answers"]["clicks"]
    paths = Counter(request.path for request in receiver.received)
    assert paths == {"/l/abc": len(clicks), "/u/out": len(clicks)}
    assert set(clicks.values()) == {1}
    assert 0 < len(clicks) < len(NUMBERS)
    assert {request.method for request in receiver.received} == {"GET"}
    links = "http://127.0.0.2/b http://10.0.0.1/c http://localhost/d, http://[]x https://127.1.example/e"
    assert links_to_here(links) == ["http://127.0.0.2/b", "http://localhost/d"]


def test_message_whose_answer_was_lost_has_a_receipt_with_its_reference():
    """The sender learns from the receipt that a message which it holds for unknown has arrived."""
    with receiving() as receiver:
        answers = Answers(webhooks=receiver.url, receipts=1, delay_ms=1)
        with Sandbox(Behaviour(drop=1, seed=1), answers=answers) as sandbox:
            for recipient in NUMBERS:
                with pytest.raises(httpx.RemoteProtocolError):
                    send(sandbox, recipient, client_ref=f"ref-{recipient}")
            assert sandbox.wait_for_answers()
            stats = sandbox.stats()
    told = of_kind(receiver.received, "status")
    assert 0 < stats["accepted"] == len(told) < len(NUMBERS)
    assert {body["client_ref"] for body in told} == {f"ref-{each}" for each in stats["recipients"]}


def test_other_providers_messages_are_not_answered():
    """Only the Messages API has webhooks here: a Twilio message gets none of another provider's."""
    with receiving() as receiver:
        answers = Answers(webhooks=receiver.url, receipts=1, delay_ms=0)
        with Sandbox(answers=answers) as sandbox:
            path = "/2010-04-01/Accounts/AC1/Messages.json"
            httpx.post(f"{sandbox.url}{path}", data={"To": "+447700900000", "Body": "Hi"}, trust_env=False)
            send(sandbox, NUMBERS[0])
            assert sandbox.wait_for_answers()
            assert sandbox.stats()["accepted"] == 2
    assert len(receiver.received) == 1


def test_reset_forgets_what_was_to_be_posted():
    """After a reset nothing of before is posted, counted or waited for."""
    with receiving() as receiver:
        answers = Answers(webhooks=receiver.url, receipts=1, delay_ms=600_000)
        with Sandbox(answers=answers) as sandbox:
            send(sandbox, NUMBERS[0])
            assert sandbox.stats()["answers"]["webhooks"]["waiting"] == 1
            sandbox.reset()
            assert sandbox.wait_for_answers()
            assert sandbox.stats()["answers"]["webhooks"]["waiting"] == 0
    assert receiver.received == []


def test_sandbox_without_answers_is_as_it_was():
    """Nothing of it shows where nothing of it is asked for."""
    with Sandbox() as sandbox:
        send(sandbox, NUMBERS[0])
        assert sandbox.wait_for_answers()
        assert "answers" not in sandbox.stats()
