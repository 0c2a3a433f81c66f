"""Conditions: who gets a segment, which answer is a success, which event is reacted to.

A small safe language in Python's syntax, described for its writers in docs/conditions.md. `grammar` reads the
source into a tree; `scalar` compiles the tree for one row, `vectorised` evaluates it over a frame. What an
operation does to one row's values stands once, in `values` and `operations`.
"""

from clarion.conditions.condition import Condition, parse

__all__ = ["Condition", "parse"]
