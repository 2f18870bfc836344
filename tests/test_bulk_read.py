"""Reading columns: every kind, nothing at all, and what must not be NULL."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import pytest

from distrib.bulk_read import Ids, read_columns
from distrib.db import Database, cursor

KINDS = {
    "big": "int8",
    "middle": "int4",
    "small": "int2",
    "yes": "bool",
    "at": "timestamptz",
    "words": "text",
}
ROWS = """
SELECT n::bigint * 1000000000000 - 5 AS big, -n AS middle, n::smallint AS small, n > 1 AS yes,
       '1969-12-31T23:59:59Z'::timestamptz + n * interval '1 second' AS at,
       (ARRAY['', '茶', NULL])[n] AS words
FROM unnest(%(ids)s) u (n) ORDER BY n
"""


def read(db: Database, columns: dict[str, str], query: str, **parameters: Any) -> dict[str, Any]:
    with db.snapshot() as session:
        return read_columns(cursor(session), columns, query, parameters)


def test_every_kind(db: Database) -> None:
    query = ROWS.replace("unnest(%(ids)s)", "unnest(%(ids)s::bigint[]::int[])")
    found = read(db, KINDS, query, ids=Ids(np.array([3, 1, 2], np.int64)))
    assert found["big"].tolist() == [10**12 - 5, 2 * 10**12 - 5, 3 * 10**12 - 5]
    assert found["middle"].tolist() == [-1, -2, -3]
    assert found["small"].tolist() == [1, 2, 3]
    assert found["yes"].tolist() == [False, True, True]
    assert found["at"].tolist() == [0, 1_000_000, 2_000_000]
    assert found["words"] == [b"", "茶".encode(), None]
    assert {found[name].dtype for name in ("big", "middle", "small", "at")} == {np.dtype(np.int64)}


@pytest.mark.parametrize("instant", [datetime(1999, 12, 31, 23, 59, 59, 999_999, UTC),
                                     datetime(2026, 3, 1, 4, 5, 6, 7, UTC)])  # fmt: skip
def test_an_instant_keeps_its_microseconds(db: Database, instant: datetime) -> None:
    found = read(db, {"at": "timestamptz"}, "SELECT %(at)s::timestamptz AS at", at=instant)
    assert datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=int(found["at"][0])) == instant


def test_no_rows(db: Database) -> None:
    query = ROWS.replace("unnest(%(ids)s)", "unnest(%(ids)s::bigint[]::int[])")
    found = read(db, KINDS, query, ids=Ids(np.zeros(0, np.int64)))
    assert all(len(column) == 0 for column in found.values())


def test_a_null_is_not_read_as_a_number(db: Database) -> None:
    with pytest.raises(ValueError, match="column n has a NULL"):
        read(db, {"n": "int8"}, "SELECT nullif(n, 2)::bigint AS n FROM generate_series(1, 3) n")
