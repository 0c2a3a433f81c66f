"""Judging an answer: success, try again, held back, unknown, or refused for good."""

from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from typing import Any

import httpx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import SecretStr

from clarion.models.credentials import BearerToken
from clarion.sending.verdict import (
    MAX_ERROR_CHARACTERS,
    MAX_RETRY_AFTER_SECONDS,
    Verdict,
    judge_failure,
    judge_response,
)
from clarion.sending.wire import UnsendableError
from tests.unit.campaigns import make_action
from tests.unit.test_rendering import SCOPE

NOW = datetime(2026, 3, 1, 9, tzinfo=UTC)


def judge(code: int, body: Any = None, *, headers: dict[str, str] | None = None, **policy: Any) -> Verdict:
    """The verdict on an answer; a body that is text or bytes is sent as it is, all else as JSON."""
    content = (
        {"content": body} if isinstance(body, str | bytes) else {"json": body} if body is not None else {}
    )
    response = httpx.Response(code, headers=headers, **content)
    return judge_response(make_action(response=policy), response, SCOPE, now=NOW)


@pytest.mark.parametrize(
    ("code", "outcome"),
    [
        (200, "succeeded"), (202, "succeeded"), (204, "succeeded"),
        (301, "refused"), (304, "refused"),
        (400, "refused"), (401, "refused"), (403, "refused"), (404, "refused"), (422, "refused"),
        (408, "retry"), (425, "retry"), (500, "retry"), (503, "retry"),
        (429, "held"),
        (502, "unknown"), (504, "unknown"),
        (501, "refused"), (599, "refused"),
    ],
)  # fmt: skip
def test_code_tells_the_outcome(code: int, outcome: str):
    """The documented default: 2xx succeeded, some codes again, gateways unknown, all else refused."""
    verdict = judge(code)
    assert (verdict.outcome, verdict.status_code) == (outcome, code)
    assert verdict.answered is (outcome != "unknown")


@settings(deadline=None)
@given(code=st.integers(200, 599))
def test_code_always_has_an_outcome(code: int):
    """No answer is left unjudged, and success is told by 2xx alone."""
    assert (judge(code).outcome == "succeeded") is (200 <= code < 300)


@pytest.mark.parametrize(
    ("code", "policy", "outcome"),
    [
        (404, {"success_codes": ["2xx", "404"]}, "succeeded"),
        (202, {"retry_codes": [202]}, "retry"),
        (202, {"unknown_codes": [202]}, "unknown"),
        (502, {"retry_codes": ["5xx"]}, "unknown"),
        (500, {"retry_codes": ["5xx"]}, "retry"),
        (502, {"retry_codes": [502], "unknown_codes": [504]}, "retry"),
        (500, {"unknown_codes": ["5xx"], "retry_codes": [429]}, "unknown"),
        (200, {"success_codes": [201]}, "refused"),
        (429, {"retry_codes": [503]}, "refused"),
        (500, {"retry_codes": []}, "refused"),
    ],
)
def test_code_that_is_written_out_goes_before_its_class(code: int, policy: dict[str, Any], outcome: str):
    """`502` says more than `5xx`, in whichever list it stands."""
    assert judge(code, **policy).outcome == outcome


def test_throttling_holds_back_without_an_answer_to_the_question_when():
    """429 holds back everyone on the limit; 503 only where it says until when."""
    assert judge(429).outcome == "held"
    assert judge(429).retry_after_seconds is None
    assert judge(503).outcome == "retry"
    assert judge(503, headers={"Retry-After": "5"}).outcome == "held"
    assert judge(500, headers={"Retry-After": "5"}).outcome == "retry"
    assert judge(200, headers={"Retry-After": "5"}).retry_after_seconds is None


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        ("120", 120),
        (" 7 ", 7),
        ("0", 0),
        ("1.5", 1.5),
        ("-5", 0),
        ("1e999", MAX_RETRY_AFTER_SECONDS),
        ("99999999999", MAX_RETRY_AFTER_SECONDS),
        (format_datetime(NOW + timedelta(seconds=90), usegmt=True), 90),
        (format_datetime(NOW - timedelta(days=9), usegmt=True), 0),
        ("Sun, 01 Mar 2026 10:00:30 +0100", 0 * 3600 + 30),
        ("Sun, 01 Mar 2026 09:00:10 -0000", 10),
        ("Sun, 01 Mar 2099 09:00:00 GMT", MAX_RETRY_AFTER_SECONDS),
        ("nan", None),
        ("soon", None),
        ("", None),
        ("Mon, 32 Jan 2026 00:00:00 GMT", None),
        ("Mon, 01 Jan 99999 00:00:00 GMT", None),
        ("Mon, 01 Jan 2026 00:00:00 +9999999", None),
        ("Mon, 01 Jan 99999999999999999999 00:00:00 GMT", None),
    ],
)
@pytest.mark.parametrize("code", [429, 503])
def test_retry_after_is_seconds_or_a_date(code: int, value: str, seconds: float | None):
    """RFC 9110, section 10.2.3; never negative, at most a day, and garbage is as if it were not there."""
    verdict = judge(code, headers={"Retry-After": value})
    assert verdict.outcome == "held"
    assert verdict.retry_after_seconds == seconds


