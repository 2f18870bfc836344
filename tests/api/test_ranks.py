"""Ranks by API: given by hand, earned by sales, and their history."""

from __future__ import annotations

import pytest

from distrib.brands.tables import Brand
from distrib.db import Database
from tests import factories
from tests.api.conftest import NOW, Caller

PLAN = {
    "ranks": [
        {"name": "silver", "month_volume": "100.00"},
        {"name": "gold", "month_volume": "500.00"},
    ],
    "rules": [{"difference": {"silver": "10%", "gold": "15%"}}],
}


@pytest.fixture
def ranked(api: Caller, db: Database, brand: Brand) -> Caller:
    """A brand whose plan pays by rank; in February ann sold 600.00, and bo 100.00."""
    factories.plan(db, brand, plan_document=PLAN)
    factories.trio(db, brand)
    for number, (who, amount) in enumerate((("ann", 60_000), ("bo", 10_000), ("cy", 9_999))):
        factories.take(
            db,
            brand,
            factories.order(
                f"o-{number}", amount, distributor=who, placed_at=NOW - factories.days(5)
            ),
        )
    return api


def test_a_rank_given_by_hand(ranked: Caller) -> None:
    for _ in range(2):
        assert ranked.post(200, "/distributors/cy/rank", {"rank": "gold"})["external_id"] == "cy"
    (only,) = ranked.get("/distributors/cy/standings")["items"]
    assert (only["rank"], only["source"], only["status"]) == ("gold", "hand", "active")
    ranked.post(200, "/distributors/cy/suspend")
    ranked.post(200, "/distributors/cy/rank", {"rank": None})
    history = ranked.get("/distributors/cy/standings")["items"]
    assert [(each["status"], each["rank"]) for each in history] == [
        ("suspended", None),
        ("suspended", "gold"),
        ("active", "gold"),
    ]
    ranked.send(422, "POST", "/distributors/cy/rank", {"rank": " "})
    ranked.send(422, "POST", "/distributors/cy/rank", {})


def test_ranks_earned_by_sales(ranked: Caller) -> None:
    ranked.post(200, "/distributors/cy/rank", {"rank": "gold"})
    done = ranked.post(200, "/ranks/evaluate", {})
    assert done == {"month": "2026-02-01", "earned": {"silver": 1, "gold": 1}, "changed": 2}
    assert ranked.post(200, "/ranks/evaluate", {"month": "2026-02-28"})["changed"] == 0
    ranks = {
        who: [each["rank"] for each in ranked.get(f"/distributors/{who}/standings")["items"]]
        for who in ("ann", "bo", "cy")
    }
    assert ranks == {"ann": ["gold"], "bo": ["silver"], "cy": ["gold"]}
    # nobody sold in March: what was earned is lost, what was given stays
    assert ranked.post(200, "/ranks/evaluate", {"month": "2026-03-01"})["changed"] == 2
    assert ranked.get("/distributors/cy/standings")["items"][0]["rank"] == "gold"
    assert ranked.get("/distributors/ann/standings")["items"][0]["rank"] is None


def test_a_plan_without_earned_ranks(shop: Caller) -> None:
    shop.send(409, "POST", "/ranks/evaluate", {})
