"""Distributors and their tree over HTTP."""

from __future__ import annotations

from typing import Any

import pytest

from distrib.brands.tables import Brand
from distrib.db import Database
from tests import factories
from tests.api.conftest import NOW, Caller, order


def _enrol(api: Caller, external_id: str, sponsor: str | None = None, **more: Any) -> Any:
    body = {"external_id": external_id, "name": external_id.title(), "sponsor": sponsor} | more
    return api.post(201, "/distributors", body)


def test_a_distributor_is_enrolled_and_shown_by_either_name(api: Caller) -> None:
    _enrol(api, "bo")
    made = _enrol(api, "ann", "bo", code="ANN10")
    assert (made["sponsor"], made["code"], made["status"]) == ("bo", "ANN10", "active")
    shown = api.get("/distributors/ann")
    assert shown == api.get(f"/distributors/{made['id']}")
    assert shown.items() >= made.items()
    assert [each["sponsor"] for each in shown["sponsorships"]] == ["bo"]


def test_enrolling_again_is_no_news_but_other_facts_contradict(api: Caller) -> None:
    made = _enrol(api, "ann")
    assert api.post(200, "/distributors", {"external_id": "ann", "name": "Ann"}) == made
    api.refused(409, "POST", "/distributors", {"external_id": "ann", "name": "Anna"})


@pytest.mark.parametrize(
    "change, fields",
    [
        ({"external_id": ""}, ["external_id"]),
        ({"external_id": " ann"}, ["external_id"]),
        ({"external_id": 7}, ["external_id"]),
        ({"name": None}, ["name"]),
        ({"sponsor": "nobody"}, ["sponsor"]),
        ({"sponsor": "ann"}, ["sponsor"]),
        ({"code": "not a code"}, ["code"]),
        ({"joined_at": "2026-03-01"}, ["joined_at"]),
        ({"joined_at": "2199-03-01T00:00:00Z"}, ["joined_at"]),
        ({"sponsr": "bo"}, ["sponsr"]),
        ({"name": "a\0b", "code": "\0"}, ["name", "code"]),
        ({"name": "\ud83d"}, ["name"]),
    ],
)
def test_a_wrong_field_is_named(api: Caller, change: dict[str, Any], fields: list[str]) -> None:
    body = {"external_id": "ann", "name": "Ann"} | change
    assert api.refused(422, "POST", "/distributors", body) == fields
    assert api.get("/distributors")["items"] == []


def test_an_external_id_may_look_like_anything(api: Caller) -> None:
    for name in ("dst_nonsense", "a/b", "a?b&c", "安娜 🍵", "%"):
        made = _enrol(api, name)
        assert api.get(f"/distributors/{made['id']}")["external_id"] == name
    assert api.get("/distributors/dst_nonsense")["name"] == "Dst_Nonsense"
    assert api.get("/distributors/安娜 🍵")["external_id"] == "安娜 🍵"


@pytest.mark.parametrize("ref", ["nobody", "dst_000000000001", "dst_", "%00", "x" * 999])
@pytest.mark.parametrize(
    "method, path",
    [
        ("GET", ""),
        ("POST", "/move"),
        ("POST", "/suspend"),
        ("POST", "/reactivate"),
        ("GET", "/upline"),
        ("GET", "/downline"),
        ("GET", "/statement"),
        ("GET", "/earnings"),
        ("GET", "/payouts"),
    ],
)
def test_who_is_unknown_is_not_found(api: Caller, ref: str, method: str, path: str) -> None:
    body = {"sponsor": None} if path == "/move" else None
    api.send(404, method, f"/distributors/{ref}{path}", body)


def test_lists_are_filtered_and_sorted(shop: Caller) -> None:
    shop.post(200, "/distributors/bo/suspend")

    def names(**query: Any) -> list[str]:
        return [each["external_id"] for each in shop.get("/distributors", **query)["items"]]

    assert names() == ["cy", "bo", "ann"]
    assert names(sort="-enrolment") == ["ann", "bo", "cy"]
    assert names(sort="external_id") == ["ann", "bo", "cy"]
    assert names(sort="-external_id") == ["cy", "bo", "ann"]
    assert names(status="suspended") == ["bo"]
    assert names(sponsor="cy") == ["bo"]
    assert names(q="AN") == ["ann"]
    assert names(q="%") == []