@settings(deadline=None)
@given(value=st.text(st.characters(max_codepoint=255, exclude_categories=["Cc"]), max_size=40))
def test_retry_after_never_ends_a_run(value: str):
    """Whatever a provider writes there, the wait is within bounds or left to us."""
    verdict = judge_response(
        make_action(),
        httpx.Response(429, headers=[(b"Retry-After", value.encode("latin-1"))]),
        SCOPE,
        now=NOW,
    )
    asked = verdict.retry_after_seconds
    assert asked is None or 0 <= asked <= MAX_RETRY_AFTER_SECONDS


ACCEPTED = {"success_condition": 'response.body.status == "accepted"'}


@pytest.mark.parametrize(
    ("code", "body", "outcome"),
    [
        (200, {"status": "accepted"}, "succeeded"),
        (200, {"status": "rejected"}, "refused"),
        (200, {}, "refused"),
        (200, None, "unknown"),
        (200, "<html>sign in</html>", "unknown"),
        (200, b"\xff\xfe", "unknown"),
        (200, b'{"status": "acce', "unknown"),
        (200, b'"accepted"', "refused"),
        (200, ["accepted"], "refused"),
        (400, {"status": "accepted"}, "refused"),
        (500, {"status": "accepted"}, "retry"),
        (502, {"status": "accepted"}, "unknown"),
    ],
)
def test_success_condition_must_also_hold(code: int, body: Any, outcome: str):
    """A 200 that says no is a refusal, never a success; the condition makes no other code one."""
    assert judge(code, body, **ACCEPTED).outcome == outcome


@pytest.mark.parametrize(
    ("code", "body", "outcome"),
    [
        (200, {"messages": [{"status": "1"}]}, "retry"),
        (400, {"messages": [{"status": "1"}]}, "retry"),
        (502, {"messages": [{"status": "1"}]}, "retry"),
        (429, {"messages": [{"status": "1"}]}, "held"),
        (200, {"messages": [{"status": "0"}]}, "succeeded"),
        (200, {"messages": []}, "succeeded"),
        (200, "no json", "unknown"),
        (200, None, "succeeded"),
        (400, "no json", "refused"),
    ],
)
def test_retry_condition_asks_for_another_try_whatever_the_code(code: int, body: Any, outcome: str):
    """What the body says goes before the code; only throttling goes before it."""
    assert judge(code, body, retry_condition='response.body.messages[0].status == "1"').outcome == outcome


@pytest.mark.parametrize(
    ("policy", "outcome"),
    [
        ({}, "succeeded"),
        (ACCEPTED, "unknown"),
        ({"success_condition": "response.body == 'ok'"}, "unknown"),
        ({"success_condition": "response.status_code == 200"}, "succeeded"),
        ({"retry_condition": "isnull(response.body.id)"}, "unknown"),
    ],
)
def test_answer_that_was_cut_is_unknown_where_its_body_decides(policy: dict[str, Any], outcome: str):
    """What stands behind the cut nobody has read: the message may be on its way, or refused."""
    response = httpx.Response(200, json={"status": "accepted"}, extensions={"body_truncated": True})
    verdict = judge_response(make_action(response=policy), response, SCOPE, now=NOW)
    assert verdict.outcome == outcome
    assert verdict.answered is (outcome != "unknown")
    assert verdict.error == (
        None if outcome == "succeeded" else "the body of the answer is too long to be read"
    )


def test_answer_without_the_json_that_decides_says_so():
    """Unknown, with the code that came and why that is not enough; a plain text that is compared is read."""
    told = judge(200, "<html>sign in</html>", **ACCEPTED)
    assert (told.outcome, told.answered) == ("unknown", False)
    assert (told.status_code, told.error) == (200, "the body of the answer is no JSON")
    whole = {"success_condition": "response.body == 'ok'"}
    assert [judge(200, body, **whole).outcome for body in ("ok", "no", None)] == [
        "succeeded",
        "refused",
        "refused",
    ]


def test_condition_sees_code_and_headers():
    """Headers are in lower case."""
    policy = {"success_condition": "response.status_code == 200 and response.headers['x-ok'] == 'yes'"}
    assert judge(200, headers={"X-OK": "yes"}, **policy).outcome == "succeeded"
    assert judge(200, **policy).outcome == "refused"


