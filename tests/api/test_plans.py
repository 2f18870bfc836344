"""Plans over HTTP."""

from __future__ import annotations

from typing import Any

import pytest

from tests import factories
from tests.api.conftest import Caller, order

_PLAN = factories.document("10%", "5%", "2%")


def test_a_plan_is_published_listed_and_shown(api: Caller) -> None:
    first = api.post(201, "/plans", {"document": _PLAN})
    assert (first["number"], first["document"], first["published_by"]) == (1, _PLAN, "tests")
    second = api.post(201, "/plans", {"document": factories.document("9%")})
    assert [each["number"] for each in api.get("/plans")["items"]] == [2, 1]
    assert api.get("/plans/1") == first
    assert api.get("/plans/2") == second


def test_publishing_the_same_again_changes_nothing(api: Caller) -> None:
    first = api.post(201, "/plans", {"document": _PLAN})
    assert api.post(200, "/plans", {"document": _PLAN}) == first


@pytest.mark.parametrize(
    "document, field",
    [
        ({}, "document.rules"),
        ({"rules": []}, "document.rules"),
        ({"rules": [{"rates": ["10"]}]}, "document.rules[0].rates[0]"),
        ({"rules": [{"rates": [0.1]}]}, "document.rules[0].rates[0]"),
        ({"rules": [{"rates": ["60%", "50%"]}]}, "document.rules[0].rates"),
        ({"rules": [{"rates": ["1%", "1%", "1%", "1%"]}]}, "document.rules[0].rates"),
        ({"rules": [{"rates": ["1%"]}] * 2}, "document.rules[1].match"),
        ({"rules": [{"rates": ["1%"], "when": 1}]}, "document.rules[0].when"),
        ({"rules": [{"rates": ["1%"]}], "name": "\ud800"}, "document.name"),
        (
            {"rules": [{"rates": ["1%"], "match": {"sku": ["a\0"]}}]},
            "document.rules[0].match.sku[0]",
        ),
        ([], "document"),
        ("plan", "document"),
        (None, "document"),
    ],
)
@pytest.mark.parametrize("path", ["/plans", "/plans/validate"])
def test_a_wrong_document_names_the_place(
    api: Caller, path: str, document: Any, field: str
) -> None:
    assert api.refused(422, "POST", path, {"document": document}) == [field]
    assert api.get("/plans")["items"] == []


def test_a_document_can_be_tried_without_publishing(api: Caller) -> None:
    told = api.post(200, "/plans/validate", {"document": factories.document("12.5%", tea=["4%"])})
    assert told["valid"] is True
    assert [(each["matches"], each["rates"]) for each in told["rules"]] == [
        ("default", ["12.5%"]),
        ("category", ["4%"]),
    ]
    assert api.get("/plans")["items"] == []


def test_a_plan_cannot_reprice_orders_taken(shop: Caller) -> None:
    shop.post(201, "/orders", order())
    early = {"document": _PLAN, "effective_from": factories.NOON.isoformat()}
    assert shop.refused(409, "POST", "/plans", early) == ["effective_from"]


@pytest.mark.parametrize(
    "instant", ["2026-03-01", "2026-03-01T00:00:00", "soon", 7, "9999-12-31T23:59:59-14:00", ""]
)
def test_an_instant_has_a_zone_and_lies_in_our_time(api: Caller, instant: Any) -> None:
    body = {"document": _PLAN, "effective_from": instant}
    assert api.refused(422, "POST", "/plans", body) == ["effective_from"]


@pytest.mark.parametrize("number", ["0", "99", "2147483647", "2147483648", "-1", "one"])
def test_an_unknown_version_is_not_found(api: Caller, number: str) -> None:
    api.send(404, "GET", f"/plans/{number}")
