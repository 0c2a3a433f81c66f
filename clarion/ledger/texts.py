"""Many texts as one parameter of a statement: it is put together once, however many they are."""

from collections.abc import Iterable
from typing import Any

import orjson
import sqlalchemy as sa
from sqlalchemy import Connection
from sqlalchemy.dialects import postgresql


def is_among(column: sa.Column[Any], name: str, *, dialect: str) -> sa.ColumnElement[bool]:
    """Whether a column holds one of the texts of the parameter `name`, which `as_parameter` makes."""
    if dialect == "postgresql":
        return column == sa.func.any(sa.bindparam(name, type_=postgresql.ARRAY(sa.String)))
    values = sa.func.json_each(sa.bindparam(name, type_=sa.Text)).table_valued("value")
    return column.in_(sa.select(values.c.value))


def as_parameter(connection: Connection, texts: Iterable[str]) -> Any:
    """The texts as the database takes them."""
    given = list(texts)
    return given if connection.dialect.name == "postgresql" else orjson.dumps(given).decode()
