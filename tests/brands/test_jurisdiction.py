"""In China one level, until somebody answers for more; WeChat apart."""

from __future__ import annotations

from typing import Any

import psycopg
import pytest
from sqlalchemy import text

from distrib import clock
from distrib.brands.jurisdiction import (
    JurisdictionStays,
    SecondPersonStays,
    acknowledge,
    list_acknowledgements,
    require_second_person,
    set_jurisdiction,
    set_levels,
)
from distrib.brands.tables import Brand, LegalAcknowledgement
from distrib.commission.service import compiled_plan
from distrib.commission.tables import Commission
from distrib.db import Database
from distrib.errors import InvalidInput
from tests import factories
from tests.factories import NOON, days, ids_of, order, refund, take


@pytest.fixture
def chinese(db: Database) -> Brand:
    """A brand in China, as it begins."""
    return factories.brand(db, jurisdiction="CN", levels=None)


def answer(
    db: Database, brand: Brand, subject: str = "levels", by: str = "Fa", text_version: str = "v1"
) -> LegalAcknowledgement:
    with clock.travel(NOON), db.transaction() as session:
        return acknowledge(
            session, brand=brand, subject=subject, text_version=text_version, acknowledged_by=by
        )


def levels(db: Database, brand: Brand, count: int) -> Brand:
    with db.transaction() as session:
        return set_levels(session, brand=brand, levels=count)


@pytest.mark.parametrize("jurisdiction, count", [("CN", 1), ("SG", 3), ("other", 3)])
def test_levels_by_default(db: Database, jurisdiction: str, count: int) -> None:
    assert factories.brand(db, jurisdiction=jurisdiction, levels=None).levels == count


@pytest.mark.parametrize("count", [2, 3])
def test_no_brand_begins_in_china_with_more(db: Database, count: int) -> None:
    with pytest.raises(InvalidInput, match="record an acknowledgement of 'levels'") as caught:
        factories.brand(db, jurisdiction="CN", levels=count)
    assert caught.value.field == "levels"


def test_more_levels_need_somebody_who_answers(db: Database, chinese: Brand) -> None:
    for subject in (None, "wechat_levels"):
        if subject is not None:
            answer(db, chinese, subject)
        with pytest.raises(InvalidInput, match="one level until somebody answers"):
            levels(db, chinese, 2)
    made = answer(db, chinese)
    assert (made.subject, made.text_version, made.acknowledged_by) == ("levels", "v1", "Fa")
    assert made.acknowledged_at == NOON
    assert levels(db, chinese, 3).levels == 3
    assert levels(db, chinese, 1).levels == 1
    with pytest.raises(InvalidInput, match="outside 1 to 3"):
        levels(db, chinese, 4)


def test_the_acknowledgement_of_another_brand_is_none(db: Database, chinese: Brand) -> None:
    answer(db, factories.brand(db, jurisdiction="CN", levels=1))
    with pytest.raises(InvalidInput, match="until somebody answers"):
        levels(db, chinese, 2)


def test_the_same_acknowledgement_is_recorded_once(db: Database, chinese: Brand) -> None:
    first = answer(db, chinese, by=" Fa ")
    assert answer(db, chinese).id == first.id
    others = [answer(db, chinese, by="Gu"), answer(db, chinese, text_version="v2")]
    with db.transaction() as session:
        found = list_acknowledgements(session, brand_id=chinese.id)
    assert [each.id for each in found] == [others[1].id, others[0].id, first.id]


