"""Migrations: they make what the tables say, and guard what is recorded."""

from __future__ import annotations

from typing import Any

import psycopg
import pytest
from alembic import command
from sqlalchemy import Connection, inspect, text
from sqlalchemy.engine import Engine

from distrib import schema
from distrib.brands.jurisdiction import acknowledge
from distrib.brands.tables import Brand
from distrib.db import Database
from tests import factories
from tests.factories import LONG_AGO, NOON, days


def run(connection: Connection, what: str, *args: str) -> None:
    config = schema.alembic_config()
    config.attributes["connection"] = connection
    getattr(command, what)(config, *args)


def test_the_migrations_make_what_the_tables_say(db: Database) -> None:
    with db.engine.begin() as connection:
        run(connection, "check")


def test_down_to_nothing_and_up_again(scratch: Engine) -> None:
    schema.upgrade(scratch)
    schema.upgrade(scratch)  # a second time changes nothing
    with scratch.begin() as connection:
        tables = set(inspect(connection).get_table_names())
        assert {"brand", "orders", "transfer", "commission"} < tables
        run(connection, "downgrade", "base")
    with scratch.begin() as connection:
        assert inspect(connection).get_table_names() == ["alembic_version"]
        left = connection.scalar(
            text(
                "SELECT count(*) FROM pg_proc p JOIN pg_namespace n ON n.oid = p.pronamespace"
                " WHERE n.nspname = 'public'"
            )
        )
        assert left == 0
        assert connection.scalar(text("SELECT to_regclass('id_node')")) is None
    schema.upgrade(scratch)
    with scratch.begin() as connection:
        assert set(inspect(connection).get_table_names()) == tables
        run(connection, "check")


_OLD_BRAND = text(
    "INSERT INTO brand (id, slug, name, currency, time_zone, hold_days, minimum_payout, levels,"
    " created_at) VALUES (:levels, :slug, 'Tea', 'CNY', 'UTC', 0, 1, :levels, now())"
)


def test_brands_from_before_jurisdictions_keep_their_levels(scratch: Engine) -> None:
    with scratch.begin() as connection:
        run(connection, "upgrade", "0003")
        for levels in (1, 2, 3):
            connection.execute(_OLD_BRAND, {"levels": levels, "slug": f"b{levels}"})
        run(connection, "upgrade", "head")
        found = connection.execute(text("SELECT levels, jurisdiction FROM brand ORDER BY id"))
        assert [tuple(row) for row in found] == [(1, "CN"), (2, "other"), (3, "other")]


# -- guards ---------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def recorded(db: Database) -> Brand:
    """A brand with a row in every table that is append-only."""
    brand = factories.brand(db)
    factories.chain(db, brand)
    factories.ids_of(factories.take(db, brand, factories.order("o-1", 10_000)))
    factories.ids_of(factories.give_back(db, brand, factories.refund("r-1", "o-1", (1, 0, 500))))
    with db.transaction() as session:
        acknowledge(session, brand=brand, subject="levels", text_version="v1", acknowledged_by="Fa")
    return brand


IMMUTABLE = {
    "plan_version": "document = '{}'",
    "orders": "buyer = 'somebody'",
    "order_line": "unit_price = unit_price + 1",
    "refund": "reason = 'changed'",
    "refund_line": "amount = amount + 1",
    "commission": "amount = amount + 1",
    "legal_acknowledgement": "text_version = 'v2'",
    "transfer": "amount = amount + 1",
}


@pytest.mark.parametrize("table", IMMUTABLE)
@pytest.mark.parametrize("action", ["UPDATE", "DELETE", "TRUNCATE"])
def test_what_is_recorded_stays(db: Database, recorded: Brand, table: str, action: str) -> None:
    scope = {"brand_id": recorded.id}
    statement = {
        "UPDATE": f"UPDATE {table} SET {IMMUTABLE[table]} WHERE brand_id = :brand_id",
        "DELETE": f"DELETE FROM {table} WHERE brand_id = :brand_id",
        "TRUNCATE": f"TRUNCATE {table} CASCADE",
    }[action]
    with db.transaction() as session:
        count = session.scalar(
            text(f"SELECT count(*) FROM {table} WHERE brand_id = :brand_id"), scope
        )
        assert count, "there is something to guard"
    with db.engine.connect() as connection:
        with pytest.raises(Exception, match=f"{table} is append-only: {action} refused") as caught:
            connection.execute(text(statement), {} if action == "TRUNCATE" else scope)
        connection.rollback()
    assert isinstance(getattr(caught.value, "orig", None), psycopg.errors.RestrictViolation)


