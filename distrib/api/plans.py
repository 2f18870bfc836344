"""Plans: what a brand pays."""

from __future__ import annotations

from typing import Any

from flask import Response
from marshmallow import fields
from sqlalchemy.orm import Session

from distrib import clock
from distrib.api import lists
from distrib.api.context import caller, database
from distrib.api.fields import (
    Choice,
    Hex,
    Instant,
    Objects,
    PublicId,
    Shape,
    Text,
    Whole,
    Yes,
)
from distrib.api.idempotency import Answer, transact
from distrib.api.paging import Page, PageQuery, page_of
from distrib.api.routes import PREFIX, Routes
from distrib.brands.tables import Brand
from distrib.commission.plan_diff import Kind, Part, compare_plans, say
from distrib.commission.plan_document import PlanInvalid
from distrib.commission.plan_text import difference_of, match_text, pays_text
from distrib.commission.plan_words import LANGUAGES, words_in
from distrib.commission.service import (
    VersionState,
    check_plan,
    comparable,
    get_plan_version,
    number_in_force,
    publish_plan,
    state_of,
)
from distrib.commission.tables import PlanVersion
from distrib.money import Rounding

routes = Routes(
    "Plans",
    __name__,
    url_prefix=PREFIX,
    description="A plan says what each level earns. A published version never changes, and rules"
    " the orders placed from its instant on: what was paid stays explained.",
)

