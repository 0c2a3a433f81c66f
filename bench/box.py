"""The machine that is measured on."""

import os


def load() -> str:
    """How busy the machine is: what else it does is part of what was measured."""
    return f"load {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores"
