"""Lists of distributors, page by page."""

from __future__ import annotations

import contextlib
import itertools

import pytest

from distrib.brands.tables import Brand
from distrib.db import Database
from distrib.errors import InvalidInput
from distrib.tree import facts, service
from distrib.tree.facts import DistributorStatus
from distrib.tree.queries import Place, SortBy, list_distributors
from tests import factories
from tests.tree.helpers import day, enrol, enrol_all, move


def names_of(db: Database, brand: Brand, **options: object) -> list[str]:
    """External ids of all pages together."""
    names: list[str] = []
    after: Place | None = None
    for _ in range(100):
        with db.transaction() as session:
            page = list_distributors(session, brand_id=brand.id, after=after, **options)  # type: ignore[arg-type]
        names += [each.external_id for each in page.distributors]
        after = page.after
        if after is None:
            return names
        assert len(page.distributors) == options["limit"]
    raise AssertionError("the list does not end")


@pytest.mark.parametrize("limit", [1, 2, 3, 6, 7, 50])
@pytest.mark.parametrize(
    "sort, expected",
    [
        (SortBy.ENROLMENT, "CAFBED"),
        (SortBy.EXTERNAL_ID, "ABCDEF"),
        (SortBy.JOINED_AT, "DCAFBE"),  # A, B and F joined at once
    ],
)
def test_pages_show_everybody_once(
    db: Database, brand: Brand, limit: int, sort: SortBy, expected: str
) -> None:
    enrol(db, factories.brand(db), "theirs")
    for name in "CAFBED":
        joined_at = day({"D": 0, "C": 1, "E": 9}.get(name, 5))
        enrol(db, brand, name, joined_at=joined_at)
    for descending in (False, True):
        found = names_of(db, brand, sort=sort, limit=limit, descending=descending)
        assert found == list(expected[::-1] if descending else expected)


def test_filters(db: Database, brand: Brand) -> None:
    enrol_all(db, brand, "A A>B A>C B>D")
    enrol(db, brand, "x%1", name="50% off")
    enrol(db, brand, "x_2", name="Ämilie")
    enrol(db, brand, "X\\3", name="王小明")
    move(db, brand, "C", "B")
    with db.transaction() as session:
        service.suspend_distributor(session, brand_id=brand.id, distributor="D")
    for options, expected in (
        ({"sponsor": "A"}, ["B"]),
        ({"sponsor": "B"}, ["C", "D"]),
        ({"sponsor": "B", "status": DistributorStatus.ACTIVE}, ["C"]),
        ({"status": DistributorStatus.SUSPENDED}, ["D"]),
        ({"q": "x"}, ["x%1", "x_2", "X\\3"]),
        ({"q": "X%"}, ["x%1"]),
        ({"q": "x_"}, ["x_2"]),
        ({"q": "x\\"}, ["X\\3"]),
        ({"q": "50%"}, ["x%1"]),
        ({"q": "王小"}, ["X\\3"]),
        ({"q": "小"}, []),
        ({"q": "\0"}, []),
        ({"q": ""}, ["A", "B", "C", "D", "x%1", "x_2", "X\\3"]),
    ):
        for limit in (1, 50):
            assert names_of(db, brand, limit=limit, **options) == expected
    with pytest.raises(facts.SponsorNotFound):
        names_of(db, brand, sponsor="nobody", limit=1)


def test_a_place_in_another_list_is_refused_or_harmless(db: Database, brand: Brand) -> None:
    enrol_all(db, brand, "A B")
    values = ("", "x", "\0", "2025-01-01", "0001-01-01T00:00Z", "9999-12-31T23:00-10:00", "\ud800")
    for sort, value in itertools.product(SortBy, values):
        with db.transaction() as session:
            place = Place(value, 7)
            with contextlib.suppress(InvalidInput):
                list_distributors(session, brand_id=brand.id, sort=sort, after=place, limit=5)
    with db.transaction() as session, pytest.raises(InvalidInput, match="no place in this list"):
        list_distributors(session, brand_id=brand.id, sort=SortBy.JOINED_AT, after=Place("x", 7))
    with db.transaction() as session, pytest.raises(InvalidInput, match="no place in this list"):
        list_distributors(session, brand_id=brand.id, after=Place("x", 1 << 63))
