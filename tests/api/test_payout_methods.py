"""Payout methods by API: proposed, proved by code or by staff, removed; and what is never told."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from sqlalchemy import text

from distrib.brands import service as brands
from distrib.brands.tables import Brand
from distrib.db import Database
from tests import factories
from tests.api.conftest import NOW, Caller

IBAN = "DE89370400440532013000"
BODY = {"kind": "bank", "details": {"account_no": IBAN}}
ANN = "/distributors/ann/payout-methods"


def codes(db: Database, brand: Brand) -> list[str]:
    """The codes that owners were sent, the latest last."""
    with db.transaction() as session:
        return list(
            session.scalars(
                text(
                    "SELECT data ->> 'code' FROM notification WHERE brand_id = :b"
                    " AND kind = 'payout_method_code' ORDER BY id"
                ),
                {"b": brand.id},
            )
        )


def wrong(code: str) -> str:
    return f"{(int(code) + 1) % 1_000_000:06d}"


@pytest.fixture
def staff(db: Database, shop: Caller, brand: Brand) -> Caller:
    """Another key of the same brand."""
    with db.transaction() as session:
        return replace(shop, key=brands.create_key(session, brand_id=brand.id, name="staff"))


def test_proposed_and_proved(shop: Caller, db: Database, brand: Brand) -> None:
    made = shop.post(201, ANN, BODY | {"name": "Ann Wang"})
    assert (made["state"], made["name"], made["usable_from"]) == ("proposed", "Ann Wang", None)
    assert made["details"] == {"account_no": "****3000"}
    (code,) = codes(db, brand)
    assert code not in str(made | {"id": ""})
    path = f"{ANN}/{made['id']}"
    assert shop.refused(422, "POST", f"{path}/prove", {"code": wrong(code)}) == ["code"]
    proved = shop.post(200, f"{path}/prove", {"code": code}, key="once")
    assert (proved["state"], proved["proved_by"], proved["evidence"]) == ("usable", "tests", None)
    assert shop.post(200, f"{path}/prove", {"code": code}, key="once") == proved
    shop.post(409, f"{path}/prove", {"code": code})
    shop.at(NOW + factories.days(1)).post(201, ANN, BODY)
    later = shop.at(NOW + factories.days(1))
    second = later.get(ANN)["items"][0]
    changed = later.post(200, f"{ANN}/{second['id']}/prove", {"code": codes(db, brand)[-1]})
    assert changed["state"] == "resting"
    states = [each["state"] for page in later.pages(ANN, limit=1) for each in page]
    assert states == ["resting", "replaced"]
    assert later.post(200, f"{ANN}/{second['id']}/remove")["state"] == "replaced"
    later.post(409, f"{ANN}/{second['id']}/remove")


def test_a_try_is_counted_though_the_request_fails(
    shop: Caller, db: Database, brand: Brand
) -> None:
    made = shop.post(201, ANN, BODY)
    (code,) = codes(db, brand)
    for n in range(5):
        shop.post(422, f"{ANN}/{made['id']}/prove", {"code": wrong(code)}, key=f"key-{n}")
    shop.post(409, f"{ANN}/{made['id']}/prove", {"code": code})


def test_a_proposal_is_made_once_for_its_key(shop: Caller, db: Database, brand: Brand) -> None:
    made = shop.post(201, ANN, BODY, key="once")
    assert shop.post(201, ANN, BODY, key="once") == made
    assert len(codes(db, brand)) == 1


def test_staff_prove_with_evidence(shop: Caller, staff: Caller) -> None:
    made = shop.post(201, ANN, BODY)
    path = f"{ANN}/{made['id']}/prove-by-staff"
    assert shop.refused(409, "POST", path, {"evidence": "form"}) == ["proved_by"]
    assert staff.refused(422, "POST", path, {"evidence": "  "}) == ["evidence"]
    assert staff.refused(422, "POST", path, {}) == ["evidence"]
    proved = staff.post(200, path, {"evidence": "form 17"})
    assert (proved["proved_by"], proved["evidence"]) == ("staff", "form 17")


@pytest.mark.parametrize(
    "changes, field",
    [
        ({"kind": "cash"}, "kind"),
        ({"kind": None}, "kind"),
        ({"details": None}, "details"),
        ({"details": "IBAN"}, "details"),
        ({"details": {}}, "details.account_no"),
        ({"details": {"account_no": "DE89370400440532013001"}}, "details.account_no"),
        ({"details": {"account_no": ["x"]}}, "details.account_no"),
        ({"details": {"account_no": IBAN, "iban": IBAN}}, "details.iban"),
        ({"details": {"account_no": IBAN, "a b": IBAN}}, "details"),
        ({"kind": "stripe", "details": {"account_id": "cus_1"}}, "details.account_id"),
        ({"name": ""}, "name"),
        ({"name": "  "}, "name"),
        ({"name": "A\u0000"}, "name"),
        ({"proved_at": "2026-03-01T00:00:00Z"}, "proved_at"),
    ],
)
def test_what_cannot_be_proposed(shop: Caller, changes: dict[str, Any], field: str) -> None:
    assert shop.refused(422, "POST", ANN, BODY | changes) == [field]


def test_what_is_not_there(shop: Caller) -> None:
    made = shop.post(201, ANN, BODY)
    for path in (
        "/distributors/nobody/payout-methods",
        f"/distributors/nobody/payout-methods/{made['id']}/remove",
        f"/distributors/bo/payout-methods/{made['id']}/remove",
        f"{ANN}/pm_000000000001/remove",
        f"{ANN}/dst_000000000001/remove",
        f"{ANN}/x/remove",
    ):
        shop.post(404, path, BODY if path.endswith("methods") else None)
    shop.post(404, f"/distributors/bo/payout-methods/{made['id']}/prove", {"code": "123456"})
    shop.send(404, "GET", "/distributors/nobody/payout-methods")
    assert shop.get("/distributors/bo/payout-methods")["items"] == []
