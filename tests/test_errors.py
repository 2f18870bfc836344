"""Errors: named after the fact, and the same words everywhere."""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Iterator

import pytest

import distrib
from distrib.commission.intake import OrderDiffers
from distrib.commission.service import PlanNotEffective, PlanVersionNotFound
from distrib.errors import (
    Conflict,
    DistribError,
    Forbidden,
    InvalidInput,
    NotFound,
    Unauthorized,
    Unavailable,
)


@pytest.mark.parametrize(
    "error, kind, status",
    [
        (DistribError("d"), "distrib-error", 400),
        (InvalidInput("d"), "invalid-input", 422),
        (NotFound("d"), "not-found", 404),
        (Conflict("d"), "conflict", 409),
        (Unauthorized("d"), "unauthorized", 401),
        (Forbidden("d"), "forbidden", 403),
        (Unavailable("d"), "unavailable", 503),
        (PlanNotEffective("d"), "plan-not-effective", 409),
        (PlanVersionNotFound("d"), "plan-version-not-found", 404),
        (OrderDiffers("d"), "order-differs", 409),
    ],
)
def test_kind_and_status(error: DistribError, kind: str, status: int) -> None:
    assert (error.kind, error.status) == (kind, status)
    assert error.problem() == {
        "type": f"urn:distrib:problem:{kind}",
        "title": error.title,
        "status": status,
        "detail": "d",
    }


def test_a_field_to_blame_and_more() -> None:
    error = InvalidInput("must not be empty", field="lines[0].sku", order="o-1")
    assert str(error) == "must not be empty"
    assert error.problem() == {
        "type": "urn:distrib:problem:invalid-input",
        "title": "A field is not valid",
        "status": 422,
        "detail": "must not be empty",
        "errors": [{"field": "lines[0].sku", "reason": "must not be empty"}],
        "order": "o-1",
    }


def _all_errors(base: type[DistribError] = DistribError) -> Iterator[type[DistribError]]:
    yield base
    for each in base.__subclasses__():
        yield from _all_errors(each)


def test_every_error_has_words_and_a_name_of_its_own() -> None:
    for module in pkgutil.walk_packages(distrib.__path__, "distrib."):
        if module.name.startswith(("distrib.brands", "distrib.commission", "distrib.settlement")):
            importlib.import_module(module.name)
    errors = {each for each in _all_errors() if each.__module__.startswith("distrib.")}
    assert len(errors) > 20
    by_kind = {each.__new__(each).kind: each for each in errors}
    assert len(by_kind) == len(errors), "two errors share the slug of a problem type"
    assert all(each.title and each.title[0].isupper() for each in errors)
    assert all(each.__doc__ for each in errors)
