"""What the database itself refuses, whoever asks."""

from __future__ import annotations

import psycopg
import pytest
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError

from distrib.brands.tables import Brand
from distrib.db import Database
from tests import factories
from tests.tree.helpers import day, enrol, enrol_all, history, move

_OF_B = "WHERE brand_id = :brand AND distributor_id = :b"
_INSERT = "INSERT INTO sponsorship (brand_id, distributor_id, valid_from, valid_to, sponsor_id)"


@pytest.mark.parametrize(
    "statement, error",
    [
        # overwriting and deleting
        (f"UPDATE sponsorship SET sponsor_id = :x {_OF_B}", "RestrictViolation"),
        (f"UPDATE sponsorship SET sponsor_id = NULL {_OF_B}", "RestrictViolation"),
        (f"UPDATE sponsorship SET valid_from = :day2 {_OF_B}", "RestrictViolation"),
        (f"UPDATE sponsorship SET valid_to = NULL {_OF_B}", "RestrictViolation"),
        (f"UPDATE sponsorship SET valid_to = :day20, sponsor_id = :a {_OF_B}", "RestrictViolation"),
        (
            f"UPDATE sponsorship SET distributor_id = :x {_OF_B} AND valid_to IS NULL",
            "RestrictViolation",
        ),
        (
            f"UPDATE sponsorship SET valid_to = :day12 {_OF_B} AND valid_from = :day0",
            "RestrictViolation",
        ),
        (f"DELETE FROM sponsorship {_OF_B}", "RestrictViolation"),
        ("TRUNCATE sponsorship", "RestrictViolation"),
        ("DELETE FROM distributor WHERE brand_id = :brand AND id = :b", "ForeignKeyViolation"),
        # gaps and overlaps: B stood under A from day 0 to day 10, and stands under X since
        (
            f"UPDATE sponsorship SET valid_to = :day20 {_OF_B} AND valid_to IS NULL",
            "ForeignKeyViolation",
        ),
        (
            f"UPDATE sponsorship SET valid_to = :day5 {_OF_B} AND valid_to IS NULL",
            "CheckViolation",
        ),
        (f"{_INSERT} VALUES (:brand, :b, :day20, NULL, :a)", "UniqueViolation"),
        (f"{_INSERT} VALUES (:brand, :b, :day10, NULL, :a)", "UniqueViolation"),
        (f"{_INSERT} VALUES (:brand, :b, :day5, :day10, :a)", "UniqueViolation"),
        (f"{_INSERT} VALUES (:brand, :b, :day5, :day12, :a)", "ForeignKeyViolation"),
        (f"{_INSERT} VALUES (:brand, :b, :day12, :day12, :a)", "CheckViolation"),
        (f"{_INSERT} VALUES (:brand, :b, :day12, :day5, :a)", "CheckViolation"),
        # who sponsors whom
        (f"{_INSERT} VALUES (:brand, :b, :day_1, :day0, :b)", "CheckViolation"),
        (f"{_INSERT} VALUES (:brand, :b, :day_1, :day0, :theirs)", "ForeignKeyViolation"),
        (f"{_INSERT} VALUES (:brand, :theirs, :day0, NULL, :a)", "ForeignKeyViolation"),
        (
            "UPDATE distributor SET external_id = 'A' WHERE brand_id = :brand AND id = :b",
            "UniqueViolation",
        ),
        (
            "UPDATE distributor SET status = 'gone' WHERE brand_id = :brand AND id = :b",
            "CheckViolation",
        ),
    ],
)
def test_the_database_refuses(db: Database, brand: Brand, statement: str, error: str) -> None:
    enrol_all(db, brand, "X A A>B")
    move(db, brand, "B", "X", at=day(10))
    theirs = enrol(db, factories.brand(db), "theirs").id
    before = history(db, brand, "B")
    with db.transaction() as session:
        rows = session.execute(
            text("SELECT lower(external_id), id FROM distributor WHERE brand_id = :brand"),
            {"brand": brand.id},
        )
        id_of: dict[str, int] = {row[0]: row[1] for row in rows}
    parameters = {"brand": brand.id, "theirs": theirs, **id_of, "day_1": day(-1)} | {
        f"day{number}": day(number) for number in (0, 2, 5, 10, 12, 20)
    }
    named = {name: value for name, value in parameters.items() if f":{name}" in statement}
    with pytest.raises(DBAPIError) as refused, db.transaction() as session:
        session.execute(text(statement), named)
    assert isinstance(refused.value.orig, getattr(psycopg.errors, error))
    assert history(db, brand, "B") == before