@pytest.mark.parametrize(
    "statement, reason",
    [
        ("DELETE FROM sponsorship WHERE brand_id = :brand_id", "append-only: DELETE refused"),
        ("TRUNCATE sponsorship", "append-only: TRUNCATE refused"),
        (
            "UPDATE sponsorship SET sponsor_id = NULL WHERE brand_id = :brand_id"
            " AND sponsor_id IS NOT NULL",
            "can only be closed, once",
        ),
        (
            "UPDATE sponsorship SET valid_from = valid_from - interval '1 day'"
            " WHERE brand_id = :brand_id",
            "can only be closed, once",
        ),
        (
            "UPDATE sponsorship SET valid_to = now(), sponsor_id = NULL WHERE brand_id = :brand_id"
            " AND sponsor_id IS NOT NULL",
            "can only be closed, once",
        ),
    ],
)
def test_a_sponsorship_is_only_closed(
    db: Database, recorded: Brand, statement: str, reason: str
) -> None:
    with db.engine.connect() as connection:
        with pytest.raises(Exception, match=reason) as caught:
            connection.execute(
                text(statement), {"brand_id": recorded.id} if ":brand_id" in statement else {}
            )
        connection.rollback()
    assert isinstance(getattr(caught.value, "orig", None), psycopg.errors.RestrictViolation)


def test_a_sponsorship_is_closed_once(db: Database, recorded: Brand) -> None:
    close = "UPDATE sponsorship SET valid_to = :at WHERE brand_id = :brand_id"
    with db.engine.connect() as connection:
        scope = {"brand_id": recorded.id}
        connection.execute(text(close), scope | {"at": NOON})
        with pytest.raises(Exception, match="can only be closed, once"):
            connection.execute(text(close), scope | {"at": NOON + days(1)})
        connection.rollback()


def test_an_edge_that_nothing_follows_cannot_be_closed(db: Database, recorded: Brand) -> None:
    """The chain of a distributor's edges has no end: closing one needs the next."""
    with db.engine.connect() as connection:
        connection.execute(
            text("UPDATE sponsorship SET valid_to = :at WHERE brand_id = :brand_id"),
            {"brand_id": recorded.id, "at": NOON},
        )
        with pytest.raises(Exception, match="fk_sponsorship_next"):
            connection.commit()


@pytest.mark.parametrize("levels", [1, 2])
def test_no_commission_above_the_levels_of_the_brand(db: Database, levels: int) -> None:
    brand = factories.brand(db, levels=levels)
    factories.chain(db, brand)
    factories.ids_of(factories.take(db, brand, factories.order("o-1", 10_000)))
    copy = text(
        "INSERT INTO commission (brand_id, source_id, line_no, level, order_id, distributor_id,"
        " rule_no, rate_ppm, base, amount, earned_on)"
        " SELECT brand_id, source_id + 1, line_no, :level, order_id, distributor_id, rule_no,"
        " rate_ppm, base, amount, earned_on FROM commission"
        " WHERE brand_id = :brand_id AND level = 1"
    )
    with db.engine.connect() as connection:
        connection.execute(copy, {"brand_id": brand.id, "level": levels})
        connection.rollback()
        with pytest.raises(Exception, match="above the levels of its brand"):
            connection.execute(copy, {"brand_id": brand.id, "level": levels + 1})
        connection.rollback()


def test_no_brand_has_more_than_three_levels(db: Database, recorded: Brand) -> None:
    with db.engine.connect() as connection:
        with pytest.raises(Exception, match="ck_brand_levels"):
            connection.execute(
                text("UPDATE brand SET levels = 4 WHERE id = :id"), {"id": recorded.id}
            )
        connection.rollback()


_PUBLISH = text(
    "INSERT INTO plan_version (brand_id, id, number, effective_from, levels, document,"
    " content_hash, published_at, published_by)"
    " SELECT brand_id, id + 1, :number, :effective_from, :levels, document, content_hash,"
    " published_at, published_by FROM plan_version WHERE brand_id = :brand_id"
)


@pytest.mark.parametrize(
    "changes, reason",
    [
        ({"levels": 3}, "more levels than its brand allows"),
        ({"number": 1}, "follow each other in time"),
        ({"effective_from": LONG_AGO}, "follow each other in time"),
        ({"effective_from": LONG_AGO - days(1)}, "follow each other in time"),
        ({"effective_from": NOON - days(1)}, "cannot re-price orders already taken"),
        ({"effective_from": NOON}, "cannot re-price orders already taken"),
        ({}, None),
    ],
)
def test_plan_versions_follow_orders(
    db: Database, changes: dict[str, Any], reason: str | None
) -> None:
    brand = factories.brand(db, levels=2)
    factories.chain(db, brand)
    factories.ids_of(factories.take(db, brand, factories.order("o-1", 10_000), now=NOON))
    version = {"number": 2, "levels": 2, "effective_from": NOON + days(1)} | changes
    with db.engine.connect() as connection:
        if reason is None:
            connection.execute(_PUBLISH, version | {"brand_id": brand.id})
        else:
            with pytest.raises(Exception, match=reason):
                connection.execute(_PUBLISH, version | {"brand_id": brand.id})
        connection.rollback()


def test_nodes_are_handed_out_in_turn(db: Database) -> None:
    with db.engine.begin() as connection:
        nodes = [connection.scalar(text("SELECT nextval('id_node')")) for _ in range(3)]
    assert all(0 <= node < 4096 for node in nodes)
    assert len(set(nodes)) == 3
