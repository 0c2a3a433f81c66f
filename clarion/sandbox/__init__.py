"""A provider to rehearse against: answers as real ones do, misbehaves on demand, and counts what it got."""

from clarion.sandbox.answers import Answers
from clarion.sandbox.behaviour import Behaviour
from clarion.sandbox.replies import rate_plan, reply_plan
from clarion.sandbox.server import DEFAULT_HOST, DEFAULT_PORT, Sandbox, serve

__all__ = [
    "DEFAULT_HOST",
    "DEFAULT_PORT",
    "Answers",
    "Behaviour",
    "Sandbox",
    "rate_plan",
    "reply_plan",
    "serve",
]
