"""Reading many rows fast: whole columns as NumPy arrays, and no Python object for a row.

Each column comes as one array in PostgreSQL's binary form, all in a single row. A message for each
row, as COPY and cursors have it, would cost more than all that is done with the row afterwards.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import psycopg
from psycopg.adapt import Dumper
from psycopg.pq import Format

_HEADER = 20  # of an array of one dimension, in bytes
_SINCE_1970 = 946_684_800_000_000  # PostgreSQL counts microseconds since 2000

_INT8 = 20
_INT8S = np.dtype([("length", ">i4"), ("value", ">i8")])
_FIXED = {"int8": ">i8", "int4": ">i4", "int2": ">i2", "bool": "u1", "timestamptz": ">i8"}

# texts come joined by a byte that no text has; a NULL is a byte that no UTF-8 has
_NULL = b"\xff"
_TEXTS = "string_agg(coalesce(textsend({name}), '\\xff'::bytea), '\\x00'::bytea)"


def read_columns(
    cur: psycopg.Cursor[Any], columns: Mapping[str, str], query: str, parameters: Mapping[str, Any]
) -> dict[str, Any]:
    """The rows of a query, column by column and all in the same sequence.

    :param columns: name → ``int8``, ``int4``, ``int2``, ``bool`` (none of them NULL),
        ``timestamptz`` (as microseconds since 1970) or ``text`` (as a list of bytes, None for
        NULL). The integers are 64 bits wide here.
    :raises ValueError: when a column that must not has a NULL.
    """
    picked = ", ".join(
        _TEXTS.format(name=name) if kind == "text" else f"array_agg({name})"
        for name, kind in columns.items()
    )
    cur.execute(f"SELECT count(*), {picked} FROM ({query}) rows", parameters, binary=True)
    result = cur.pgresult
    if result is None:
        raise ValueError("the query gives no rows")
    count = int.from_bytes(result.get_value(0, 0) or b"", "big")
    return {
        name: _parse(name, kind, result.get_value(0, place), count)
        for place, (name, kind) in enumerate(columns.items(), 1)
    }


def _parse(name: str, kind: str, raw: bytes | None, count: int) -> Any:
    if kind == "text":
        return _texts(raw or b"", count)
    dtype = np.dtype([("length", ">i4"), ("value", _FIXED[kind])])
    if raw is None:
        return np.zeros(0, bool if kind == "bool" else np.int64)
    if len(raw) != _HEADER + count * dtype.itemsize:
        raise ValueError(f"column {name} has a NULL")
    values = np.frombuffer(raw, dtype, count, _HEADER)["value"]
    if kind == "bool":
        return values.astype(bool)
    made = values.astype(np.int64)
    if kind == "timestamptz":
        made += _SINCE_1970
    return made


def _texts(raw: bytes, count: int) -> list[bytes | None]:
    if not count:
        return []
    parts = raw.split(b"\x00")
    return [None if part == _NULL else part for part in parts] if _NULL in raw else list(parts)


class Ids:
    """Ids as a parameter of type ``bigint[]``: far quicker to pass than a list."""

    def __init__(self, values: np.ndarray[Any, np.dtype[np.int64]]) -> None:
        cells = np.empty(len(values), _INT8S)
        cells["length"], cells["value"] = 8, values
        head = np.array([1, 0, _INT8, len(values), 1], ">i4")
        self.wire = head.tobytes() + cells.tobytes()


class _IdsDumper(Dumper):
    format = Format.BINARY
    oid = 1016  # bigint[]

    def dump(self, obj: Ids) -> bytes:
        """An array of one dimension."""
        return obj.wire


psycopg.adapters.register_dumper(Ids, _IdsDumper)
