"""Writing rows fast, the same call for one row and for a million.

A table's rows come as columns. Few rows go as one ``INSERT … SELECT FROM unnest`` a table, those of
several tables in one statement; many go through COPY: as one binary buffer laid out by NumPy when
every column has a fixed width, row by row otherwise. The price of a row in Python then is far below
its price in the server.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime, timedelta
from functools import cache, lru_cache
from itertools import count as counter
from itertools import repeat
from typing import Any, Union, cast

import numpy as np
import psycopg
from sqlalchemy import BigInteger, Boolean, Date, Integer, LargeBinary, SmallInteger, Text
from sqlalchemy.dialects.postgresql import TIMESTAMP

from distrib.db import Base

SMALL = 200
"""Up to here an INSERT costs less than starting a COPY."""

_PG_DAY = np.datetime64("2000-01-01", "D")
_PG_EPOCH = datetime.fromisoformat("2000-01-01T00:00:00+00:00")

_FIXED = {"int8": ">i8", "int4": ">i4", "int2": ">i2", "bool": "u1", "date": ">i4"}
_FIXED["timestamptz"] = ">i8"

Columns = Mapping[str, Any]
"""Column name → a list or array with one value a row, or a scalar that every row shares.

An array of days is ``datetime64[D]``.
"""


@cache
def _types(model: type[Base]) -> dict[str, str]:
    names: list[tuple[type, str]] = [
        (SmallInteger, "int2"),
        (BigInteger, "int8"),
        (Integer, "int4"),
        (Boolean, "bool"),
        (TIMESTAMP, "timestamptz"),
        (Date, "date"),
        (LargeBinary, "bytea"),
        (Text, "text"),
    ]
    return {
        column.name: next(name for kind, name in names if isinstance(column.type, kind))
        for column in model.__table__.columns
        if any(isinstance(column.type, kind) for kind, _ in names)
    }


_RANGES = {"int2": 2**15, "int4": 2**31}


def _check_range(name: str, values: Any, kind: str) -> None:
    """INSERT refuses what does not fit; for COPY, NumPy and psycopg would cut it off."""
    if isinstance(values, np.ndarray):
        low, high = int(values.min()), int(values.max())
    else:
        numbers = [n for n in ([values] if _is_scalar(values) else values) if n is not None]
        low, high = min(numbers, default=0), max(numbers, default=0)
    if not -_RANGES[kind] <= low <= high < _RANGES[kind]:
        raise OverflowError(f"column {name} is {kind}, its values are {low} to {high}")


def _is_scalar(values: Any) -> bool:
    return not isinstance(values, (list, np.ndarray))  # a tuple is quicker


Writer = Union["psycopg.Cursor[Any]", "Together"]
"""What rows are written to: a cursor, at once, or what :func:`together` gives."""


def write_rows(writer: Writer, model: type[Base], columns: Columns, count: int) -> None:
    """Insert ``count`` rows into the table of ``model`` inside the cursor's transaction.

    :param columns: see :data:`Columns`; a column left out takes the table's default.
    :raises ValueError: when a column has not ``count`` values.
    :raises OverflowError: when an integer does not fit its column and the rows go by COPY.
    """
    if count == 0:
        return
    if count <= SMALL:
        into = writer if isinstance(writer, Together) else Together(writer)
        into.add(model, columns, count)
        if into is not writer:
            into.send()
        return
    cursor = writer.cursor if isinstance(writer, Together) else writer
    table, types = model.__tablename__, _types(model)
    for name, values in columns.items():
        _check_length(name, values, count)
        if types[name] in _RANGES:
            _check_range(name, values, types[name])
    if any(isinstance(values, list) for values in columns.values()):
        _copy_rows(cursor, table, columns, types)
    else:
        _copy_binary(cursor, table, columns, types, count)


def _check_length(name: str, values: Any, count: int) -> None:
    if not _is_scalar(values) and len(values) != count:
        raise ValueError(f"column {name} has {len(values)} values for {count} rows")


def execute(writer: Writer, statement: str, parameters: list[str | None]) -> None:
    """Execute another statement that writes, with those of the writer.

    :param statement: with ``{}`` for each parameter, which are text and are to be cast.
    """
    into = writer if isinstance(writer, Together) else Together(writer)
    into.add_statement(statement, parameters)
    if into is not writer:
        into.send()


@contextmanager
def together(cursor: psycopg.Cursor[Any], rows: int) -> Iterator[Writer]:
    """A writer that sends what is written in the block as one statement when it is few rows
    (``rows`` in the largest table): one trip to the server, and one plan. Many go one table after
    the other, by COPY."""
    if rows > SMALL:
        yield cursor
        return
    writer = Together(cursor)
    yield writer
    writer.send()


class Together:
    """Few rows for several tables, written by one statement: an INSERT for each in a WITH.

    They see each other only when the statement ends, which is when foreign keys are looked at.
    Every parameter is text: its type is then the same whatever the values are, so the prepared
    statement is found again, and it costs a third of adapting a list.
    """

    def __init__(self, cursor: psycopg.Cursor[Any]) -> None:
        self.cursor = cursor
        self._shapes: list[_Shape | str] = []
        self._parameters: list[str | None] = []

    def add(self, model: type[Base], columns: Columns, count: int) -> None:
        """Have rows written at the end."""
        types = _types(model)
        lists = []
        for name, values in columns.items():
            _check_length(name, values, count)
            if _is_scalar(values):
                self._parameters.append(_text(values, types[name]))
            else:
                lists.append(name)
                self._parameters.append(array_literal(_as_list(values), types[name]))
        self._shapes.append((model, tuple(columns), tuple(lists)))

    def add_statement(self, statement: str, parameters: list[str | None]) -> None:
        """Have another statement executed at the end."""
        self._shapes.append(statement)
        self._parameters += parameters

    def send(self) -> None:
        """Write what was added."""
        if self._shapes:
            raw = psycopg.RawCursor(self.cursor.connection)
            raw.execute(_statement(tuple(self._shapes)), self._parameters)


_Shape = tuple[type[Base], tuple[str, ...], tuple[str, ...]]
"""A table, the columns written, and which of them are lists."""


@lru_cache(1_000)
def _statement(shapes: tuple[_Shape | str, ...]) -> bytes:
    number = counter(1)
    inserts = [
        _numbered(shape, number) if isinstance(shape, str) else _insert(*shape, number)
        for shape in shapes
    ]
    *first, last = inserts
    if not first:
        return last.encode()
    named = ", ".join(f"w{n} AS ({insert})" for n, insert in enumerate(first))
    return f"WITH {named} {last}".encode()


def _numbered(statement: str, number: Iterator[int]) -> str:
    head, *parts = statement.split("{}")
    return head + "".join(f"${next(number)}{part}" for part in parts)


def _insert(
    model: type[Base], columns: tuple[str, ...], lists: tuple[str, ...], number: Iterator[int]
) -> str:
    types = _types(model)
    place = {name: f"${next(number)}::{types[name]}" for name in columns}
    values = ", ".join(f"u.{name}" if name in lists else place[name] for name in columns)
    arrays = ", ".join(f"{place[name]}[]" for name in lists)
    return (
        f"INSERT INTO {model.__tablename__} ({', '.join(columns)})"
        f" SELECT {values} FROM unnest({arrays}) u ({', '.join(lists)})"
    )


def _text(value: Any, kind: str) -> str | None:
    if value is None or kind == "text":
        return cast("str | None", value)
    return f"\\x{value.hex()}" if kind == "bytea" else str(value)


def array_literal(values: Sequence[Any], kind: str) -> str:
    """A PostgreSQL array literal, for a parameter of type text that is cast: a third of the price
    of adapting a list."""
    if kind in ("text", "bytea"):
        texts = [_text(value, kind) for value in values]
        return f"{{{','.join(map(_quoted, texts))}}}"
    return f"{{{','.join('NULL' if value is None else str(value) for value in values)}}}"


def _quoted(text: str | None) -> str:
    if text is None:
        return "NULL"
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'


def _as_list(values: Any) -> list[Any]:
    return values.tolist() if isinstance(values, np.ndarray) else list(values)


def _copy_rows(
    cursor: psycopg.Cursor[Any], table: str, columns: Columns, types: dict[str, str]
) -> None:
    names = ", ".join(columns)
    feeds: list[Iterable[Any]] = [
        repeat(values) if _is_scalar(values) else _as_list(values) for values in columns.values()
    ]
    with cursor.copy(f"COPY {table} ({names}) FROM STDIN (FORMAT BINARY)") as copy:
        copy.set_types([types[name] for name in columns])
        for row in zip(*feeds, strict=False):
            copy.write_row(row)


def _wire(values: Any, kind: str) -> Any:
    """What COPY's binary format writes for a scalar or an array."""
    if kind == "date":
        return (np.asarray(values, "datetime64[D]") - _PG_DAY).astype(np.int32)
    if kind == "timestamptz":
        return (values - _PG_EPOCH) // timedelta(microseconds=1)
    return values.encode() if kind == "text" else values


def _copy_binary(
    cursor: psycopg.Cursor[Any],
    table: str,
    columns: Columns,
    types: dict[str, str],
    count: int,
) -> None:
    layout: list[tuple[str, Any]] = [("fields", ">i2")]
    wire = {
        name: None if values is None else _wire(values, types[name])
        for name, values in columns.items()
    }
    for name, values in wire.items():
        layout.append((f"{name}.length", ">i4"))
        if values is not None:  # NULL has a length of -1 and no bytes
            layout.append((name, _FIXED.get(types[name]) or f"S{len(values)}"))
    rows = np.empty(count, dtype=np.dtype(layout))
    rows["fields"] = len(columns)
    for name, values in wire.items():
        rows[f"{name}.length"] = -1 if values is None else rows.dtype[name].itemsize
        if values is not None:
            rows[name] = values
    names = ", ".join(columns)
    with cursor.copy(f"COPY {table} ({names}) FROM STDIN (FORMAT BINARY)") as copy:
        copy.write(b"PGCOPY\n\xff\r\n\0" + bytes(8))
        copy.write(rows.tobytes())
        copy.write(b"\xff\xff")
