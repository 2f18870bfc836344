"""Lists are complete, page by page, whatever is added meanwhile."""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest

from distrib.brands.tables import Brand
from distrib.db import Database
from tests import factories
from tests.api.conftest import NOW, Caller, order

_COUNT = 5


def _fill(api: Caller, db: Database, brand: Brand) -> None:
    """Several of everything that can be listed, some of it at the same instant."""
    for n in range(_COUNT):
        api.post(201, "/plans", {"document": factories.document(f"{n + 1}%", "1%")})
    names = {"top": None} | {f"d-{n}": "top" for n in range(_COUNT)}
    factories.enrol(db, brand, names)
    later = api.at(NOW + factories.days(20))
    for n in range(_COUNT):
        placed_at = (NOW + factories.days(n // 2)).isoformat()
        body = order(f"A-{n}", 100_000, 50_000, distributor="d-0", placed_at=placed_at)
        later.post(201, "/orders", body)
    for n in range(1, _COUNT):  # too little to be paid
        body = order(f"C-{n}", 1_000, distributor=f"d-{n}", placed_at=NOW.isoformat())
        later.post(201, "/orders", body)
    much_later = api.at(NOW + factories.days(90))
    for n in range(_COUNT):
        much_later.post(201, "/settlement/batches", {})
        if n < _COUNT - 1:
            much_later.post(200, f"/settlement/batches/{n + 1}/cancel")
    last = f"/settlement/batches/{_COUNT}"
    much_later.post(200, f"{last}/payouts/1/hold", {"reason": "to see"})
    for n in range(_COUNT):  # what comes in now is open for the next
        body = order(f"B-{n}", 100_000, distributor=f"d-{n}", placed_at=NOW.isoformat())
        much_later.post(201, "/orders", body)


_LISTS: list[tuple[str, str, dict[str, Any]]] = [
    ("/plans", "number", {}),
    ("/distributors", "id", {}),
    ("/distributors", "id", {"sort": "-enrolment"}),
    ("/distributors", "id", {"sort": "joined_at"}),
    ("/distributors", "id", {"sort": "-joined_at"}),
    ("/distributors", "id", {"sort": "external_id"}),
    ("/distributors", "id", {"sort": "-external_id", "q": "D-"}),
    ("/distributors/top/downline", "id", {}),
    ("/orders", "id", {}),
    ("/orders", "id", {"sort": "placed_at"}),
    ("/orders", "id", {"shop": "web", "distributor": "d-0"}),
    ("/commissions", "source_id line_no level", {}),
    ("/commissions", "source_id line_no level", {"distributor": "d-0"}),
    ("/commissions", "source_id line_no level", {"distributor": "top", "level": 2}),
    ("/distributors/d-0/earnings", "source_id", {}),
    ("/distributors/d-0/payouts", "batch", {}),
    ("/settlement/batches", "number", {}),
    (f"/settlement/batches/{_COUNT}/payouts", "no", {}),
    ("/settlement/payouts", "batch no", {"distributor": "d-0"}),
    ("/settlement/preview/lines", "distributor", {"cutoff": "2026-12-31"}),
    (f"/settlement/batches/{_COUNT}/exclusions", "distributor", {}),
    (f"/settlement/batches/{_COUNT}/events", "id", {}),
    (f"/settlement/batches/{_COUNT - 1}/postings", "id", {}),
]


def _names(items: list[Any], key: str) -> list[tuple[Any, ...]]:
    return [tuple(item[part] for part in key.split()) for item in items]


def test_the_pages_of_every_list_together_are_the_list(
    api: Caller, db: Database, brand: Brand
) -> None:
    _fill(api, db, brand)
    for path, key, query in _LISTS:
        whole = _names(api.get(path, **query)["items"], key)
        assert len(whole) == len(set(whole)) > 1, path
        for limit in (1, 3, len(whole)):
            pages = api.pages(path, limit, **query)
            assert _names([item for page in pages for item in page], key) == whole, path
            assert all(len(page) == limit for page in pages[:-1]), path
            assert pages[-1], path


def test_an_operators_lists_come_in_pages(operator: Caller, db: Database) -> None:
    mine = [factories.brand(db).slug for _ in range(4)]
    keys = f"/brands/{mine[0]}/keys"
    for n in range(4):
        operator.post(201, keys, {"name": f"key {n}"})
    found = [item["slug"] for page in operator.pages("/brands", 2) for item in page]
    assert [slug for slug in found if slug in mine] == mine[::-1]
    named = [item["name"] for page in operator.pages(keys, 1) for item in page]
    assert named == ["key 3", "key 2", "key 1", "key 0"]


@pytest.mark.parametrize("sort", ["placed_at", "-placed_at"])
def test_what_is_added_meanwhile_neither_repeats_nor_hides(shop: Caller, sort: str) -> None:
    def take(name: str, day: int) -> None:
        placed_at = (NOW + factories.days(day)).isoformat()
        body = order(name, placed_at=placed_at)
        shop.at(NOW + factories.days(40)).post(201, "/orders", body)

    for n in range(10):
        take(f"there-{n}", 2 * n)
    seen, cursor, added = [], None, 0
    while True:
        query = {"limit": 3, "sort": sort} | ({"cursor": cursor} if cursor else {})
        page = shop.get("/orders", **query)
        seen += [item["external_id"] for item in page["items"]]
        cursor = page["next"]
        if cursor is None:
            break
        for day in (0, 9, 19, 20):
            take(f"added-{added}", day)
            added += 1
        assert added < 40
    there = [name for name in seen if name.startswith("there")]
    assert sorted(there) == sorted(f"there-{n}" for n in range(10))
    assert len(seen) == len(set(seen))


def _forge(*values: Any) -> str:
    return base64.urlsafe_b64encode(json.dumps(values).encode()).decode().rstrip("=")


@pytest.mark.parametrize(
    "cursor",
    [
        "x", "!!!!", "%00", "e30", "bnVsbA", "Ww", "WyJ",
        _forge(), _forge("orders -placed_at"), _forge("orders placed_at", "2026-03-01", 1),
        _forge("orders -placed_at", "2026-03-01T00:00:00+00:00"),
        _forge("orders -placed_at", "2026-03-01T00:00:00", 1),
        _forge("orders -placed_at", "2026-03-01T00:00:00+00:00", "1"),
        _forge("orders -placed_at", "2026-03-01T00:00:00+00:00", 1.5),
        _forge("orders -placed_at", "2026-03-01T00:00:00+00:00", True),
        _forge("orders -placed_at", "2026-03-01T00:00:00+00:00", 1 << 64),
        _forge("orders -placed_at", "2026-03-01T00:00:00+00:00", 1, 1),
        _forge("orders -placed_at", None, 1),
        _forge("orders -placed_at", "\x00", 1),
        _forge([], "2026-03-01T00:00:00+00:00", 1),
        "W" * 1_000, "é",
    ],
)  # fmt: skip
def test_a_wrong_cursor_is_named(shop: Caller, cursor: str) -> None:
    assert shop.refused(422, "GET", "/orders", query={"cursor": cursor}) == ["cursor"]


def test_a_cursor_is_for_its_own_list(shop: Caller) -> None:
    cursor = shop.get("/distributors", limit=1)["next"]
    assert shop.get("/distributors", cursor=cursor)["items"]
    for path, query in (
        ("/distributors", {"sort": "external_id"}),
        ("/orders", {}),
        ("/settlement/batches", {}),
    ):
        found = shop.refused(422, "GET", path, query=query | {"cursor": cursor})
        assert found == ["cursor"]
