"""Runs the measurements one after the other: `make bench`."""

import subprocess
import sys

MEASUREMENTS = (
    "bench.wire", "bench.plan", "bench.run", "bench.limits", "bench.links", "bench.receiving",
    "bench.reactions",
)  # fmt: skip


def main() -> None:
    """Each in a process of its own; the first that fails ends it."""
    for module in MEASUREMENTS:
        print(f"\n== python -m {module}", flush=True)
        subprocess.run([sys.executable, "-m", module], check=True)


if __name__ == "__main__":
    main()