EXAMPLE = {
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
    "description": "The most specific rule wins: distributor, SKU, category, rank, channel, first"
    " order, time, then the rule without `match`. Rates are percentages, level 1 first, or amounts"
    " a unit or an order, or tiers. A line no rule matches pays nothing.",
    "example": EXAMPLE,
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
    state = Choice(
        *VersionState,
        required=True,
        metadata={"description": "At the time of the answer.", "example": "in_force"},
    )
    levels = Whole(required=True, metadata={"example": 3})
    channel_levels = fields.Dict(
        keys=fields.String(),
        values=fields.Integer(),
        required=True,
        metadata={
            "description": "Channels whose orders pay at most so many levels.",
            "example": {"wechat": 1},
        },
    )
    content_hash = Hex(required=True, metadata={"example": "0f3c7a9be05d4d7c8f6f2f0e4a1d9b22"})
    published_at = Instant(required=True)
    published_by = Text(required=True, metadata={"example": "back office"})


class PlanDetailSchema(PlanSchema):
    """A plan version."""

    document = DocumentField(required=True, metadata={"example": EXAMPLE})


class PlanRuleSchema(Shape):
    """A rule as it was understood."""

    no = Whole(required=True, metadata={"example": 1})
    name = Text(required=True, metadata={"example": "default"})
    matches = Text(
        required=True,
        metadata={"description": "By what it matches.", "example": "sku+channel"},
    )
    applies_to = Text(required=True, metadata={"example": "SKU TEA-1; channel web"})
    rates = fields.List(
        fields.String(),
        required=True,
        metadata={
            "description": "What each level gets, level 1 first.",
            "example": ["10%", "3.00 a unit", "1.00 an order"],
        },
    )
    difference = fields.Dict(
        keys=fields.String(),
        values=fields.String(),
        required=True,
        allow_none=True,
        metadata={
            "description": "Rates by rank, of a rule that pays differences of ranks.",
            "example": None,
        },
    )


class PlanCheckSchema(Shape):
    """A document that may be published."""

    valid = Yes(required=True, metadata={"example": True})
    name = Text(required=True, metadata={"example": "Spring 2026"})
    rounding = Choice(*Rounding, required=True)
    rules = Objects(PlanRuleSchema, required=True)


class ChangesQuery(Shape):
    """How to tell changes."""

    language = Choice(*LANGUAGES, load_default="en")


class ChangeSchema(Shape):
    """One difference. Values are as in the documents, made comparable."""

    kind = Choice(*Kind, required=True)
    part = Choice(*Part, required=True)
    name = Text(required=True, metadata={"example": "books"})
    aspect = fields.String(
        required=True,
        metadata={"description": "What of it; empty for all of it.", "example": "rates[1]"},
    )
    before = fields.Raw(required=True, allow_none=True, metadata={"example": "2%"})
    after = fields.Raw(required=True, allow_none=True, metadata={"example": "3%"})
    words = Text(required=True, metadata={"example": "rule 'books': level 2 from 2% to 3%"})


class ChangesSchema(Shape):
    """What changes from one plan to another."""

    changes = Objects(ChangeSchema, required=True)


_detail, _check = PlanDetailSchema(), PlanCheckSchema()


def within_body(error: PlanInvalid) -> PlanInvalid:
    """The error, with its place told from the body's root."""
    place = "document" if error.field in (None, "document") else f"document.{error.field}"
    return PlanInvalid(error.detail, field=place)


def tell_version(session: Session, version: PlanVersion) -> dict[str, Any]:
    """A version, and where it stands now."""
    now = clock.now()
    in_force = number_in_force(session, brand_id=version.brand_id, at=now)
    told = {column.key: getattr(version, column.key) for column in version.__table__.columns}
    return told | {"state": state_of(version, at=now, in_force=in_force)}


def tell_changes(
    before: dict[str, Any] | None, after: dict[str, Any], language: str
) -> dict[str, Any]:
    """The differences as data and in words."""
    words = words_in(language)
    return {
        "changes": [
            {
                "kind": change.kind,
                "part": change.part,
                "name": change.name,
                "aspect": change.aspect,
                "before": change.before,
                "after": change.after,
                "words": say(change, words),
            }
            for change in compare_plans(before, after)
        ]
    }


@routes.operation(
    "POST",
    "/plans",
    {
        201: (PlanDetailSchema, "The version was published"),
        200: (PlanDetailSchema, "The newest version says the same already"),
    },
    body=NewPlanSchema,
    example={"document": EXAMPLE},
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
            raise within_body(error) from None
        told = _detail.dump(tell_version(session, version))
        return Answer(201 if version.number > before else 200, told)

    return transact(work)


@routes.operation(
    "POST",
    "/plans/validate",
    {200: (PlanCheckSchema, "The document may be published")},
    body=PlanDocumentSchema,
    example={"document": EXAMPLE},
)
def validate_plan(mine: Brand, given: dict[str, Any]) -> Response:
    """Check a plan document and change nothing."""

    def work(session: Session) -> Answer:
        try:
            plan = check_plan(session, brand_id=mine.id, document=given["document"])
        except PlanInvalid as error:
            raise within_body(error) from None
        rules = [
            {
                "no": rule.no,
                "name": rule.name,
                "matches": rule.specificity,
                "applies_to": match_text(rule.match),
                "rates": [] if rule.difference else pays_text(rule, plan),
                "difference": difference_of(rule, plan),
            }
            for rule in plan.rules
        ]
        told = {"valid": True, "name": plan.name, "rounding": plan.rounding, "rules": rules}
        return Answer(200, _check.dump(told))

    return transact(work)


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
def show_plan(mine: Brand, number: int) -> dict[str, Any]:
    """Show a plan version."""
    with database().transaction() as session:
        return tell_version(session, get_plan_version(session, brand_id=mine.id, number=number))


@routes.operation(
    "GET",
    "/plans/<int(max=2147483647):number>/diff/<int(max=2147483647):other>",
    {200: (ChangesSchema, "What changes from the first to the second")},
    query=ChangesQuery,
    problems=(404,),
)
def compare_versions(mine: Brand, query: dict[str, Any], number: int, other: int) -> dict[str, Any]:
    """Compare two plan versions.

    Nothing is told of how a document is written: `10.0%` is `10%`, and the order of rules says
    nothing.
    """
    with database().transaction() as session:
        one, two = (
            get_plan_version(session, brand_id=mine.id, number=each) for each in (number, other)
        )
    return tell_changes(comparable(one), comparable(two), query["language"])
