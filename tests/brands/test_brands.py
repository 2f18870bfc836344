"""Brands and their keys."""

from __future__ import annotations

from typing import Any

import pytest
from sqlalchemy import select

from distrib import ids
from distrib.brands.service import (
    BrandExists,
    BrandNotFound,
    authenticate,
    create_brand,
    create_key,
    get_brand,
    revoke_key,
)
from distrib.brands.tables import ApiKey, Brand
from distrib.db import Database
from distrib.errors import InvalidInput, Unauthorized
from distrib.money import MAX_AMOUNT
from tests import factories


def test_a_brand_has_defaults(db: Database) -> None:
    with db.transaction() as session:
        brand = create_brand(session, slug=f"defaults-{ids.new()}", name="  Tea House ")
    assert (brand.name, brand.currency, brand.time_zone) == ("Tea House", "CNY", "Asia/Shanghai")
    assert (brand.hold_days, brand.minimum_payout, brand.levels) == (15, 1, 1)
    assert (brand.jurisdiction, brand.second_person) == ("CN", False)


@pytest.mark.parametrize(
    "field, value",
    [
        ("slug", ""),
        ("slug", "Tea"),
        ("slug", "-tea"),
        ("slug", "tea house"),
        ("slug", "tea\n"),
        ("slug", "茶"),
        ("slug", "a" * 64),
        ("name", ""),
        ("name", "  "),
        ("name", "a\0b"),
        ("name", "\ud800"),
        ("currency", "cny"),
        ("currency", "XXX"),
        ("currency", ""),
        ("time_zone", "Mars/Olympus"),
        ("time_zone", ""),
        ("hold_days", -1),
        ("hold_days", 366),
        ("minimum_payout", 0),
        ("minimum_payout", MAX_AMOUNT + 1),
        ("levels", 0),
        ("levels", 4),
        ("jurisdiction", ""),
        ("jurisdiction", "cn"),
        ("jurisdiction", "CHN"),
        ("jurisdiction", "Other"),
        ("jurisdiction", "CN\n"),
    ],
)
def test_what_is_no_brand(db: Database, field: str, value: Any) -> None:
    with pytest.raises(InvalidInput) as caught:
        factories.brand(db, **{field: value})
    assert caught.value.field == field


@pytest.mark.parametrize(
    "field, value",
    [
        ("slug", "0"),
        ("name", "茶馆 ☕"),
        ("currency", "JPY"),
        ("time_zone", "America/New_York"),
        ("time_zone", "UTC"),
        ("hold_days", 0),
        ("hold_days", 365),
        ("minimum_payout", 1),
        ("minimum_payout", MAX_AMOUNT),
        ("levels", 1),
        ("jurisdiction", "DE"),
        ("jurisdiction", "other"),
    ],
)
def test_what_is_a_brand(db: Database, field: str, value: Any) -> None:
    if field == "slug":
        value = f"{value}{ids.new()}".ljust(63, "-")
    made = factories.brand(db, **{field: value})
    with db.transaction() as session:
        found = get_brand(session, brand_id=made.id)
        assert getattr(found, field) == value
        assert get_brand(session, slug=made.slug).id == made.id


def test_a_slug_is_taken_once(db: Database, brand: Brand) -> None:
    with pytest.raises(BrandExists, match=brand.slug) as caught:
        factories.brand(db, slug=brand.slug)
    assert caught.value.field == "slug"


def test_no_such_brand(db: Database) -> None:
    with db.transaction() as session:
        with pytest.raises(BrandNotFound, match="there is no brand 'nobody'"):
            get_brand(session, slug="nobody")
        with pytest.raises(BrandNotFound, match="there is no brand 'br_000000000007'"):
            get_brand(session, brand_id=7)


# -- keys -----------------------------------------------------------------------------------------


def test_a_key_speaks_for_its_brand(db: Database, brand: Brand) -> None:
    with db.transaction() as session:
        secret = create_key(session, brand_id=brand.id, name="shop")
        operator = create_key(session, brand_id=None, name="operator")
    with db.transaction() as session:
        found = authenticate(session, secret=secret)
        assert (found.brand_id, found.name) == (brand.id, "shop")
        assert authenticate(session, secret=operator).brand_id is None


def test_a_key_is_kept_as_a_hash(db: Database, brand: Brand) -> None:
    with db.transaction() as session:
        secrets = [create_key(session, brand_id=brand.id, name="shop") for _ in range(2)]
        kept = session.scalars(select(ApiKey).where(ApiKey.brand_id == brand.id)).all()
    assert len(set(secrets)) == 2
    assert all(len(secret) >= 35 and secret.startswith("dk_") for secret in secrets)
    for row in kept:
        text = repr([row.name, row.hint, row.secret_hash])
        assert not any(secret[8:] in text for secret in secrets)
        assert any(secret.startswith(row.hint) for secret in secrets)


def test_a_revoked_key_is_no_key(db: Database, brand: Brand) -> None:
    with db.transaction() as session:
        secret = create_key(session, brand_id=brand.id, name="shop")
        other = create_key(session, brand_id=brand.id, name="other")
        key_id = authenticate(session, secret=secret).key_id
    for _ in range(2):  # a second time changes nothing
        with db.transaction() as session:
            revoke_key(session, key_id=key_id)
            row = session.get_one(ApiKey, key_id, populate_existing=True)
            revoked_at = row.revoked_at
    with db.transaction() as session:
        assert session.get_one(ApiKey, key_id).revoked_at == revoked_at
        with pytest.raises(Unauthorized):
            authenticate(session, secret=secret)
        assert authenticate(session, secret=other).name == "other"


@pytest.mark.parametrize("wrong", ["", "dk_", "dk_nobody", "茶"])
def test_what_is_no_key(db: Database, wrong: str) -> None:
    with db.transaction() as session, pytest.raises(Unauthorized, match="unknown or revoked"):
        authenticate(session, secret=wrong)
