"""Blocks: what a person configures in the Prefect UI."""

from blocks.temporary_server import set_temporary_server_apart

# Here, as the flows import blocks: no later moment comes before Prefect starts a server for the first flow.
set_temporary_server_apart()
