"""Writing rows: the same rows arrive whichever way they take."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, date, datetime, timedelta, timezone
from typing import Any

import numpy as np
import psycopg
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sqlalchemy import Date, Integer, LargeBinary, MetaData, SmallInteger, delete, select
from sqlalchemy.orm import Mapped, Session, mapped_column

from distrib.bulk import SMALL, Columns, together, write_rows
from distrib.db import Base, Database, cursor


class Elsewhere(Base):
    """Keeps the table of these tests out of the metadata that migrations are compared with."""

    __abstract__ = True
    metadata = MetaData()


class Sample(Elsewhere):
    """A column of each kind."""

    __tablename__ = "bulk_sample"
    __table_args__ = {  # noqa: RUF012  # SQLAlchemy reads it as a class attribute
        "prefixes": ["TEMPORARY"],
        "postgresql_on_commit": "DROP",
    }

    no: Mapped[int] = mapped_column(primary_key=True)
    small: Mapped[int | None] = mapped_column(SmallInteger)
    middle: Mapped[int | None] = mapped_column(Integer)
    big: Mapped[int | None]
    flag: Mapped[bool | None]
    day: Mapped[date | None] = mapped_column(Date)
    at: Mapped[datetime | None]
    words: Mapped[str | None]
    raw: Mapped[bytes | None] = mapped_column(LargeBinary)
    given: Mapped[int | None] = mapped_column(server_default="42")


NAMES = ("small", "middle", "big", "flag", "day", "at", "words", "raw")
Row = dict[str, Any]

SIZES = (1, 2, SMALL - 1, SMALL, SMALL + 1, 3 * SMALL)
MIXED_ZONES = [UTC, timezone(timedelta(hours=8)), timezone(-timedelta(hours=3, minutes=30))]
FIRST = datetime(1, 1, 3)  # noqa: DTZ001  # Hypothesis takes naive bounds
TEXTS = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=12)
AWKWARD_TEXTS = ["", "NULL", "null", '"', "\\", "\\N", "{}", "a,b", "'", "茶馆 ☕ 𝒳", "\t\n\r", " "]


def _ints(bits: int) -> st.SearchStrategy[int]:
    low, high = -(2 ** (bits - 1)), 2 ** (bits - 1) - 1
    return st.one_of(st.sampled_from([low, -1, 0, 1, high]), st.integers(low, high))


FIXED: dict[str, st.SearchStrategy[Any]] = {
    "small": _ints(16),
    "middle": _ints(32),
    "big": _ints(64),
    "flag": st.booleans(),
    "day": st.dates(),
}
ANY: dict[str, st.SearchStrategy[Any]] = {
    **FIXED,
    "at": st.datetimes(FIRST, FIRST.replace(year=9999), timezones=st.sampled_from(MIXED_ZONES)),
    "words": st.one_of(st.sampled_from(AWKWARD_TEXTS), TEXTS),
    "raw": st.binary(max_size=6),
}


@contextmanager
def sample_table(db: Database) -> Iterator[Session]:
    with db.transaction() as session:
        Elsewhere.metadata.create_all(session.connection())
        yield session


def arrive(session: Session, columns: Columns, count: int) -> list[Row]:
    """Write rows and read them back."""
    write_rows(cursor(session), Sample, {"no": np.arange(count), **columns}, count)
    found = session.execute(select(Sample.__table__).order_by(Sample.no)).mappings()
    return [{name: row[name] for name in (*columns, "given")} for row in found]


def spread(rows: list[Row], count: int) -> dict[str, list[Any]]:
    """``count`` rows, in turn those given, as columns."""
    return {name: [rows[n % len(rows)][name] for n in range(count)] for name in rows[0]}


@given(data=st.data(), count=st.sampled_from(SIZES))
@settings(max_examples=40)
def test_lists_arrive(db: Database, data: st.DataObject, count: int) -> None:
    names = data.draw(st.sets(st.sampled_from(NAMES), min_size=1))
    row = st.fixed_dictionaries({name: st.none() | ANY[name] for name in sorted(names)})
    columns = spread(data.draw(st.lists(row, min_size=1, max_size=5)), count)
    with sample_table(db) as session:
        assert arrive(session, columns, count) == [
            {name: values[n] for name, values in columns.items()} | {"given": 42}
            for n in range(count)
        ]


@given(data=st.data(), count=st.sampled_from(SIZES))
@settings(max_examples=40)
def test_arrays_and_scalars_arrive(db: Database, data: st.DataObject, count: int) -> None:
    names = data.draw(st.sets(st.sampled_from(sorted(FIXED)), min_size=1))
    row = st.fixed_dictionaries({name: FIXED[name] for name in sorted(names)})
    columns = spread(data.draw(st.lists(row, min_size=1, max_size=5)), count)
    scalars = {
        name: data.draw(st.none() | ANY[name], label=name)
        for name in data.draw(st.sets(st.sampled_from(NAMES)))
        if name not in names
    }
    kinds: dict[str, Any] = {"day": "datetime64[D]", "flag": np.bool_}
    arrays = {name: np.array(x, kinds.get(name, np.int64)) for name, x in columns.items()}
    with sample_table(db) as session:
        assert arrive(session, {**arrays, **scalars}, count) == [
            {name: values[n] for name, values in columns.items()} | scalars | {"given": 42}
            for n in range(count)
        ]


@pytest.mark.parametrize("count", SIZES)
@pytest.mark.parametrize("text", AWKWARD_TEXTS)
def test_awkward_texts(db: Database, text: str, count: int) -> None:
    with sample_table(db) as session:
        rows = arrive(session, {"words": [text] * count, "raw": text.encode()}, count)
        session.execute(delete(Sample))
        shared = arrive(session, {"words": text, "raw": text.encode()}, count)
    assert rows == [{"words": text, "raw": text.encode(), "given": 42}] * count
    assert shared == rows


@pytest.mark.parametrize("count", SIZES)
@pytest.mark.parametrize("kind", ["list", "array"])
@pytest.mark.parametrize("name, value", [("small", 2**15), ("middle", -(2**31) - 1)])
def test_what_does_not_fit_is_refused(
    db: Database, name: str, value: int, kind: str, count: int
) -> None:
    values = [0] * (count - 1) + [value]
    with (
        pytest.raises((psycopg.DataError, OverflowError)),
        sample_table(db) as session,
    ):
        arrive(session, {name: values if kind == "list" else np.array(values)}, count)


@pytest.mark.parametrize("count", [SMALL, SMALL + 1])
@pytest.mark.parametrize("short", ["list", "array"])
def test_columns_of_unequal_length_are_refused(db: Database, short: str, count: int) -> None:
    values: Any = [1] * (count - 1) if short == "list" else np.ones(count - 1, np.int64)
    with pytest.raises(ValueError, match="big"), sample_table(db) as session:
        arrive(session, {"big": values}, count)


def test_no_rows_write_nothing(db: Database) -> None:
    with sample_table(db) as session:
        assert arrive(session, {"big": np.zeros(0, np.int64), "words": []}, 0) == []


@pytest.mark.parametrize("count", [2, SMALL + 1])
def test_a_row_that_is_there_is_refused(db: Database, count: int) -> None:
    with sample_table(db) as session:
        arrive(session, {"big": np.arange(count)}, count)
        with pytest.raises(psycopg.errors.UniqueViolation):
            arrive(session, {"big": np.arange(count)}, count)
        session.rollback()


@pytest.mark.parametrize("count", [3, SMALL + 1])
def test_together(db: Database, count: int) -> None:
    """What is written together arrives, and an error in the middle is raised at the end."""
    columns = {"big": np.arange(count), "words": "together"}
    with sample_table(db) as session:
        cur = cursor(session)
        with together(cur, count):
            write_rows(cur, Sample, {"no": np.arange(count), **columns}, count)
            write_rows(cur, Sample, {"no": np.arange(count) + count, **columns}, count)
        found = list(session.scalars(select(Sample.no).order_by(Sample.no)))
        assert found == list(range(2 * count))
        first: Columns = {"no": np.arange(count), **columns}
        third: Columns = {"no": np.arange(count) + 2 * count, **columns}

        def write_both() -> None:
            with together(cur, count):
                write_rows(cur, Sample, first, count)
                write_rows(cur, Sample, third, count)

        with pytest.raises(psycopg.errors.UniqueViolation):
            write_both()
        session.rollback()
