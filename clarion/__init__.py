"""Clarion's core: campaigns, conditions, templates, lists, the ledger and the sender. Knows no Prefect."""

__version__ = "0.1.0"
