import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from clarion.sandbox import Behaviour
from clarion.sandbox.app import App
from clarion.sandbox.behaviour import Judge, Verdict
from clarion.sandbox.message import Request

RATES = st.floats(0, 1)


def request_to(recipient: str) -> Request:
    """A message to one recipient."""
    return Request(method="POST", target="/v1/messages", headers={}, body=f'{{"to": "{recipient}"}}'.encode())


@pytest.mark.parametrize(
    ("option", "value"),
    [("reject", 1.5), ("error", -0.1), ("drop", float("nan")), ("throttle", 0), ("latency_ms", -1)],
)
def test_behaviour_out_of_bounds_names_the_option(option: str, value: float):
    """A rate above one, or a limit of nothing, is refused by name."""
    with pytest.raises(ValidationError, match=option):
        Behaviour.model_validate({option: value})


def test_behaviour_describes_itself():
    """The description names all that is not the default."""
    assert Behaviour().describe() == "accepts everything at once"
    text = Behaviour(latency_ms=20, reject=0.02, throttle=30, error=0.001, drop=0.5).describe()
    assert text == (
        "20 ms latency, at most 30 requests a second, 0.10% server errors, "
        "2.00% of the recipients refused, 50.00% hang-ups"
    )


@given(recipient=st.text(min_size=1), rate=RATES, seed=st.integers())
def test_behaviour_refuses_the_same_recipients_again(recipient: str, rate: float, seed: int):
    """A bad recipient stays bad, and stays bad when more of them are."""
    behaviour = Behaviour(reject=rate, seed=seed)
    assert behaviour.refuses(recipient) == Behaviour(reject=rate, seed=seed).refuses(recipient)
    if behaviour.refuses(recipient):
        assert Behaviour(reject=1.0, seed=seed).refuses(recipient)


def test_behaviour_refuses_about_its_share_and_other_ones_by_seed():
    """Two percent of many recipients, chosen by the seed."""
    chosen = [
        {n for n in range(20_000) if Behaviour(reject=0.02, seed=seed).refuses(str(n))} for seed in (0, 1)
    ]
    assert all(300 < len(refused) < 500 for refused in chosen)
    assert chosen[0] != chosen[1]


def test_judge_throttles_by_seconds_from_the_first_request():
    """A second begins with the first request after the last one; what is above the limit waits."""
    judge = Judge(Behaviour(throttle=2))
    arrivals = [10.7, 10.9, 11.6, 11.69, 11.7, 12.0, 12.1, 20.0]
    verdicts = [judge.verdict(["a"], now=now) for now in arrivals]
    ok, wait = Verdict.ACCEPTED, Verdict.THROTTLED
    assert verdicts == [ok, ok, wait, wait, ok, ok, wait, ok]


def test_judge_repeats_its_sequence_for_a_seed():
    """The same seed drops and fails the same requests of the same sequence."""
    behaviour = Behaviour(error=0.3, drop=0.4, seed=3)
    first, again = (
        [judge.verdict(["a"], now=0) for _ in range(500)] for judge in (Judge(behaviour), Judge(behaviour))
    )
    assert first == again
    assert set(first) == set(Verdict) - {Verdict.THROTTLED, Verdict.REJECTED}


@given(
    reject=RATES,
    error=RATES,
    drop=RATES,
    throttle=st.none() | st.integers(1, 5),
    recipients=st.lists(st.sampled_from("abcdefgh"), max_size=40),
)
def test_app_counts_add_up(
    reject: float, error: float, drop: float, throttle: int | None, recipients: list[str]
):
    """Whatever it does to its clients, every request is counted once."""
    behaviour = Behaviour(reject=reject, error=error, drop=drop, throttle=throttle)
    app = App(behaviour, clock=lambda: 1.0)
    replies = [app.handle(request_to(recipient)) for recipient in recipients]
    stats = app.tally.stats()
    assert stats["requests"] == len(recipients) == sum(stats["per_second"])
    assert stats["requests"] == (
        stats["accepted"]
        + stats["rejected"]
        + stats["throttled"]
        + stats["errors"]
        + stats["dropped"]
        - stats["dropped_after_accepting"]
    )
    assert stats["dropped"] == sum(reply.answer is None for reply in replies)
    assert stats["accepted"] == sum(stats["recipients"].values())
    assert stats["duplicates"] == {name: count for name, count in stats["recipients"].items() if count > 1}
    assert not any(behaviour.refuses(recipient) for recipient in stats["recipients"])
    assert [record["n"] for record in app.tally.requests()] == list(range(1, len(recipients) + 1))


def test_app_keeps_no_more_than_the_last_requests(monkeypatch: pytest.MonkeyPatch):
    """Details are bounded by number and by bytes, counts are not."""
    monkeypatch.setattr("clarion.sandbox.tally.KEPT_REQUESTS", 3)
    app = App(Behaviour())
    for number in range(5):
        app.handle(request_to(str(number)))
    assert [record["n"] for record in app.tally.requests()] == [3, 4, 5]
    monkeypatch.setattr("clarion.sandbox.tally.KEPT_BYTES", 1400)
    app.handle(request_to("5"))
    assert [record["n"] for record in app.tally.requests()] == [5, 6]
    assert len(app.tally.stats()["recipients"]) == 6


def test_app_counts_seconds_with_pauses():
    """Seconds without a request are zeros between those with one."""
    times = iter([5.5, 6.4, 6.6, 9.0])
    app = App(Behaviour(), clock=lambda: next(times))
    for _ in range(4):
        app.handle(request_to("a"))
    assert app.tally.stats()["per_second"] == [2, 1, 0, 1]
