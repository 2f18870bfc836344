"""Pages of a list: a cursor says after which row the next page begins.

The place is a row's sort key, never a count, so rows that come or go meanwhile neither repeat nor
hide another. To callers a cursor is opaque.
"""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime
from functools import cache
from typing import Any

from marshmallow import fields
from sqlalchemy import Row, Select, tuple_
from sqlalchemy.orm import InstrumentedAttribute, Session

from distrib.api.fields import Shape, Text, Whole
from distrib.errors import InvalidInput

MOST = 200
_BIGINT = 1 << 63

Query = Select[*tuple[Any, ...]]


class PageQuery(Shape):
    """Which part of a list."""

    limit = Whole(
        1,
        MOST,
        strict=False,
        load_default=50,
        metadata={"description": "How many items the page has at most."},
    )
    cursor = Text(
        1_000,
        load_default=None,
        metadata={"description": "`next` of the page before; leave it out for the first page."},
    )


@cache
def page_of(shape: type[Shape]) -> type[Shape]:
    """The shape of a page of ``shape``; one class each, for OpenAPI knows classes by name."""
    name = shape.__name__.removesuffix("Schema")
    made: dict[str, fields.Field[Any]] = {
        "items": fields.List(fields.Nested(shape), required=True),
        "next": fields.String(
            required=True,
            allow_none=True,
            metadata={"description": "Cursor of the next page, null on the last one."},
        ),
    }
    return Shape.from_dict(made, name=f"{name}PageSchema")  # type: ignore[return-value]


@dataclass(frozen=True)
class Page:
    """Some items, and the cursor of those that follow."""

    items: Sequence[Any]
    next: str | None


@dataclass(frozen=True)
class Order:
    """An order of a list: its name, and the columns that decide it, the last one unique."""

    name: str
    kinds: tuple[type, ...]
    descending: bool = False

    def write(self, values: Sequence[Any]) -> str:
        """The cursor of the place after the row with these values."""
        plain = [v.isoformat() if isinstance(v, date) else v for v in values]
        text = json.dumps([self.name, *plain], separators=(",", ":"))
        return base64.urlsafe_b64encode(text.encode()).decode().rstrip("=")

    def read(self, cursor: str | None) -> tuple[Any, ...] | None:
        """The values that :meth:`write` wrote.

        :raises InvalidInput: when it did not write them, or for another list.
        """
        if cursor is None:
            return None
        try:
            padded = cursor.encode() + b"=" * (-len(cursor) % 4)
            name, *values = json.loads(base64.b64decode(padded, altchars=b"-_", validate=True))
            if name != self.name:
                raise ValueError(name)
            return tuple(_parse(k, v) for k, v in zip(self.kinds, values, strict=True))
        except (ValueError, TypeError, binascii.Error, RecursionError):
            raise InvalidInput("is no cursor of this list", field="cursor") from None


def _parse(kind: type, value: Any) -> Any:
    if kind is int:
        if type(value) is not int or not -_BIGINT <= value < _BIGINT:
            raise ValueError(value)
        return value
    if type(value) is not str or not value.isprintable():
        raise ValueError(value)
    if kind is str:
        return value
    if kind is date:
        return date.fromisoformat(value)
    instant = datetime.fromisoformat(value)
    if instant.utcoffset() is None:
        raise ValueError(value)
    return instant


def read_page(
    session: Session,
    query: Query,
    *,
    order: Order,
    keys: Sequence[InstrumentedAttribute[Any]],
    cursor: str | None,
    limit: int,
) -> tuple[list[Row[*tuple[Any, ...]]], str | None]:
    """Rows of ``query`` in the order of ``keys``, which it selects first; and the next cursor."""
    after = order.read(cursor)
    if after is not None:
        place = tuple_(*keys)
        query = query.where(place < after if order.descending else place > after)
    ordered = [key.desc() if order.descending else key.asc() for key in keys]
    rows = list(session.execute(query.order_by(*ordered).limit(limit + 1)))
    if len(rows) <= limit:
        return rows, None
    rows = rows[:limit]
    return rows, order.write(rows[-1][: len(keys)])


def page_rows(
    session: Session,
    query: Query,
    *,
    order: Order,
    keys: Sequence[InstrumentedAttribute[Any]],
    cursor: str | None,
    limit: int,
) -> Page:
    """A page whose items are the rows of ``query`` by column name; see :func:`read_page`."""
    rows, following = read_page(session, query, order=order, keys=keys, cursor=cursor, limit=limit)
    return Page([dict(row._mapping) for row in rows], following)
