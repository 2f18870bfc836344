"""Who is let in."""

from __future__ import annotations

import time
from dataclasses import replace

import pytest
from sqlalchemy import event

from distrib.api.context import Keyring
from distrib.brands import service as brands
from distrib.brands.tables import Brand
from distrib.db import Database
from distrib.errors import Unauthorized
from tests.api.conftest import Caller

_OPERATOR = ["/brands", "/brands/any/keys"]
_BRAND = ["/brand", "/plans", "/distributors", "/orders", "/commissions", "/settlement/batches"]


@pytest.mark.parametrize("path", _OPERATOR + _BRAND)
@pytest.mark.parametrize(
    "header",
    [None, "", "Bearer", "Bearer ", "Bearer dk_wrong", "Basic YTpi", "dk_wrong", "Ünicode"],
)
def test_without_a_valid_key_nobody_gets_in(nobody: Caller, path: str, header: str | None) -> None:
    headers = {} if header is None else {"Authorization": header}
    response = nobody.call("GET", path, headers=headers)
    assert response.status_code == 401
    assert response.headers["WWW-Authenticate"] == "Bearer"


@pytest.mark.parametrize("path", _OPERATOR)
def test_a_brand_is_no_operator(api: Caller, path: str) -> None:
    api.send(403, "GET", path)


@pytest.mark.parametrize("path", _BRAND)
def test_an_operator_is_no_brand(operator: Caller, path: str) -> None:
    operator.send(403, "GET", path)


def test_the_scheme_may_be_written_in_any_case(api: Caller) -> None:
    replace(api, key=None).send(
        200, "GET", "/brand", headers={"Authorization": f"bearer {api.key}"}
    )


def test_a_caller_is_remembered_without_a_query_until_time_is_up(
    db: Database, brand: Brand
) -> None:
    with db.transaction() as session:
        secret = brands.create_key(session, brand_id=brand.id, name="busy")
    keyring = Keyring(db, seconds=0.2)
    first = keyring.admit(f"Bearer {secret}")
    statements: list[str] = []

    def note(_connection: object, _cursor: object, statement: str, *_: object) -> None:
        statements.append(statement)

    event.listen(db.engine, "before_cursor_execute", note)
    try:
        assert keyring.admit(f"Bearer {secret}") is first
        assert statements == []
    finally:
        event.remove(db.engine, "before_cursor_execute", note)

    with db.transaction() as session:
        brands.revoke_key(session, key_id=first.principal.key_id)
    time.sleep(0.25)
    with pytest.raises(Unauthorized):
        keyring.admit(f"Bearer {secret}")
