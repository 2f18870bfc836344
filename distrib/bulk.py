"""Writing rows fast, the same call for one row and for a million.

A table's rows come as columns. Few rows go as one ``INSERT … SELECT FROM unnest`` a table; many
go through COPY: as one binary buffer laid out by NumPy when every column has a fixed width, row by
row otherwise. The price of a row in Python then is far below its price in the server.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from datetime import date, datetime, timedelta
from functools import cache
from itertools import repeat
from typing import Any

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
    return isinstance(values, str | bytes | int | bool | date | np.integer) or values is None


def write_rows(
    cursor: psycopg.Cursor[Any], model: type[Base], columns: Columns, count: int
) -> None:
    """Insert ``count`` rows into the table of ``model`` inside the cursor's transaction.

    :param columns: see :data:`Columns`; a column left out takes the table's default.
    :raises ValueError: when a column has not ``count`` values.
    :raises OverflowError: when an integer does not fit its column and the rows go by COPY.
    """
    if count == 0:
        return
    table, types = model.__tablename__, _types(model)
    for name, values in columns.items():
        if not _is_scalar(values) and len(values) != count:
            raise ValueError(f"column {name} has {len(values)} values for {count} rows")
        if count > SMALL and types[name] in _RANGES:
            _check_range(name, values, types[name])
    if count <= SMALL:
        _insert(cursor, table, columns, types)
    elif any(isinstance(values, list) for values in columns.values()):
        _copy_rows(cursor, table, columns, types)
    else:
        _copy_binary(cursor, table, columns, types, count)


@cache
def _insert_sql(
    table: str, scalars: tuple[tuple[str, str], ...], lists: tuple[tuple[str, str], ...]
) -> str:
    names = ", ".join(name for name, _ in (*scalars, *lists))
    values = ", ".join([*(f"%s::{kind}" for _, kind in scalars), "u.*"])
    arrays = ", ".join(f"%s::{kind}[]" for _, kind in lists)
    return f"INSERT INTO {table} ({names}) SELECT {values} FROM unnest({arrays}) u"


def _insert(
    cursor: psycopg.Cursor[Any], table: str, columns: Columns, types: dict[str, str]
) -> None:
    scalars = {name: values for name, values in columns.items() if _is_scalar(values)}
    lists = {
        name: _literal(_as_list(values), types[name])
        for name, values in columns.items()
        if name not in scalars
    }
    statement = _insert_sql(
        table,
        tuple((name, types[name]) for name in scalars),
        tuple((name, types[name]) for name in lists),
    )
    cursor.execute(statement, [*scalars.values(), *lists.values()])


def _literal(values: list[Any], kind: str) -> str:
    """A PostgreSQL array literal. Its text is the same type whatever the values are, so that the
    prepared statement is found again; and it costs a third of adapting a list."""
    if kind == "bytea":
        values = [None if value is None else f"\\x{value.hex()}" for value in values]
    if kind in ("text", "bytea"):
        return f"{{{','.join(map(_quoted, values))}}}"
    return f"{{{','.join('NULL' if value is None else str(value) for value in values)}}}"


def _quoted(text: str | None) -> str:
    if text is None:
        return "NULL"
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'


@contextmanager
def together(cursor: psycopg.Cursor[Any], rows: int) -> Iterator[None]:
    """Send the statements of the block at once when it writes few rows (``rows`` in its largest
    table): one trip to the server instead of one each. COPY, for many rows, cannot do that."""
    if rows > SMALL:
        yield
        return
    with cursor.connection.pipeline():
        yield


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
