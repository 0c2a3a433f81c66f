"""Fixtures for all tests."""

import os
from collections.abc import Iterator

import pytest

# Prefect's client reports its use to its makers: tests talk to this machine only.
os.environ.setdefault("DO_NOT_TRACK", "1")
# As the command line sets it; and Prefect's handler would write to a stream that a test captured and closed.
os.environ.setdefault("PREFECT_LOGGING_LEVEL", "CRITICAL")


@pytest.fixture(scope="session")
def prefect_server() -> Iterator[None]:
    """A Prefect server of the session's own, with an empty database; one for all, as it starts slowly."""
    # Imported late: tests of the core run without Prefect.
    from prefect.settings import (
        PREFECT_FLOWS_HEARTBEAT_FREQUENCY,
        PREFECT_SERVER_ANALYTICS_ENABLED,
        temporary_settings,
    )
    from prefect.testing.utilities import prefect_test_harness

    # A heartbeat costs each flow run a second; the server's analytics would leave this machine.
    quiet = {PREFECT_FLOWS_HEARTBEAT_FREQUENCY: None, PREFECT_SERVER_ANALYTICS_ENABLED: False}
    with temporary_settings(quiet), prefect_test_harness(server_startup_timeout=120):
        yield
