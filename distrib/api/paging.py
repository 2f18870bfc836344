"""Pages of a list: a cursor says after which row the next page begins.

The place is a row's sort key, never a count, so rows that come or go meanwhile neither repeat nor
hide another. To callers a cursor is opaque.
"""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from functools import cache
from typing import Any

from marshmallow import fields
from sqlalchemy import ColumnElement, Select, select, tuple_
from sqlalchemy.orm import Session, aliased

from distrib.api.fields import Shape, Text, Whole
from distrib.db import Base
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
class Listing:
    """An order of a list: its name, and the columns that decide it, the last of them unique."""

    name: str
    keys: Mapping[str, type]
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
            kinds = self.keys.values()
            return tuple(_parse(kind, value) for kind, value in zip(kinds, values, strict=True))
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
    model: type[Base],
    listing: Listing,
    *,
    where: Sequence[ColumnElement[bool]],
    show: Callable[[Any], Query] | None = None,
    cursor: str | None,
    limit: int,
) -> Page:
    """A page of the rows of ``model`` that fulfil ``where``.

    The rows are chosen first, from the one table and by its index; what is looked up beside them
    cannot mislead the planner into reading the whole list.

    :param show: makes of the chosen rows (as an alias of ``model``) a query of what is shown, each
        row a dict of its columns; left out, rows of ``model`` are shown.
    """

    def ordered(query: Select[*tuple[Any, ...]], source: Any) -> Query:
        keys = [getattr(source, name) for name in listing.keys]
        return query.order_by(*(key.desc() if listing.descending else key.asc() for key in keys))

    query: Query = select(model).where(*where)
    after = listing.read(cursor)
    if after is not None:
        place = tuple_(*(getattr(model, name) for name in listing.keys))
        query = query.where(place < after if listing.descending else place > after)
    query = ordered(query, model).limit(limit + 1)
    items: list[Any]
    if show is None:
        items = list(session.scalars(query))
    else:
        chosen = aliased(model, query.subquery())
        rows = session.execute(ordered(show(chosen), chosen))
        items = [dict(row._mapping) for row in rows]
    if len(items) <= limit:
        return Page(items, None)
    last = items[limit - 1]
    values = [last[name] if show else getattr(last, name) for name in listing.keys]
    return Page(items[:limit], listing.write(values))
