"""Plan drafts, comparisons, settings and acknowledgements over HTTP."""

from __future__ import annotations

from typing import Any

import pytest

from distrib.brands import service as brands
from distrib.brands.tables import Brand
from distrib.db import Database
from tests import factories
from tests.api.conftest import NOW, Caller, make_caller

_ONE, _TWO = factories.document("10%"), factories.document("12%", tea=["4%"])


@pytest.fixture
def finance(db: Database, api: Caller, brand: Brand) -> Caller:
    """Somebody else of the same brand."""
    with db.transaction() as session:
        key = brands.create_key(session, brand_id=brand.id, name="finance")
    return Caller(api.app, api.contract, key)


def test_a_draft_is_written_approved_and_published(api: Caller, finance: Caller) -> None:
    made = api.post(201, "/plans/drafts", {"document": _ONE})
    assert (made["number"], made["state"], made["created_by"]) == (1, "draft", "tests")
    approval = {"content_hash": made["content_hash"]}
    assert api.refused(409, "POST", "/plans/drafts/1/approve", approval) == ["approved_by"]
    approved = finance.post(200, "/plans/drafts/1/approve", approval)
    assert (approved["state"], approved["approved_by"]) == ("approved", "finance")

    changed = api.post(200, "/plans/drafts/1", {"document": _TWO})
    assert (changed["state"], changed["approved_by"]) == ("draft", None)
    assert finance.refused(409, "POST", "/plans/drafts/1/approve", approval) == ["content_hash"]
    assert api.refused(409, "POST", "/plans/drafts/1/publish", {}) == ["state"]
    finance.post(200, "/plans/drafts/1/approve", {"content_hash": changed["content_hash"]})

    begins = (NOW + factories.days(1)).isoformat()
    version = api.post(200, "/plans/drafts/1/publish", {"effective_from": begins})
    assert (version["number"], version["state"], version["document"]) == (1, "scheduled", _TWO)
    shown = api.get("/plans/drafts/1")
    assert (shown["state"], shown["version_id"]) == ("published", version["id"])
    assert api.refused(409, "POST", "/plans/drafts/1/discard") == ["state"]
    assert api.at(NOW + factories.days(1)).get("/plans/1")["state"] == "in_force"


def test_drafts_are_listed_and_discarded(api: Caller) -> None:
    for document in (_ONE, _TWO):
        api.post(201, "/plans/drafts", {"document": document})
    for _ in range(2):
        assert api.post(200, "/plans/drafts/1/discard")["state"] == "discarded"
    listed = api.get("/plans/drafts")["items"]
    assert [(each["number"], each["state"]) for each in listed] == [(2, "draft"), (1, "discarded")]
    assert "document" not in listed[0]
    assert [each["number"] for each in api.get("/plans/drafts", state="draft")["items"]] == [2]
    assert [len(page) for page in api.pages("/plans/drafts", 1)] == [1, 1]


def test_a_wrong_draft_names_the_place(api: Caller) -> None:
    wrong = {"document": {"rules": [{"rates": ["110%"]}]}}
    fields = ["document.rules[0].rates[0]"]
    assert api.refused(422, "POST", "/plans/drafts", wrong) == fields
    api.post(201, "/plans/drafts", {"document": _ONE})
    assert api.refused(422, "POST", "/plans/drafts/1", wrong) == fields
    unknown = {"document": factories.document() | {"rules": [
        {"match": {"distributor": ["nobody"]}, "rates": ["1%"]}
    ]}}  # fmt: skip
    place = ["document.rules[0].match.distributor[0]"]
    for path in ("/plans/drafts", "/plans", "/plans/validate"):
        assert api.refused(422, "POST", path, unknown) == place


@pytest.mark.parametrize("number", ["0", "7", "2147483648", "x"])
@pytest.mark.parametrize("path", ["", "/changes"])
def test_an_unknown_draft_is_not_found(api: Caller, number: str, path: str) -> None:
    api.send(404, "GET", f"/plans/drafts/{number}{path}")


def test_what_a_draft_changes_is_told(api: Caller) -> None:
    api.post(201, "/plans", {"document": _ONE})
    api.post(201, "/plans/drafts", {"document": _TWO})
    changes = api.get("/plans/drafts/1/changes")["changes"]
    assert [each["words"] for each in changes] == [
        "rule 'default': level 1 from 10% to 12%",
        "rule 'tea' added: category tea pays 4%",
    ]
    assert changes[0] == {
        "kind": "changed",
        "part": "rule",
        "name": "default",
        "aspect": "rates[0]",
        "before": "10%",
        "after": "12%",
        "words": changes[0]["words"],
    }


def test_versions_are_compared(api: Caller) -> None:
    for document in (_ONE, _TWO):
        api.post(201, "/plans", {"document": document})
    there = api.get("/plans/1/diff/2", language="zh")["changes"]
    assert there[0]["words"] == "规则“default”：第 1 级由 10% 改为 12%"
    back = api.get("/plans/2/diff/1")["changes"]
    assert [each["kind"] for each in back] == ["changed", "removed"]
    assert api.get("/plans/1/diff/1")["changes"] == []
    for path in ("/plans/1/diff/3", "/plans/3/diff/1"):
        api.send(404, "GET", path)
    assert api.refused(422, "GET", "/plans/1/diff/2", query={"language": "fr"}) == ["language"]


