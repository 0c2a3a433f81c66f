"""Sending: from a rendered request to a judged answer."""
