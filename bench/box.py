"""The machine that is measured on, and the surroundings of a process that is measured."""

import os
from pathlib import Path


def load() -> str:
    """How busy the machine is: what else it does is part of what was measured."""
    return f"load {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores"


def environment(home: str) -> dict[str, str]:
    """The variables of a process with a home of its own: no setting of this one's, and no telemetry."""
    kept = {
        name: value for name, value in os.environ.items() if not name.startswith(("PREFECT_", "CLARION_"))
    }
    return {
        **kept,
        "HOME": home,
        "PREFECT_HOME": home,
        "CLARION_HOME": home,
        "PYTHONPATH": str(Path.cwd()),
        "DO_NOT_TRACK": "1",
        "PREFECT_LOGGING_LEVEL": "CRITICAL",
        "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
    }