def test_where_versions_stand(api: Caller) -> None:
    for n in range(3):
        at = (NOW + factories.days(n - 1)).isoformat()
        api.post(201, "/plans", {"document": factories.document(f"{n}%"), "effective_from": at})
    listed = [each["state"] for each in api.get("/plans")["items"]]
    assert listed == ["scheduled", "in_force", "superseded"]
    assert [api.get(f"/plans/{n}")["state"] for n in (3, 2, 1)] == listed


def test_a_version_is_not_scheduled_far_ahead(api: Caller) -> None:
    far = {"document": _ONE, "effective_from": (NOW + factories.days(401)).isoformat()}
    assert api.refused(422, "POST", "/plans", far) == ["effective_from"]


def test_rates_are_shown_as_they_are_meant(api: Caller) -> None:
    document: dict[str, Any] = {
        "ranks": ["silver", "gold"],
        "rules": [
            {"rates": [{"tiers": [{"rate": "10%"}, {"above": "5000", "rate": "12%"}]}]},
            {
                "match": {"sku": ["A", "B"], "channel": ["web"]},
                "rates": [{"per_unit": "3"}, {"per_order": "1"}],
            },
            {
                "match": {
                    "first_order": True,
                    "from": "2026-05-01T00:00:00+08:00",
                    "to": "2026-05-08T00:00:00+08:00",
                },
                "difference": {"silver": "10%", "gold": "12%"},
            },
        ],
    }
    told = api.post(200, "/plans/validate", {"document": document})["rules"]
    keys = ("matches", "applies_to", "rates", "difference")
    assert [tuple(rule[key] for key in keys) for rule in told] == [
        ("default", "everything else", ["10% / 12% above 5,000.00"], None),
        ("sku+channel", "SKU A, B; channel web", ["3.00 a unit", "1.00 an order"], None),
        (
            "first_order+window",
            "first orders; from 2026-04-30 16:00 to 2026-05-07 16:00 UTC",
            [],
            {"silver": "10%", "gold": "12%"},
        ),
    ]


# -- the brand ------------------------------------------------------------------------------------


@pytest.fixture
def chinese(db: Database, api: Caller) -> Caller:
    """A brand in China, as it begins."""
    brand = factories.brand(db, jurisdiction="CN", levels=None)
    return make_caller(db, api.app, api.contract, brand)


def test_a_brand_in_china_acknowledges_before_it_has_levels(chinese: Caller) -> None:
    assert chinese.get("/brand")["levels"] == 1
    assert chinese.refused(422, "POST", "/brand/settings", {"levels": 3}) == ["levels"]
    body = {"subject": "levels", "text_version": "distrib-levels-1"}
    made = chinese.post(201, "/brand/acknowledgements", body)
    assert (made["acknowledged_by"], made["text_version"]) == ("tests", "distrib-levels-1")
    assert chinese.post(201, "/brand/acknowledgements", body) == made
    assert chinese.get("/brand/acknowledgements")["items"] == [made]
    assert chinese.post(200, "/brand/settings", {"levels": 3})["levels"] == 3
    # at once, though the caller may be remembered from before
    version = chinese.post(201, "/plans", {"document": factories.document()})
    assert (version["levels"], version["channel_levels"]) == (3, {"wechat": 1})
    chinese.post(201, "/brand/acknowledgements", body | {"subject": "wechat_levels"})
    again = chinese.post(201, "/plans", {"document": factories.document()})
    assert (again["number"], again["channel_levels"]) == (2, {})
    words = [each["words"] for each in chinese.get("/plans/1/diff/2")["changes"]]
    assert words == ["channels that pay fewer levels from wechat 1 to none"]


@pytest.mark.parametrize(
    "change, field",
    [
        ({"subject": "taxes"}, "subject"),
        ({"subject": None}, "subject"),
        ({"text_version": ""}, "text_version"),
        ({"text_version": " "}, "text_version"),
        ({"acknowledged_by": "somebody else"}, "acknowledged_by"),
    ],
)
def test_a_wrong_acknowledgement(api: Caller, change: dict[str, Any], field: str) -> None:
    body = {"subject": "levels", "text_version": "v1"} | change
    assert api.refused(422, "POST", "/brand/acknowledgements", body) == [field]
    assert api.get("/brand/acknowledgements")["items"] == []


def test_a_second_person_is_asked_for_and_stays(api: Caller, finance: Caller) -> None:
    assert api.post(200, "/brand/settings", {"second_person": True})["second_person"] is True
    assert api.post(200, "/brand/settings", {})["second_person"] is True
    off = {"second_person": False, "levels": 2}
    assert api.refused(409, "POST", "/brand/settings", off) == ["second_person"]
    assert api.get("/brand")["levels"] == 3, "nothing of it is done"
    assert api.refused(409, "POST", "/plans", {"document": _ONE}) == ["document"]
    made = api.post(201, "/plans/drafts", {"document": _ONE})
    finance.post(200, "/plans/drafts/1/approve", {"content_hash": made["content_hash"]})
    assert api.post(200, "/plans/drafts/1/publish")["number"] == 1
