"""The log of a command that stays: a line a record on standard error, for people or as JSON."""

import logging
import sys
from datetime import UTC, datetime

import orjson

_OF_EVERY_RECORD = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}


class JsonLines(logging.Formatter):
    """A record as one JSON object: `at`, `level`, `logger`, `message`, and what was told as `extra`."""

    def format(self, record: logging.LogRecord) -> str:
        """The line."""
        line = {
            "at": _time(record),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        line |= {name: value for name, value in vars(record).items() if name not in _OF_EVERY_RECORD}
        return orjson.dumps(line, default=str).decode()


class TextLines(logging.Formatter):
    """A record as time, level and sentence."""

    def format(self, record: logging.LogRecord) -> str:
        """The line."""
        return f"{_time(record)} {record.levelname.lower():7} {record.getMessage()}"


def _time(record: logging.LogRecord) -> str:
    return datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds")


def log_to_stderr(*, as_json: bool) -> None:
    """Has what Clarion logs, from information upwards, written to standard error."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonLines() if as_json else TextLines())
    logger = logging.getLogger("clarion")
    logger.handlers = [handler]
    logger.setLevel(logging.INFO)
    logger.propagate = False
