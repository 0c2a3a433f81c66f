"""What reading came to: how many rows, and which of them were no rows."""

from dataclasses import dataclass, field

EXAMPLES = 10
"""Bad rows that are told with line and reason; the rest is only counted."""


@dataclass(frozen=True, kw_only=True)
class BadRow:
    """A row that was left out.

    Args:
        file: The list's file, without the secrets of its URL.
        line: Line (of a workbook: row) on which it starts, from 1.
        reason: Why it could not be read; never what it holds.
    """

    file: str
    line: int
    reason: str


@dataclass(kw_only=True)
class ReadReport:
    """Counts while lists are read; may be shared by several.

    Args:
        rows: Items handed out.
        bad_rows: Rows skipped under `on_bad_row: skip`.
        examples: The first few of them.
    """

    rows: int = 0
    bad_rows: int = 0
    examples: list[BadRow] = field(default_factory=list)

    def skip(self, row: BadRow) -> None:
        """Counts a row that is left out."""
        self.bad_rows += 1
        if len(self.examples) < EXAMPLES:
            self.examples.append(row)
