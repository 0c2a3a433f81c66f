"""Blocks: what a person configures in the Prefect UI."""
