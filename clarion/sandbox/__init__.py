"""A provider to rehearse against: answers as real ones do, misbehaves on demand, and counts what it got."""

from clarion.sandbox.behaviour import Behaviour
from clarion.sandbox.server import DEFAULT_HOST, DEFAULT_PORT, Sandbox, serve

__all__ = ["DEFAULT_HOST", "DEFAULT_PORT", "Behaviour", "Sandbox", "serve"]