@pytest.mark.parametrize(
    "query, field",
    [
        ({"status": "asleep"}, "status"),
        ({"sponsor": "nobody"}, "sponsor"),
        ({"sort": "name"}, "sort"),
        ({"limit": "0"}, "limit"),
        ({"limit": "201"}, "limit"),
        ({"limit": "many"}, "limit"),
        ({"cursor": "nonsense"}, "cursor"),
        ({"page": "2"}, "page"),
        ({"q": "\0"}, "q"),
    ],
)
def test_a_wrong_query_names_the_field(shop: Caller, query: dict[str, str], field: str) -> None:
    assert shop.refused(422, "GET", "/distributors", query=query) == [field]


def test_a_move_opens_a_new_sponsorship(shop: Caller) -> None:
    moved = shop.post(200, "/distributors/ann/move", {"sponsor": "cy"})
    assert moved["sponsor"] == "cy"
    assert [each["sponsor"] for each in moved["sponsorships"]] == ["bo", "cy"]
    assert moved["sponsorships"][0]["valid_to"] == moved["sponsorships"][1]["valid_from"]
    below = shop.get("/distributors/cy/downline")["items"]
    assert [each["external_id"] for each in below] == ["bo", "ann"]
    root = shop.post(200, "/distributors/ann/move", {"sponsor": None})
    assert root["sponsor"] is None


@pytest.mark.parametrize(
    "body, status, fields",
    [
        ({}, 422, ["sponsor"]),
        ({"sponsor": "nobody"}, 422, ["sponsor"]),
        ({"sponsor": "cy"}, 422, ["sponsor"]),
        ({"sponsor": "ann"}, 409, ["sponsor"]),
        ({"sponsor": None, "at": "2199-01-01T00:00:00Z"}, 422, ["at"]),
    ],
)
def test_a_move_that_cannot_be(
    shop: Caller, body: dict[str, Any], status: int, fields: list[str]
) -> None:
    assert shop.refused(status, "POST", "/distributors/cy/move", body) == fields


def test_a_move_does_not_reach_back_before_orders(shop: Caller) -> None:
    shop.post(201, "/orders", order())
    body = {"sponsor": "cy", "at": (factories.NOON - factories.days(1)).isoformat()}
    assert shop.refused(409, "POST", "/distributors/ann/move", body) == ["at"]


def test_the_upline_is_that_of_its_time(shop: Caller) -> None:
    later = shop.at(NOW + factories.days(1))
    later.post(200, "/distributors/ann/move", {"sponsor": "cy"})
    before = later.get("/distributors/ann/upline", at=NOW.isoformat())
    assert [(each["level"], each["external_id"]) for each in before["upline"]] == [
        (1, "bo"),
        (2, "cy"),
    ]
    assert [each["external_id"] for each in later.get("/distributors/ann/upline")["upline"]] == [
        "cy"
    ]


def test_suspending_and_reactivating_can_be_said_twice(shop: Caller) -> None:
    for verb, status in (("suspend", "suspended"), ("reactivate", "active")):
        for _ in range(2):
            assert shop.post(200, f"/distributors/ann/{verb}")["status"] == status


def test_the_tree_is_reported(shop: Caller, db: Database, brand: Brand) -> None:
    factories.enrol(db, brand, {"dee": "cy"})
    report = shop.get("/tree/report")
    assert (report["distributors"], report["roots"], report["is_forest"]) == (4, 1, True)
    assert report["depths"] == [1, 2, 1]
    assert report["largest"][0]["external_id"] == "cy"
    long_before = (factories.LONG_AGO - factories.days(1)).isoformat()
    assert shop.get("/tree/report", at=long_before)["distributors"] == 0
