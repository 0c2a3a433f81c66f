"""RFC 7807 problems, as Vonage's newer APIs send them."""

import uuid

from clarion.sandbox.message import Answer, json_answer

CONTENT_TYPE = "application/problem+json"


def problem(status: int, *, kind: str, title: str, detail: str) -> Answer:
    """A problem of a type (`kind` is its URL) with an instance of its own."""
    content = {"type": kind, "title": title, "detail": detail, "instance": uuid.uuid4().hex}
    return json_answer(status, content, content_type=CONTENT_TYPE)
