"""Enrolling one by one."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest

from distrib import clock, ids
from distrib.brands.tables import Brand
from distrib.db import Database
from distrib.errors import DistribError, InvalidInput
from distrib.tree import facts, queries, service
from tests import factories
from tests.tree.helpers import day, enrol, enrol_all, findings, history, move, upline


def test_a_distributor_is_enrolled_with_all_it_states(db: Database, brand: Brand) -> None:
    enrol(db, brand, "A", joined_at=day(1))
    made = enrol(db, brand, "B", "A", name=" 王小明 ", code="wang", joined_at=day(2))
    with db.transaction() as session:
        for found in (
            queries.get_distributor(session, brand_id=brand.id, external_id="B"),
            queries.get_distributor(session, brand_id=brand.id, code="wang"),
            queries.get_distributor(session, brand_id=brand.id, distributor_id=made.id),
        ):
            assert (found.id, found.external_id, found.name) == (made.id, "B", "王小明")
            assert (found.code, found.status, found.joined_at) == ("wang", "active", day(2))
    assert [(p.sponsor, p.valid_from, p.valid_to) for p in history(db, brand, "B")] == [
        ("A", day(2), None)
    ]
    assert upline(db, brand, "B", day(2)) == "A"
    assert upline(db, brand, "B", day(1.9)) == ""
    assert not findings(db, brand)


def test_without_a_code_the_id_is_the_code(db: Database, brand: Brand) -> None:
    made = enrol(db, brand, "A")
    assert ids.parse("x", f"x_{made.code}") == made.id


def test_without_a_day_it_joins_now_but_not_before_its_sponsor(db: Database, brand: Brand) -> None:
    with clock.travel(day(5)):
        enrol(db, brand, "A", joined_at=None)
    with clock.travel(day(4)):  # a process whose clock is behind
        late = enrol(db, brand, "B", "A", joined_at=None)
    assert late.joined_at == day(5)


@pytest.mark.parametrize(
    "changes, error, field",
    [
        ({"external_id": ""}, InvalidInput, "external_id"),
        ({"external_id": " B"}, InvalidInput, "external_id"),
        ({"external_id": "B\0"}, InvalidInput, "external_id"),
        ({"external_id": "B\n2"}, InvalidInput, "external_id"),
        ({"external_id": "\ud800"}, InvalidInput, "external_id"),
        ({"external_id": "x" * 201}, InvalidInput, "external_id"),
        ({"name": ""}, InvalidInput, "name"),
        ({"name": "  "}, InvalidInput, "name"),
        ({"name": "x" * 201}, InvalidInput, "name"),
        ({"name": "x\0y"}, InvalidInput, "name"),
        ({"name": "\uffff"}, InvalidInput, "name"),
        ({"code": ""}, InvalidInput, "code"),
        ({"code": "x" * 65}, InvalidInput, "code"),
        ({"code": "no space"}, InvalidInput, "code"),
        ({"code": "é"}, InvalidInput, "code"),
        ({"code": "x\n"}, InvalidInput, "code"),
        ({"joined_at": datetime(2025, 1, 1)}, InvalidInput, "joined_at"),  # noqa: DTZ001
        ({"joined_at": datetime(2999, 1, 1, tzinfo=UTC)}, InvalidInput, "joined_at"),
        ({"joined_at": datetime(1969, 12, 31, tzinfo=UTC)}, InvalidInput, "joined_at"),
        (
            {"joined_at": datetime.min.replace(tzinfo=timezone(timedelta(hours=8)))},
            InvalidInput,
            "joined_at",
        ),
        (
            {"joined_at": datetime.max.replace(tzinfo=timezone(-timedelta(hours=8)))},
            InvalidInput,
            "joined_at",
        ),
        ({"joined_at": day(-1)}, facts.JoinedBeforeSponsor, "joined_at"),
        ({"sponsor": "nobody"}, facts.SponsorNotFound, "sponsor"),
        ({"sponsor": ""}, facts.SponsorNotFound, "sponsor"),
        ({"sponsor": "\0"}, facts.SponsorNotFound, "sponsor"),
        ({"sponsor": "\ud800"}, facts.SponsorNotFound, "sponsor"),
        ({"sponsor": "a"}, facts.SponsorNotFound, "sponsor"),
        ({"sponsor": "B"}, facts.SelfSponsorship, "sponsor"),
        ({"code": "taken"}, facts.CodeTaken, "code"),
    ],
)
def test_what_cannot_be_is_refused(
    db: Database, brand: Brand, changes: dict[str, Any], error: type[DistribError], field: str
) -> None:
    enrol(db, brand, "A", code="taken")
    stated: dict[str, Any] = {"external_id": "B", "sponsor": "A"} | changes
    with pytest.raises(error) as refused:
        enrol(db, brand, **stated)
    assert refused.value.field == field
    assert refused.value.status == (409 if error is facts.CodeTaken else 422)
    refused.value.problem()["detail"].encode()  # can be written into an answer
    with db.transaction() as session:
        page = queries.list_distributors(session, brand_id=brand.id)
    assert [each.external_id for each in page.distributors] == ["A"]


def test_letters_of_any_script_are_kept(db: Database, brand: Brand) -> None:
    name = "👩‍👩‍👧 محمد  Zoë　全角 " + "长" * 150
    assert enrol(db, brand, "Ünï-码/7 x", name=name).name == name.strip()
    with db.transaction() as session:
        queries.get_distributor(session, brand_id=brand.id, external_id="Ünï-码/7 x")


def test_another_brand_s_sponsor_is_unknown_here(db: Database, brand: Brand) -> None:
    other = factories.brand(db)
    enrol(db, other, "A")
    with pytest.raises(facts.SponsorNotFound):
        enrol(db, brand, "B", "A")
    enrol(db, brand, "A", code="same")  # the same names, of somebody else
    enrol(db, other, "B", "A", code="same")


@pytest.mark.parametrize(
    "changes, same",
    [
        ({}, True),
        ({"joined_at": None}, True),
        ({"code": None}, True),
        ({"name": " B "}, True),
        ({"joined_at": day(1).astimezone(timezone(timedelta(hours=8)))}, True),
        ({"name": "b"}, False),
        ({"code": "other"}, False),
        ({"joined_at": day(2)}, False),
        ({"sponsor": None}, False),
        ({"sponsor": "C"}, False),
    ],
)
def test_enrolling_again(db: Database, brand: Brand, changes: dict[str, Any], same: bool) -> None:
    enrol_all(db, brand, "A C")
    first: dict[str, Any] = {"external_id": "B", "sponsor": "A", "code": "bee", "joined_at": day(1)}
    made = enrol(db, brand, **first)
    if same:
        again = enrol(db, brand, **first | changes)
        assert (again.id, again.joined_at) == (made.id, made.joined_at)
    else:
        with pytest.raises(facts.DistributorExists) as refused:
            enrol(db, brand, **first | changes)
        assert refused.value.status == 409
    assert len(history(db, brand, "B")) == 1


def test_enrolling_again_after_a_move_may_name_the_first_or_the_present_sponsor(
    db: Database, brand: Brand
) -> None:
    enrol_all(db, brand, "A C D A>B")
    move(db, brand, "B", "D")
    move(db, brand, "B", "C")
    before = history(db, brand, "B")
    enrol(db, brand, "B", "A")
    enrol(db, brand, "B", "C")
    with pytest.raises(facts.DistributorExists):
        enrol(db, brand, "B", "D")
    assert history(db, brand, "B") == before


def test_suspending_and_reactivating(db: Database, brand: Brand) -> None:
    enrol(db, brand, "A")
    for verb, status in (
        (service.suspend_distributor, "suspended"),
        (service.suspend_distributor, "suspended"),
        (service.reactivate_distributor, "active"),
    ):
        with db.transaction() as session:
            queries.get_distributor(session, brand_id=brand.id, external_id="A")
            assert verb(session, brand_id=brand.id, distributor="A").status == status
        with db.transaction() as session:
            found = queries.get_distributor(session, brand_id=brand.id, external_id="A")
            assert found.status == status
    with db.transaction() as session, pytest.raises(facts.DistributorNotFound):
        service.suspend_distributor(session, brand_id=brand.id, distributor="\0")


def test_a_distributor_is_named_in_one_way(db: Database, brand: Brand) -> None:
    with db.transaction() as session:
        with pytest.raises(TypeError):
            queries.get_distributor(session, brand_id=brand.id)
        with pytest.raises(TypeError):
            queries.get_distributor(session, brand_id=brand.id, external_id="A", code="A")
        for name in ("nobody", "", "\0", "\udcff"):
            with pytest.raises(facts.DistributorNotFound):
                queries.get_distributor(session, brand_id=brand.id, external_id=name)