def test_invocation_id_is_found_in_the_answer():
    """By it later events find the item; an answer without it is judged all the same."""
    policy = {"invocation_id": "{{ response.body.uuid }}"}
    assert judge(202, {"uuid": "u-1"}, **policy).invocation_id == "u-1"
    assert judge(202, {"uuid": 17}, **policy).invocation_id == "17"
    for body in ({}, {"uuid": None}, "text", b"\xff", None, []):
        verdict = judge(202, body, **policy)
        assert (verdict.outcome, verdict.invocation_id) == ("succeeded", None)


def test_refusal_says_what_the_provider_says():
    """Code and reason come from where the action says, else from the code and a problem document."""
    policy = {"error": {"code": "{{ response.body.error }}", "reason": "{{ response.body.why }}"}}
    told = judge(400, {"error": "1020", "why": "no such number"}, **policy)
    assert (told.error_code, told.error) == ("1020", "no such number")
    assert (judge(400, {"x": 1}, **policy).error_code, judge(400, {"x": 1}, **policy).error) == ("400", None)
    assert judge(400, {"title": "Bad", "detail": "Too long"}).error == "Too long"
    assert judge(400, {"title": "Bad"}).error == "Bad"
    assert judge(400, {"title": ["Bad"]}).error is None
    assert judge(400, "plain").error is None


def test_success_has_no_error():
    """A success document may have a title too."""
    verdict = judge(200, {"title": "Sent", "detail": "All good"})
    assert (verdict.error_code, verdict.error) == (None, None)


def test_long_texts_of_a_provider_are_cut():
    """An error page does not fill the ledger."""
    verdict = judge(400, {"detail": "x" * 10_000})
    assert verdict.error == "x" * MAX_ERROR_CHARACTERS


def test_nul_character_of_a_provider_is_replaced():
    """PostgreSQL stores none: an answer that holds one is settled like any other."""
    policy = {"invocation_id": "{{ response.body.uuid }}"}
    verdict = judge(400, {"detail": "a\0b", "uuid": "c\0d"}, **policy)
    assert (verdict.error, verdict.invocation_id) == ("a\ufffdb", "c\ufffdd")


@settings(deadline=None)
@given(
    content=st.binary(max_size=60) | st.sampled_from([b"[" * 5000, b"1e999", b"NaN", b'{"uuid": "\\ud800"}'])
)
def test_body_never_ends_a_run(content: bytes):
    """Whatever stands in an answer, it is judged by its code."""
    policy = {"invocation_id": "{{ response.body.uuid }}", "success_condition": "response.status_code == 200"}
    assert judge(200, content, **policy).outcome == "succeeded"


REQUEST = httpx.Request("POST", "https://api.test")


@pytest.mark.parametrize(
    ("error", "outcome"),
    [
        (httpx.ConnectError("refused"), "retry"),
        (httpx.ConnectTimeout("slow"), "retry"),
        (httpx.PoolTimeout("busy"), "retry"),
        (httpx.ProxyError("no tunnel"), "retry"),
        (httpx.ReadTimeout("slow"), "unknown"),
        (httpx.WriteTimeout("slow"), "unknown"),
        (httpx.ReadError("reset"), "unknown"),
        (httpx.WriteError("reset"), "unknown"),
        (httpx.RemoteProtocolError("cut off"), "unknown"),
        (httpx.DecodingError("no gzip"), "unknown"),
        (UnsendableError("no such header"), "refused"),
        (httpx.UnsupportedProtocol("gopher"), "refused"),
    ],
)
def test_call_without_an_answer_is_unknown_unless_nothing_left(error: httpx.RequestError, outcome: str):
    """Before the first byte: again. After it: unknown, never failed. What cannot be written: refused."""
    verdict = judge_failure(error)
    assert (verdict.outcome, verdict.answered, verdict.status_code) == (outcome, False, None)
    assert (verdict.error_code, verdict.error) == (type(error).__name__, str(error))


def test_failure_without_words_is_told_by_its_kind():
    """Some errors say nothing."""
    assert judge_failure(httpx.ReadTimeout("")).error == "ReadTimeout"


def test_verdict_is_kept_without_the_secrets_that_a_provider_repeats():
    """An answer that quotes our token leaves no trace of it, not even where the text is cut within it."""
    mask = BearerToken(token=SecretStr("tok-SECRET")).mask
    policy = {
        "invocation_id": "{{ response.body.id }}",
        "error": {"code": "{{ response.body.code }}", "reason": "{{ response.body.reason }}"},
    }
    words = {"id": "tok-SECRET", "code": "no tok-SECRET", "reason": "x" * 495 + "tok-SECRET"}
    response = httpx.Response(401, json=words)
    verdict = judge_response(make_action(response=policy), response, SCOPE, now=NOW, mask=mask)
    assert (verdict.invocation_id, verdict.error_code) == ("****", "no ****")
    assert verdict.error == "x" * 495 + "****"
    assert judge_failure(httpx.ConnectError("tok-SECRET"), mask=mask).error == "****"
