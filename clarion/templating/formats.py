"""Dates, numbers and money as a locale writes them.

Unicode's locale data separates "3:05" from "PM", and thousands in French, by no-break spaces. One of these
alone turns a text message from the GSM alphabet into UCS-2 and doubles its price: they become plain here.
"""

from collections.abc import Callable
from datetime import UTC, datetime
from decimal import Decimal, InvalidOperation
from functools import lru_cache
from typing import Any
from zoneinfo import ZoneInfo

from babel import Locale, dates, numbers
from babel.core import UnknownLocaleError

from clarion.errors import RenderError

DEFAULT_LOCALE = "en"
_SPACES = {0x00A0: " ", 0x202F: " "}
# More digits before or behind the point than any amount has; bounds the work on `1e999999`.
_MAX_EXPONENT = 30
_MAX_DIGITS = 60
_TIMES = frozenset({"date", "datetime", "time"})


def format_date(
    value: Any,
    format: str = "medium",  # noqa: A002 - templates write format=
    *,
    locale: str = DEFAULT_LOCALE,
    timezone: str | None = None,
) -> str:
    """The day of an ISO 8601 date or time."""
    return _written(dates.format_date, _moment(value, timezone, "date"), format, locale, "date")


def format_datetime(
    value: Any,
    format: str = "medium",  # noqa: A002 - templates write format=
    *,
    locale: str = DEFAULT_LOCALE,
    timezone: str | None = None,
) -> str:
    """The day and the time of an ISO 8601 time."""
    return _written(dates.format_datetime, _moment(value, timezone, "datetime"), format, locale, "datetime")


def format_time(
    value: Any,
    format: str = "short",  # noqa: A002 - templates write format=
    *,
    locale: str = DEFAULT_LOCALE,
    timezone: str | None = None,
) -> str:
    """The time of day of an ISO 8601 time."""
    return _written(dates.format_time, _moment(value, timezone, "time"), format, locale, "time")


def format_number(
    value: Any,
    format: str | None = None,  # noqa: A002 - templates write format=
    *,
    locale: str = DEFAULT_LOCALE,
) -> str:
    """A number with the locale's separators."""
    return _written(numbers.format_decimal, _decimal(value, "number"), format, locale, "number")


def format_percent(
    value: Any,
    format: str | None = None,  # noqa: A002 - templates write format=
    *,
    locale: str = DEFAULT_LOCALE,
) -> str:
    """A fraction as a percentage."""
    return _written(numbers.format_percent, _decimal(value, "percent"), format, locale, "percent")


def format_currency(value: Any, currency: str, *, locale: str = DEFAULT_LOCALE) -> str:
    """An amount of money; `currency` is an ISO 4217 code."""
    if not numbers.is_currency(currency):
        raise RenderError("currency: not an ISO 4217 code like 'GBP'")
    amount = _decimal(value, "currency")
    return numbers.format_currency(amount, currency, locale=_locale(locale, "currency")).translate(_SPACES)


def _written(write: Callable[..., str], value: Any, pattern: str | None, locale: str, name: str) -> str:
    if pattern is not None and "%" in pattern and name in _TIMES:
        raise RenderError(f"{name}: the format has a %; patterns are Unicode's, like 'dd/MM/yyyy'")
    known = _locale(locale, name)
    try:
        return write(value, pattern, locale=known).translate(_SPACES)
    except (ValueError, KeyError, AttributeError, TypeError):
        raise RenderError(f"{name}: the format is not one of Unicode's patterns") from None


@lru_cache(maxsize=1024)
def _locale(name: str, asked_by: str) -> Locale:
    try:
        return Locale.parse(name.replace("-", "_"))
    except (ValueError, UnknownLocaleError, AttributeError, TypeError):
        raise RenderError(f"{asked_by}: the locale is not a known one like 'en_GB'") from None


def _moment(value: Any, timezone: str | None, name: str) -> datetime:
    """The time on the clock of `timezone`; without one, on the clock that the value was written by."""
    if not isinstance(value, str):
        raise RenderError(f"{name}: the value is not text")
    text = value.strip()
    moment = _parsed(text, name)
    # A day alone is the same day everywhere; a time without an offset is UTC.
    if timezone is None or len(text) <= len("2026-01-31"):
        return moment.replace(tzinfo=None)
    aware = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
    return aware.astimezone(_zone(timezone, name)).replace(tzinfo=None)


def _parsed(text: str, name: str) -> datetime:
    try:
        return datetime.fromisoformat(text)
    except ValueError:
        raise RenderError(
            f"{name}: the value is no ISO 8601 date like 2026-01-31 or 2026-01-31T09:00Z"
        ) from None


@lru_cache(maxsize=1024)
def _zone(name: str, asked_by: str) -> ZoneInfo:
    try:
        return ZoneInfo(name)
    except (ValueError, KeyError, OSError, TypeError):
        raise RenderError(f"{asked_by}: the timezone is not a known one like 'Europe/London'") from None


def _decimal(value: Any, name: str) -> Decimal:
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        raise RenderError(f"{name}: the value is no number")
    try:
        number = Decimal(str(value).strip())
    except (InvalidOperation, ValueError):
        raise RenderError(f"{name}: the value is no number") from None
    too_fine = len(number.as_tuple().digits) > _MAX_DIGITS
    if not number.is_finite() or too_fine or abs(number.adjusted()) > _MAX_EXPONENT:
        raise RenderError(f"{name}: the number is too large or too fine")
    return number