@pytest.mark.parametrize(
    "field, value",
    [
        ("subject", "taxes"),
        ("text_version", " "),
        ("text_version", "x" * 201),
        ("by", ""),
        ("by", "a\0b"),
    ],
)
def test_what_is_no_acknowledgement(db: Database, chinese: Brand, field: str, value: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        answer(db, chinese, **{field: value})
    assert caught.value.field == {"by": "acknowledged_by"}.get(field, field)


# -- moving ---------------------------------------------------------------------------------------


def move(db: Database, brand: Brand, jurisdiction: str) -> Brand:
    with db.transaction() as session:
        return set_jurisdiction(session, brand=brand, jurisdiction=jurisdiction)


def test_a_brand_moves_to_china_with_its_levels_answered_for(db: Database, brand: Brand) -> None:
    with pytest.raises(InvalidInput, match="until somebody answers") as caught:
        move(db, brand, "CN")
    assert caught.value.field == "levels"
    answer(db, brand)
    assert move(db, brand, "CN").jurisdiction == "CN"
    with pytest.raises(InvalidInput, match="neither two capital letters"):
        move(db, brand, "China")


def test_a_brand_that_has_published_does_not_leave_china(db: Database, chinese: Brand) -> None:
    assert move(db, chinese, "SG").jurisdiction == "SG"
    assert move(db, chinese, "CN").jurisdiction == "CN"
    factories.plan(db, chinese, "10%")
    with pytest.raises(JurisdictionStays) as caught:
        move(db, chinese, "SG")
    assert caught.value.field == "jurisdiction"
    assert move(db, chinese, "CN").jurisdiction == "CN"


def test_only_the_operator_excuses_from_the_second_person(db: Database, brand: Brand) -> None:
    def require(required: bool, by_operator: bool) -> bool:
        with db.transaction() as session:
            return require_second_person(
                session, brand=brand, required=required, by_operator=by_operator
            ).second_person

    assert require(True, False)
    with pytest.raises(SecondPersonStays):
        require(False, False)
    assert not require(False, True)
    assert not require(False, False)


# -- what it means for plans and orders -----------------------------------------------------------


@pytest.mark.parametrize(
    "subjects, fewer, paid",
    [
        (["levels"], {"wechat": 1}, {"web": [1, 2, 3], "wechat": [1], None: [1, 2, 3]}),
        (["levels", "wechat_levels"], {}, {"web": [1, 2, 3], "wechat": [1, 2, 3]}),
    ],
)
def test_wechat_pays_one_level(
    db: Database, chinese: Brand, subjects: list[str], fewer: dict[str, int], paid: dict[str, Any]
) -> None:
    for subject in subjects:
        answer(db, chinese, subject)
    brand = levels(db, chinese, 3)
    version = factories.plan(db, brand)
    assert (version.levels, version.channel_levels) == (3, fewer)
    with db.transaction() as session:
        plan = compiled_plan(session, brand_id=brand.id, version_id=version.id)
    assert plan.channel_levels == fewer
    factories.trio(db, brand)
    for number, (channel, expected) in enumerate(paid.items()):
        (order_id,) = ids_of(take(db, brand, order(f"o-{number}", 10_000, channel=channel)))
        assert levels_of(db, brand, order_id) == expected


def levels_of(db: Database, brand: Brand, source_id: int) -> list[int]:
    with db.transaction() as session:
        found = session.query(Commission.level).filter_by(brand_id=brand.id, source_id=source_id)
        return sorted(level for (level,) in found)


def test_outside_china_wechat_is_a_channel_like_others(db: Database, brand: Brand) -> None:
    assert factories.plan(db, brand).channel_levels == {}


def test_answering_for_wechat_holds_from_the_next_version(db: Database, chinese: Brand) -> None:
    answer(db, chinese)
    brand = levels(db, chinese, 3)
    first = factories.plan(db, brand)
    answer(db, brand, "wechat_levels")
    second = factories.plan(db, brand, effective_from=None)  # the same document
    assert [each.channel_levels for each in (first, second)] == [{"wechat": 1}, {}]
    assert factories.plan(db, brand, effective_from=None).id == second.id


def test_fewer_levels_do_not_reach_back(db: Database, brand: Brand) -> None:
    """Orders and refunds are priced by the version in force when they were placed."""
    factories.chain(db, brand)
    (before,) = ids_of(take(db, brand, order("o-1", 10_000)))
    lowered = levels(db, brand, 1)
    (between,) = ids_of(take(db, lowered, order("o-2", 10_000)))
    factories.plan(db, lowered, "10%", effective_from=NOON + days(1))
    (after,) = ids_of(take(db, lowered, order("o-3", 10_000, placed_at=NOON + days(1))))
    (back,) = ids_of(factories.give_back(db, lowered, refund("r-1", "o-1")))
    told = [levels_of(db, brand, each) for each in (before, between, after, back)]
    assert told == [[1, 2, 3], [1, 2, 3], [1], [1, 2, 3]]


# -- ways round it --------------------------------------------------------------------------------

_BRAND = (
    "INSERT INTO brand (id, slug, name, currency, time_zone, hold_days, minimum_payout, levels,"
    " jurisdiction, created_at) SELECT id + 1, slug || '-2', name, currency, time_zone, hold_days,"
    " minimum_payout, {levels}, '{jurisdiction}', created_at FROM brand WHERE id = :id"
)
_VERSION = (
    "INSERT INTO plan_version (brand_id, id, number, effective_from, levels, channel_levels,"
    " document, content_hash, published_at, published_by) SELECT brand_id, id + 1, number + 1,"
    " effective_from + interval '1 day', levels, '{fewer}', document, content_hash, published_at,"
    " published_by FROM plan_version WHERE brand_id = :id"
)
_ACKNOWLEDGEMENT = (
    "INSERT INTO legal_acknowledgement (brand_id, id, subject, text_version, acknowledged_by,"
    " acknowledged_at) VALUES (:id, 1, '{subject}', '{text}', '{by}', now())"
)


@pytest.mark.parametrize(
    "statement, reason",
    [
        ("UPDATE brand SET levels = 2 WHERE id = :id", "one level until the law"),
        ("UPDATE brand SET jurisdiction = 'SG' WHERE id = :id", "does not leave CN"),
        (
            "UPDATE brand SET jurisdiction = 'other', levels = 3 WHERE id = :id",
            "does not leave CN",
        ),
        ("UPDATE brand SET jurisdiction = NULL WHERE id = :id", "not-null"),
        (_BRAND.format(levels=2, jurisdiction="CN"), "one level until the law"),
        (_BRAND.format(levels=1, jurisdiction="cn"), "ck_brand_jurisdiction"),
        (_VERSION.format(fewer="{}"), "WeChat orders pay one level"),
        (_VERSION.format(fewer='{"wechat"\\: 2}'), "WeChat orders pay one level"),
        (_ACKNOWLEDGEMENT.format(subject="x", text="v", by="f"), "subject"),
        (_ACKNOWLEDGEMENT.format(subject="levels", text=" ", by="f"), "stated"),
        (_ACKNOWLEDGEMENT.format(subject="levels", text="v", by=""), "stated"),
    ],
)
def test_the_database_holds_to_it(
    db: Database, chinese: Brand, statement: str, reason: str
) -> None:
    factories.plan(db, chinese, "10%")
    with db.engine.connect() as connection:
        with pytest.raises(Exception, match=reason) as caught:
            connection.execute(text(statement), {"id": chinese.id})
        connection.rollback()
    assert isinstance(
        getattr(caught.value, "orig", None),
        psycopg.errors.CheckViolation | psycopg.errors.NotNullViolation,
    )


def test_a_brand_elsewhere_does_not_slip_into_china(db: Database, brand: Brand) -> None:
    with db.engine.connect() as connection:
        with pytest.raises(Exception, match="one level until the law"):
            connection.execute(
                text("UPDATE brand SET jurisdiction = 'CN' WHERE id = :id"), {"id": brand.id}
            )
        connection.rollback()


def test_commission_above_the_version_of_its_order_is_refused(db: Database, brand: Brand) -> None:
    """Also where the brand had more levels once, and its orders of then have more."""
    factories.chain(db, brand)
    (old,) = ids_of(take(db, brand, order("o-1", 10_000)))
    lowered = levels(db, brand, 1)
    factories.plan(db, lowered, "10%", effective_from=NOON + days(1))
    (new,) = ids_of(take(db, lowered, order("o-2", 10_000, placed_at=NOON + days(1))))
    copy = text(
        "INSERT INTO commission (brand_id, source_id, line_no, level, order_id, distributor_id,"
        " rule_no, rate_ppm, base, amount, earned_on)"
        " SELECT brand_id, source_id + 1, line_no, 2, order_id, distributor_id, rule_no,"
        " rate_ppm, base, amount, earned_on FROM commission"
        " WHERE brand_id = :brand_id AND source_id = :source_id AND level = 1"
    )
    with db.engine.connect() as connection:
        connection.execute(copy, {"brand_id": brand.id, "source_id": old})
        with pytest.raises(Exception, match="above the levels of its brand"):
            connection.execute(copy, {"brand_id": brand.id, "source_id": new})
        connection.rollback()
