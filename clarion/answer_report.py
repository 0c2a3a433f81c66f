"""The part of a run's report that tells what came back; nothing of it is shown where nothing did."""

from collections.abc import Mapping
from typing import Any

from clarion.ledger.answers import ANSWERS, Answers

HEADS: Mapping[str, str] = {"scanned": "clicks of machines", "reactions": "reactions sent"}
"""How people read what is counted, where the word alone does not say it."""


def answers_json(answers: Answers) -> dict[str, Any]:
    """What came back: ANSWERS and `values`, the worth of conversions by currency; empty where nothing did."""
    if not answers.any:
        return {}
    values = {currency: round(value, 2) for currency, value in sorted(answers.values.items())}
    return {**{name: answers.counts[name] for name in ANSWERS}, "values": values}


def campaign_summaries(answers: Answers) -> dict[str, dict[str, int]]:
    """The two summaries of a run by the names that the Campaign API gives them."""
    succeeded, failed, info = (answers.counts[name] for name in ("delivered", "undelivered", "info"))
    return {
        "recipient_response": {"recipients_count": answers.counts["responded"]},
        "action_delivery_status": {
            "recipients_count": succeeded + failed + info,
            "status_succeeded_count": succeeded,
            "status_failed_count": failed,
            "status_info_count": info,
        },
    }


def shown_answers(report: Mapping[str, Any]) -> list[str]:
    """Those of ANSWERS that are not nought for the whole run; none of a preview."""
    whole = report.get("answers") or {}
    return [name for name in ANSWERS if whole.get(name)]


def answer_head(name: str) -> str:
    """The head of a column."""
    return HEADS.get(name, name)


def answer_lines(report: Mapping[str, Any]) -> list[tuple[str, ...]]:
    """Segment and its shown answers, one line a segment of which anything came back and one for the whole."""
    shown = shown_answers(report)
    if not shown:
        return []
    parts = [(segment["name"], segment["answers"]) for segment in report["segments"] if segment["answers"]]
    return [
        (name, *(f"{answers[each]:,}" if answers[each] else "-" for each in shown))
        for name, answers in (*parts, ("all", report["answers"]))
    ]


def worth(answers: Mapping[str, Any]) -> str:
    """What conversions are worth, as `EUR 120.00, USD 3.50`; empty where nobody said."""
    values = answers.get("values") or {}
    return ", ".join(f"{currency} {value:,.2f}".strip() for currency, value in values.items())
