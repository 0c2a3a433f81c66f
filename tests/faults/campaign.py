"""A campaign to be killed: its list, its job, and who must get its message."""

import csv
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from clarion.sandbox import Behaviour
from tests.acceptance.campaigns import action, write_job

TROUBLE = {"error": 0.05, "drop": 0.03, "reject": 0.02}
"""What every provider of the test bench does: server errors, hang-ups, refused recipients."""

REPEATED = 50
"""Every so manieth recipient is the one before once more: nobody gets a message twice, killed or not."""


@dataclass(frozen=True, kw_only=True)
class Campaign:
    """A list of `rows`, every `step`th of which is a recipient; the others are in no segment.

    A long list takes its time to be planned, few recipients keep the sending short.
    """

    rows: int
    step: int
    latency_ms: float = 0
    on_unknown: Literal["hold", "resend"] = "hold"
    seed: int = 0
    recipients: frozenset[str] = field(init=False)
    """Who must get exactly one message."""

    def __post_init__(self) -> None:
        rows = range(self.step, self.rows + 1, self.step)
        object.__setattr__(self, "recipients", frozenset(map(self._phone, rows)))

    @property
    def behaviour(self) -> Behaviour:
        """How the provider behaves."""
        return Behaviour(latency_ms=self.latency_ms, seed=self.seed, **TROUBLE)

    def write(self, folder: Path) -> Path:
        """Writes the list and the job; the path of the job."""
        with (folder / "people.csv").open("w", encoding="utf-8", newline="") as file:
            writer = csv.writer(file)
            writer.writerow(("id", "phone", "plan"))
            for row in range(1, self.rows + 1):
                writer.writerow((row, self._phone(row), "basic" if row % self.step else "gold"))
        return write_job(
            folder,
            recipient="{{ item.phone }}",
            segments=[
                {
                    "name": "gold",
                    "condition": 'item.plan == "gold"',
                    "action": "send-sms",
                    "template": {"message": "Hello {{ item.id }}"},
                }
            ],
            actions={"send-sms": action(timeout_seconds=60, on_unknown=self.on_unknown)},
        )

    def _phone(self, row: int) -> str:
        number, other = divmod(row, self.step)
        repeats = number > 0 and not other and number % REPEATED == 0
        return f"+4477{row - self.step if repeats else row:08d}"
