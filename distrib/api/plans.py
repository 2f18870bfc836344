"""Plans: what a brand pays."""

from __future__ import annotations

from typing import Any

from flask import Response
from marshmallow import fields
from sqlalchemy.orm import Session

from distrib.api import lists
from distrib.api.context import caller, database
from distrib.api.fields import (
    Choice,
    Hex,
    Instant,
    Objects,
    PublicId,
    Rate,
    Shape,
    Text,
    Whole,
    Yes,
)
from distrib.api.idempotency import Answer, transact
from distrib.api.paging import Page, PageQuery, page_of
from distrib.api.routes import PREFIX, Routes
from distrib.brands.tables import Brand
from distrib.commission.plan import Plan, PlanInvalid, read_plan
from distrib.commission.service import get_plan_version, publish_plan
from distrib.commission.tables import PlanVersion
from distrib.money import Rounding

routes = Routes(
    "Plans",
    __name__,
    url_prefix=PREFIX,
    description="A plan says what each level earns. A published version never changes, and rules"
    " the orders placed from its instant on: what was paid stays explained.",
)

_EXAMPLE = {
    "name": "Spring 2026",
    "rounding": "half_up",
    "rules": [
        {"name": "default", "rates": ["10%", "5%", "2%"]},
        {"name": "books", "match": {"category": ["books"]}, "rates": ["4%", "2%"]},
        {"name": "gift card", "match": {"sku": ["GIFT-50"]}, "rates": ["0%"]},
    ],
}


class DocumentField(fields.Dict):
    """A plan document; :func:`distrib.commission.plan.read_plan` says what is wrong with one."""

    default_error_messages = Text.default_error_messages | {"invalid": "must be an object"}


_DOCUMENT = {
    "description": "The most specific rule wins: SKU, then category, then the rule without"
    " `match`. Rates are percentages, level 1 first. A line no rule matches pays nothing.",
    "example": _EXAMPLE,
}


class NewPlanSchema(Shape):
    """A plan version to publish."""

    document = DocumentField(required=True, metadata=_DOCUMENT)
    effective_from = Instant(
        load_default=None,
        metadata={
            "description": "From when it rules; it must lie after every order taken and after the"
            " version before. Left out: now."
        },
    )


class PlanDocumentSchema(Shape):
    """A plan document to check."""

    document = DocumentField(required=True, metadata=_DOCUMENT)


class PlanSchema(Shape):
    """A plan version, without its document."""

    id = PublicId("plv", required=True)
    number = Whole(required=True, metadata={"example": 1})
    effective_from = Instant(required=True)
    levels = Whole(required=True, metadata={"example": 3})
    content_hash = Hex(required=True, metadata={"example": "0f3c7a9be05d4d7c8f6f2f0e4a1d9b22"})
    published_at = Instant(required=True)
    published_by = Text(required=True, metadata={"example": "back office"})


class PlanDetailSchema(PlanSchema):
    """A plan version."""

    document = DocumentField(required=True, metadata={"example": _EXAMPLE})


class PlanRuleSchema(Shape):
    """A rule as it was understood."""

    no = Whole(required=True, metadata={"example": 1})
    name = Text(required=True, metadata={"example": "default"})
    matches = Choice("sku", "category", "default", required=True, attribute="specificity")
    rates = fields.List(Rate(), required=True, metadata={"example": ["10%", "5%", "2%"]})


class PlanCheckSchema(Shape):
    """A document that may be published."""

    valid = Yes(required=True, metadata={"example": True})
    name = Text(required=True, metadata={"example": "Spring 2026"})
    rounding = Choice(*Rounding, required=True)
    rules = Objects(PlanRuleSchema, required=True)


_detail, _check = PlanDetailSchema(), PlanCheckSchema()


def _within(error: PlanInvalid) -> PlanInvalid:
    """The error, with its place told from the body's root."""
    place = "document" if error.field in (None, "document") else f"document.{error.field}"
    return PlanInvalid(error.detail, field=place)


def _read(mine: Brand, document: Any) -> Plan:
    try:
        return read_plan(document, levels=mine.levels)
    except PlanInvalid as error:
        raise _within(error) from None


@routes.operation(
    "POST",
    "/plans",
    {
        201: (PlanDetailSchema, "The version was published"),
        200: (PlanDetailSchema, "The newest version says the same already"),
    },
    body=NewPlanSchema,
    example={"document": _EXAMPLE},
    problems=(409,),
)
def publish(mine: Brand, given: dict[str, Any]) -> Response:
    """Publish a plan version."""

    def work(session: Session) -> Answer:
        before = lists.latest_plan_number(session, brand_id=mine.id)
        try:
            version = publish_plan(
                session, brand=mine, published_by=caller().principal.name, **given
            )
        except PlanInvalid as error:
            raise _within(error) from None
        return Answer(201 if version.number > before else 200, _detail.dump(version))

    return transact(work)


@routes.operation(
    "POST",
    "/plans/validate",
    {200: (PlanCheckSchema, "The document may be published")},
    body=PlanDocumentSchema,
    example={"document": _EXAMPLE},
)
def validate_plan(mine: Brand, given: dict[str, Any]) -> Response:
    """Check a plan document and change nothing."""
    plan = _read(mine, given["document"])
    told = {"valid": True, "name": plan.name, "rounding": plan.rounding, "rules": plan.rules}
    return transact(lambda _: Answer(200, _check.dump(told)))


@routes.operation(
    "GET", "/plans", {200: (page_of(PlanSchema), "A page of versions, newest first")},
    query=PageQuery,
)  # fmt: skip
def list_plans(mine: Brand, query: dict[str, Any]) -> Page:
    """List the plan versions."""
    with database().transaction() as session:
        return lists.plans(session, brand_id=mine.id, **query)


@routes.operation(
    "GET",
    "/plans/<int(max=2147483647):number>",
    {200: (PlanDetailSchema, "The version")},
    problems=(404,),
)
def show_plan(mine: Brand, number: int) -> PlanVersion:
    """Show a plan version."""
    with database().transaction() as session:
        return get_plan_version(session, brand_id=mine.id, number=number)
