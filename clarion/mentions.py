"""Finding one address in texts and in JSON, however it is spelled there, and taking it out."""

import re
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import orjson

from clarion.addresses import address_of

TAKEN_OUT = "[forgotten]"
"""What stands where an address stood in a longer text."""

FEWEST_DIGITS = 8
"""A shorter number may be anything: an age, a short code, somebody else's id."""

_BETWEEN = r"[\s().\-/\u00b7\u2010-\u2014\u2212\u200b-\u200f\u202a-\u202f\u2060\ufeff]*"
_LIKE_SPECIAL = re.compile(r"([%_\\])")


@dataclass(frozen=True)
class Mentions:
    """The mentions of an address, as `address_of` spells it."""

    address: str

    @cached_property
    def are_told(self) -> bool:
        """Whether the address is known for one wherever it stands: a phone number or an e-mail address.

        Any other id is one only where a recipient is expected.
        """
        return self._pattern is not None

    @cached_property
    def like(self) -> str:
        """A pattern for SQL's LIKE, in lower case, escaped by backslashes, that misses no mention."""
        if self.address.isdigit():
            return f"%{'%'.join(self.address)}%"
        escaped = _LIKE_SPECIAL.sub(r"\\\1", self.address.lower())
        return f"%{escaped}%"

    @cached_property
    def _pattern(self) -> re.Pattern[str] | None:
        if self.address.isascii() and self.address.isdigit() and len(self.address) >= FEWEST_DIGITS:
            digits = _BETWEEN.join(self.address)
            return re.compile(rf"(?<!\d)(?:\+|00)?{digits}(?!\d)")
        if "@" in self.address:
            return re.compile(rf"(?<![\w.+-]){re.escape(self.address)}(?![\w-]|\.\w)", re.IGNORECASE)
        return None

    def are_in(self, value: Any) -> bool:
        """Whether a text, or a number, is the address or mentions it; JSON as text too."""
        if isinstance(value, bool) or not isinstance(value, str | int | float):
            return False
        return self.is_all_of(value) or bool(self._pattern and self._pattern.search(str(value)))

    def is_all_of(self, value: Any) -> bool:
        """Whether a text, or a number, is the address in some spelling and nothing else."""
        if isinstance(value, bool) or not isinstance(value, str | int | float):
            return False
        return address_of(str(value)) == self.address

    def is_a_value_of(self, value: Any) -> bool:
        """Whether some value in JSON data is the address, however deep."""
        if isinstance(value, dict):
            return any(map(self.is_a_value_of, value.values()))
        if isinstance(value, list):
            return any(map(self.is_a_value_of, value))
        return self.is_all_of(value)

    def without(self, text: str) -> str | None:
        """The text without the address; None where it was nothing else."""
        if self.is_all_of(text):
            return None
        return self._pattern.sub(TAKEN_OUT, text) if self._pattern else text

    def without_in(self, value: Any) -> Any:
        """JSON data without the address: null where a value was nothing else."""
        if isinstance(value, dict):
            return {self.without(key) or TAKEN_OUT: self.without_in(each) for key, each in value.items()}
        if isinstance(value, list):
            return [self.without_in(each) for each in value]
        if isinstance(value, str):
            return self.without(value)
        return None if self.are_in(value) else value

    def without_in_json(self, text: str) -> str:
        """JSON, as text, without the address; what is no JSON as text."""
        try:
            return orjson.dumps(self.without_in(orjson.loads(text))).decode()
        except orjson.JSONDecodeError:
            return self.without(text) or TAKEN_OUT
