"""Publishing plan versions: dated, immutable, and never before orders already taken."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from distrib import clock
from distrib.brands.jurisdiction import set_levels
from distrib.brands.tables import Brand
from distrib.commission.plan_document import PlanInvalid
from distrib.commission.service import (
    PlanNotEffective,
    PlanVersionNotFound,
    VersionState,
    compiled_plan,
    get_plan_version,
    list_plan_versions,
    number_in_force,
    publish_plan,
    state_of,
)
from distrib.commission.tables import PlanVersion
from distrib.db import Database
from distrib.errors import InvalidInput
from distrib.orders.tables import Order
from tests import factories
from tests.factories import NOON, days, document, ids_of, order, take

TICK = timedelta(microseconds=1)


def publish(
    db: Database, brand: Brand, rate: str = "10%", at: datetime | None = None, **more: Any
) -> PlanVersion:
    with clock.travel(NOON), db.transaction() as session:
        return publish_plan(
            session,
            brand=brand,
            document=document(rate),
            effective_from=at,
            published_by="finance",
            **more,
        )


def test_a_first_version_is_in_force_from_now(db: Database, brand: Brand) -> None:
    version = publish(db, brand)
    assert (version.number, version.effective_from, version.levels) == (1, NOON, 3)
    assert (version.published_at, version.published_by) == (NOON, "finance")
    assert version.document == document("10%")


def test_the_same_again_changes_nothing(db: Database, brand: Brand) -> None:
    first = publish(db, brand)
    again = publish(db, brand)
    assert (again.id, again.number) == (first.id, 1)
    other = publish(db, brand, "20%")
    assert (other.number, other.effective_from) == (2, NOON + TICK)
    back = publish(db, brand, "10%")
    assert (back.number, back.effective_from) == (3, NOON + 2 * TICK)
    dated = publish(db, brand, "10%", at=NOON + days(1))
    assert (dated.number, dated.content_hash) == (4, first.content_hash)


@pytest.mark.parametrize(
    "at, accepted",
    [
        (NOON - days(1), False),
        (NOON, False),
        (NOON + TICK, True),
        (NOON + days(99), True),
        (None, True),
    ],
)
@pytest.mark.parametrize("what", ["order", "version"])
def test_a_version_follows_what_is_there(
    db: Database, brand: Brand, what: str, at: datetime | None, accepted: bool
) -> None:
    if what == "order":
        factories.chain(db, brand)
        ids_of(take(db, brand, order("o-1", 100)))
    else:
        publish(db, brand, at=NOON)
    if accepted:
        found = publish(db, brand, "20%", at=at)
        assert found.effective_from == (at or NOON + TICK)
        assert found.number == 2
    else:
        with pytest.raises(PlanNotEffective, match="a new version starts later") as caught:
            publish(db, brand, "20%", at=at)
        assert caught.value.field == "effective_from"


def test_a_version_may_begin_in_the_past_where_no_orders_are(db: Database, brand: Brand) -> None:
    assert publish(db, brand, at=NOON - days(500)).effective_from == NOON - days(500)


def test_orders_of_other_brands_do_not_count(db: Database, brand: Brand) -> None:
    other = factories.brand(db)
    factories.chain(db, other)
    ids_of(take(db, other, order("o-1", 100)))
    assert publish(db, brand, at=NOON - days(1)).number == 1


def test_a_version_in_the_future_waits(db: Database, brand: Brand) -> None:
    factories.trio(db, brand)
    first = publish(db, brand, "10%", at=NOON - days(1))
    publish(db, brand, "20%", at=NOON + days(1))
    assert publish(db, brand, "30%").effective_from == NOON + days(1) + TICK
    (order_id,) = ids_of(take(db, brand, order("o-1", 100)))
    with db.transaction() as session:
        assert session.get_one(Order, (brand.id, order_id)).plan_version_id == first.id
        assert [each.number for each in list_plan_versions(session, brand_id=brand.id)] == [3, 2, 1]


def test_an_instant_needs_a_time_zone(db: Database, brand: Brand) -> None:
    naive = datetime(2026, 3, 1)  # noqa: DTZ001
    with pytest.raises(InvalidInput, match="needs a time zone") as caught:
        publish(db, brand, at=naive)
    assert caught.value.field == "effective_from"


def test_an_invalid_document_writes_nothing(db: Database) -> None:
    brand = factories.brand(db, levels=2)
    with (
        pytest.raises(PlanInvalid, match="names 3 levels; the brand has 2 levels"),
        db.transaction() as session,
    ):
        publish_plan(
            session, brand=brand, document=document("1%", "1%", "1%"), published_by="finance"
        )
    with db.transaction() as session:
        assert list_plan_versions(session, brand_id=brand.id) == []


def test_versions_by_number(db: Database, brand: Brand) -> None:
    first, second = publish(db, brand), publish(db, brand, "20%")
    with db.transaction() as session:
        found = get_plan_version(session, brand_id=brand.id, number=2)
        assert found.id == second.id
        plan = compiled_plan(session, brand_id=brand.id, version_id=first.id)
        assert [pay.value for pay in plan.rules[0].pays] == [100_000]
        for brand_id, number in ((brand.id, 3), (brand.id, 0), (brand.id + 1, 1)):
            with pytest.raises(PlanVersionNotFound, match=f"no plan version {number}"):
                get_plan_version(session, brand_id=brand_id, number=number)


def test_the_end_of_time_is_no_time_to_begin(db: Database, brand: Brand) -> None:
    """It would leave no instant for the version after it: that is said, by one or the other."""

    def publish_two() -> None:
        publish(db, brand, at=datetime.max.replace(tzinfo=UTC))
        publish(db, brand, "20%")

    with pytest.raises((PlanNotEffective, InvalidInput)):
        publish_two()


def test_a_version_far_ahead_would_hold_back_the_others(db: Database, brand: Brand) -> None:
    with pytest.raises(InvalidInput, match="more than 400 days ahead") as caught:
        publish(db, brand, at=NOON + days(400) + TICK)
    assert caught.value.field == "effective_from"
    assert publish(db, brand, at=NOON + days(400)).number == 1


def test_where_versions_stand(db: Database, brand: Brand) -> None:
    def states(at: datetime) -> list[VersionState]:
        with db.transaction() as session:
            found = list_plan_versions(session, brand_id=brand.id)
            number = number_in_force(session, brand_id=brand.id, at=at)
            return [state_of(each, at=at, in_force=number) for each in reversed(found)]

    for n in range(3):
        publish(db, brand, f"{n}%", at=NOON + days(n))
    scheduled, in_force, superseded = VersionState
    assert states(NOON - TICK) == [scheduled, scheduled, scheduled]
    assert states(NOON) == [in_force, scheduled, scheduled]
    assert states(NOON + days(2) - TICK) == [superseded, in_force, scheduled]
    assert states(NOON + days(2)) == [superseded, superseded, in_force]


PERSONAL = {
    "rules": [
        {"name": "default", "rates": ["10%"]},
        {"name": "ours", "match": {"distributor": ["bo", "ann"]}, "rates": ["20%"]},
    ]
}


def test_a_plan_knows_the_people_it_names(db: Database, brand: Brand) -> None:
    theirs = factories.brand(db)
    factories.trio(db, theirs)
    for known in ({"bo": None}, {"ann": None}):
        with pytest.raises(PlanInvalid, match="the brand has no distributor") as caught:
            factories.plan(db, brand, plan_document=PERSONAL)
        missing = 0 if "bo" in known else 1
        assert caught.value.field == f"rules[1].match.distributor[{missing}]"
        who = factories.enrol(db, brand, known)
    version = factories.plan(db, brand, plan_document=PERSONAL)
    with db.transaction() as session:
        plan = compiled_plan(session, brand_id=brand.id, version_id=version.id)
    assert plan.people.keys() == {"ann", "bo"}
    assert plan.people["ann"] == who["ann"]


def test_amounts_are_in_the_money_of_the_brand(db: Database) -> None:
    brand = factories.brand(db, currency="JPY")
    fixed = {"rules": [{"rates": [{"per_unit": "3"}]}]}
    version = factories.plan(db, brand, plan_document=fixed)
    with db.transaction() as session:
        plan = compiled_plan(session, brand_id=brand.id, version_id=version.id)
    assert (plan.currency, plan.rules[0].pays[0].value) == ("JPY", 3)
    with pytest.raises(PlanInvalid, match="more decimals than JPY has"):
        factories.plan(db, brand, plan_document={"rules": [{"rates": [{"per_unit": "3.5"}]}]})


@pytest.mark.parametrize(
    "change, counts",
    [
        ({}, False),
        ({"eligibility": {"active": True}}, False),
        ({"eligibility": {"month_volume": "1.00"}}, True),
        ({"caps": {"distributor_day": "1.00"}}, True),
        ({"bonuses": [{"kind": "first_order", "rates": ["1%"]}]}, True),
    ],
)
def test_a_plan_that_asks_for_sales_has_them_counted(
    db: Database, brand: Brand, change: dict[str, Any], counts: bool
) -> None:
    factories.plan(db, brand, plan_document=document("10%") | change)
    with db.transaction() as session:
        assert session.get_one(Brand, brand.id).counts_sales is counts


def test_levels_that_changed_make_another_version(db: Database, brand: Brand) -> None:
    """The document is the same, but what it pays may not be."""
    first = publish(db, brand)
    with db.transaction() as session:
        set_levels(session, brand=brand, levels=2)
    second = publish(db, brand)
    assert [(each.number, each.levels) for each in (first, second)] == [(1, 3), (2, 2)]
    assert publish(db, brand).number == 2
