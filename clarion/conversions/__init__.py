"""Conversions: what recipients did afterwards, counted for the message that they had got."""
