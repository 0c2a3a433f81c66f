"""What recipients write back: as a file says, or as people do."""

import csv
import hashlib
import json
from collections import defaultdict, deque
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from clarion.addresses import address_of
from clarion.documents import read_text
from clarion.errors import SettingError

USUAL_TEXTS = (("Yes please", 0.6), ("No thanks", 0.25), ("STOP", 0.15))
"""What is written back where nobody says what, and how often."""

OPTION = "--replies"

_HASHES = 2**64


def chance(seed: int, purpose: str, recipient: str) -> float:
    """A number from 0 to 1 that is a recipient's own: the same for the same seed and purpose."""
    digest = hashlib.blake2b(f"{seed}:{purpose}:{recipient}".encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big") / _HASHES


class Replies(Protocol):
    """Who writes back, and what."""

    def next_to(self, recipient: str) -> str | None:
        """What a recipient answers to the message that just came, None for nothing."""
        ...


@dataclass
class SharedReplies:
    """Some of the recipients answer the first message that they get, once.

    Args:
        shares: Texts, and which share of the recipients writes each; one at most in all.
        seed: The same seed has the same recipients write the same.
    """

    shares: Sequence[tuple[str, float]]
    seed: int
    _asked: set[str] = field(default_factory=set)

    def next_to(self, recipient: str) -> str | None:
        """As `Replies.next_to`: without end, one automaton would answer the other."""
        if recipient in self._asked:
            return None
        self._asked.add(recipient)
        place = chance(self.seed, "reply", recipient)
        for text, share in self.shares:
            if place < share:
                return text
            place -= share
        return None


@dataclass
class ListedReplies:
    """Named recipients answer, each text of theirs to one message, in the order of the file."""

    texts: Mapping[str, Sequence[str]]
    _left: dict[str, deque[str]] = field(init=False)

    def __post_init__(self) -> None:
        self._left = {recipient: deque(texts) for recipient, texts in self.texts.items()}

    def next_to(self, recipient: str) -> str | None:
        """As `Replies.next_to`."""
        left = self._left.get(address_of(recipient))
        return left.popleft() if left else None


@dataclass(frozen=True, kw_only=True)
class ReplyPlan:
    """How recipients answer: a rate, shares of texts, or a text for each."""

    shares: tuple[tuple[str, float], ...] = ()
    listed: Mapping[str, Sequence[str]] = field(default_factory=dict)

    def begin(self, *, seed: int) -> Replies:
        """Recipients that have not answered anything yet."""
        return ListedReplies(self.listed) if self.listed else SharedReplies(self.shares, seed)

    def describe(self) -> str:
        """The plan in words."""
        if self.listed:
            return f"{len(self.listed):,} recipients answer as listed"
        return f"{sum(share for _, share in self.shares):.2%} of the recipients answer"


def reply_plan(given: str) -> ReplyPlan:
    """The plan that a rate (`0.2`) or a file names.

    A file is CSV with a header, or JSON (a list of mappings): with `recipient` and `text`, or with `text` and
    `share`, the share of the recipients that write this.

    Raises:
        SettingError: It is neither a rate nor a file with these columns.
    """
    try:
        rate = float(given)
    except ValueError:
        return _from_rows(_rows(Path(given)), file=given)
    return rate_plan(rate)


def rate_plan(rate: float) -> ReplyPlan:
    """The usual texts from a share of the recipients.

    Raises:
        SettingError: It is no share.
    """
    if not 0 <= rate <= 1:
        raise SettingError(f"{rate:g} is not allowed", where=OPTION, expected="0 to 1, or a file")
    return ReplyPlan(shares=tuple((text, part * rate) for text, part in USUAL_TEXTS))


def _rows(file: Path) -> list[dict[str, Any]]:
    text = read_text(file, where=OPTION)
    if file.suffix.lower() != ".json":
        return [dict(row) for row in csv.DictReader(text.splitlines())]
    try:
        rows = json.loads(text)
    except ValueError:
        rows = None
    if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
        raise SettingError(f"{file} holds no list of mappings", where=OPTION)
    return rows


def _from_rows(rows: Iterable[Mapping[str, Any]], *, file: str) -> ReplyPlan:
    listed: dict[str, list[str]] = defaultdict(list)
    shares: list[tuple[str, float]] = []
    for number, row in enumerate(rows, 1):
        match row:
            case {"recipient": str(recipient), "text": str(text)}:
                listed[address_of(recipient)].append(text)
            case {"text": str(text), "share": share}:
                shares.append((text, _share(share, file=file, row=number)))
            case _:
                raise _unreadable(file, row=number)
    if bool(listed) == bool(shares) or sum(share for _, share in shares) > 1 + 1e-9:
        raise SettingError(
            f"{file} holds no replies, both kinds of them, or shares of more than 1 in all",
            where=OPTION,
            expected="columns recipient and text, or text and share",
        )
    return ReplyPlan(shares=tuple(shares), listed=dict(listed))


def _share(value: Any, *, file: str, row: int) -> float:
    try:
        share = float(value)
    except (TypeError, ValueError):
        share = -1.0
    if not 0 <= share <= 1:
        raise _unreadable(file, row=row)
    return share


def _unreadable(file: str, *, row: int) -> SettingError:
    return SettingError(
        f"row {row} of {file} is no reply",
        where=OPTION,
        expected="recipient and text, or text and share (0 to 1)",
    )
