"""Brands and keys over HTTP."""

from __future__ import annotations

import secrets
from typing import Any

import pytest

from distrib.brands.tables import Brand
from tests.api.conftest import Caller


def _slug() -> str:
    return f"shop-{secrets.token_hex(6)}"


def test_an_operator_creates_a_brand_and_a_key_that_works(operator: Caller) -> None:
    slug = _slug()
    made = operator.post(201, "/brands", {"slug": slug, "name": "Tea House", "hold_days": 7})
    assert made["id"].startswith("br_")
    assert (made["hold_days"], made["currency"], made["levels"]) == (7, "CNY", 1)
    assert (made["jurisdiction"], made["second_person"]) == ("CN", False)

    secret = operator.post(201, f"/brands/{slug}/keys", {"name": "web shop"})["secret"]
    own = Caller(operator.app, operator.contract, secret).get("/brand")
    assert own == made


@pytest.mark.parametrize(
    "change, fields",
    [
        ({"slug": "Not A Slug"}, ["slug"]),
        ({"slug": ""}, ["slug"]),
        ({"name": " "}, ["name"]),
        ({"currency": "XXX"}, ["currency"]),
        ({"time_zone": "Moon/Crater"}, ["time_zone"]),
        ({"hold_days": 366, "levels": 4}, ["hold_days", "levels"]),
        ({"hold_days": "15"}, ["hold_days"]),
        ({"jurisdiction": "China"}, ["jurisdiction"]),
        ({"levels": 3}, ["levels"]),
        ({"jurisdiction": "SG", "levels": 0}, ["levels"]),
        ({"minimum_payout": 0}, ["minimum_payout"]),
        ({"minimum_payout": 1.0}, ["minimum_payout"]),
        ({"colour": "red"}, ["colour"]),
        ({"name": None}, ["name"]),
        ({"name": "x" * 201}, ["name"]),
    ],
)
def test_a_wrong_field_is_named(
    operator: Caller, change: dict[str, Any], fields: list[str]
) -> None:
    body = {"slug": _slug(), "name": "Tea House"} | change
    assert operator.refused(422, "POST", "/brands", body) == fields


def test_a_slug_is_given_once(operator: Caller, brand: Brand) -> None:
    body = {"slug": brand.slug, "name": "Another"}
    assert operator.refused(409, "POST", "/brands", body) == ["slug"]


@pytest.mark.parametrize(
    "method, path",
    [
        ("GET", "/brands/no-such-brand/keys"),
        ("POST", "/brands/no-such-brand/keys"),
        ("DELETE", "/brands/no-such-brand/keys/key_000000000001"),
        ("GET", "/brands/%00/keys"),
    ],
)
def test_an_unknown_brand_has_no_keys(operator: Caller, method: str, path: str) -> None:
    body = {"name": "web"} if method == "POST" else None
    operator.send(404, method, path, body)


def test_keys_are_listed_without_secrets_and_end_when_revoked(
    operator: Caller, brand: Brand
) -> None:
    keys = f"/brands/{brand.slug}/keys"
    made = operator.post(201, keys, {"name": "old"})
    operator.post(201, keys, {"name": "new"})
    listed = operator.get(keys)["items"]
    assert [each["name"] for each in listed] == ["new", "old"]
    assert made["secret"].startswith(listed[1]["hint"])
    assert made["secret"] not in str(listed)

    owner = Caller(operator.app, operator.contract, made["secret"])
    for _ in range(2):
        assert operator.send(200, "DELETE", f"{keys}/{made['id']}")["state"] == "revoked"
    owner.send(401, "GET", "/brand")
    assert operator.get(keys)["items"][1]["revoked_at"] is not None


def test_a_key_is_revoked_only_through_its_own_brand(
    operator: Caller, brand: Brand, api: Caller
) -> None:
    other = _slug()
    operator.post(201, "/brands", {"slug": other, "name": "Other"})
    mine = operator.get(f"/brands/{brand.slug}/keys")["items"][0]["id"]
    operator.send(404, "DELETE", f"/brands/{other}/keys/{mine}")
    operator.send(404, "DELETE", f"/brands/{brand.slug}/keys/nonsense")
    api.get("/brand")


def test_a_kept_answer_does_not_hold_the_secret(operator: Caller, brand: Brand) -> None:
    keys = f"/brands/{brand.slug}/keys"
    first = operator.post(201, keys, {"name": "web"}, key=f"make-{brand.slug}")
    again = operator.post(201, keys, {"name": "web"}, key=f"make-{brand.slug}")
    assert again == first | {"secret": None}
    assert len(operator.get(keys)["items"]) == 1
