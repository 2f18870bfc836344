"""The audit finds what is damaged. Only the owner of the server can damage it, with all guards
switched off."""

from __future__ import annotations

import pytest
from sqlalchemy import text

from distrib.brands.tables import Brand
from distrib.db import Database
from distrib.tree.audit import CHECKS
from tests import factories
from tests.tree.helpers import day, enrol_all, findings, move

_EDGE = "INSERT INTO sponsorship (brand_id, distributor_id, valid_from, valid_to, sponsor_id)"
_OF = "WHERE brand_id = :brand AND distributor_id ="


def damage(db: Database, brand: Brand, statement: str) -> None:
    with db.transaction() as session:
        rows = session.execute(
            text("SELECT lower(external_id), id FROM distributor WHERE brand_id = :brand"),
            {"brand": brand.id},
        )
        id_of: dict[str, int] = {row[0]: row[1] for row in rows}
        days = {f"day{number}": day(number) for number in (0, 5, 10, 20)} | {"day_1": day(-1)}
        named = {"brand": brand.id, **id_of, **days}
        # triggers and foreign keys stand down in this transaction
        session.execute(text("SET LOCAL session_replication_role = replica"))
        for each in statement.split(";"):
            used = {name: value for name, value in named.items() if f":{name}" in each}
            assert session.execute(text(each), used).rowcount  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    "statement, expected",
    [
        # B stood under A until day 10, stands under X since; C stands under B, D under C, E under A
        (f"DELETE FROM sponsorship {_OF} :b AND valid_to IS NULL", {"chains_are_whole": 1}),
        (f"UPDATE sponsorship SET valid_to = :day5 {_OF} :b AND valid_from = :day0",
         {"chains_are_whole": 1}),
        (f"UPDATE sponsorship SET valid_to = :day20 {_OF} :b AND valid_from = :day0",
         {"chains_are_whole": 1}),
        (f"UPDATE sponsorship SET valid_to = :day20 {_OF} :d", {"chains_are_whole": 1}),
        (f"DELETE FROM sponsorship {_OF} :d", {"chains_begin_with_joining": 1}),
        (f"{_EDGE} VALUES (:brand, :d, :day_1, :day0, NULL)", {"chains_begin_with_joining": 1}),
        ("UPDATE distributor SET joined_at = :day5 WHERE brand_id = :brand AND id = :d",
         {"chains_begin_with_joining": 1}),
        ("UPDATE distributor SET joined_at = :day5 WHERE brand_id = :brand AND id = :c",
         {"chains_begin_with_joining": 1, "sponsors_joined_before": 1}),
        (f"UPDATE sponsorship SET sponsor_id = 7 {_OF} :d", {"both_ends_exist": 1}),
        (f"{_EDGE} VALUES (:brand, 7, :day0, NULL, :a)", {"both_ends_exist": 1}),
        # cycles of the present
        (f"UPDATE sponsorship SET sponsor_id = :d {_OF} :x", {"never_a_cycle": 1}),
        (f"UPDATE sponsorship SET sponsor_id = :d {_OF} :b AND valid_to IS NULL",
         {"never_a_cycle": 1}),
        # of the past only: from day 0 to day 10
        (f"UPDATE sponsorship SET sponsor_id = :b {_OF} :a AND valid_from = :day0;"
         f"UPDATE sponsorship SET valid_to = :day10 {_OF} :a;"
         f"{_EDGE} VALUES (:brand, :a, :day10, NULL, NULL)", {"never_a_cycle": 1}),
        # of the present only: from day 20 on
        (f"UPDATE sponsorship SET valid_to = :day20 {_OF} :a;"
         f"{_EDGE} VALUES (:brand, :a, :day20, NULL, :e)", {"never_a_cycle": 1}),
        # two at once, of which one lasts
        (f"UPDATE sponsorship SET sponsor_id = :d {_OF} :a; "
         f"UPDATE sponsorship SET sponsor_id = :d {_OF} :x", {"never_a_cycle": 2}),
    ],
)  # fmt: skip
def test_damage_is_found(
    db: Database, brand: Brand, statement: str, expected: dict[str, int]
) -> None:
    enrol_all(db, brand, "A X A>B A>E B>C C>D")
    move(db, brand, "B", "X", at=day(10))
    assert not findings(db, brand)
    damage(db, brand, statement)
    found: dict[str, int] = {}
    for finding in findings(db, brand):
        name = finding.check.removeprefix("tree.")
        found[name] = found.get(name, 0) + 1
        assert "{" not in finding.detail
        assert finding.row
    assert found == expected


def test_a_cycle_of_one_is_found(db: Database, brand: Brand) -> None:
    enrol_all(db, brand, "A A>B")
    with db.transaction() as session:
        session.execute(text("ALTER TABLE sponsorship DROP CONSTRAINT ck_sponsorship_not_self"))
        session.execute(text("SET LOCAL session_replication_role = replica"))
        session.execute(
            text("UPDATE sponsorship SET sponsor_id = distributor_id WHERE brand_id = :brand"),
            {"brand": brand.id},
        )
        found = {each.check for check in CHECKS for each in check(session, brand.id)}
        session.rollback()  # the constraint is the whole database's
    assert found == {"tree.both_ends_exist", "tree.never_a_cycle"}


def test_one_brand_s_damage_is_not_another_s(db: Database, brand: Brand) -> None:
    other = factories.brand(db)
    enrol_all(db, brand, "A A>B")
    enrol_all(db, other, "A A>B")
    damage(db, other, f"UPDATE sponsorship SET sponsor_id = :b {_OF} :a")
    assert not findings(db, brand)
    assert [finding.check for finding in findings(db, other)] == ["tree.never_a_cycle"]
