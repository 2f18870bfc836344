"""Brands and their API keys."""

from __future__ import annotations

from typing import Any

from flask import Response
from sqlalchemy.orm import Session

from distrib.api import lists
from distrib.api.context import Access, caller, database
from distrib.api.fields import Choice, Instant, PublicId, Shape, Text, Whole, Yes
from distrib.api.idempotency import Answer, transact
from distrib.api.paging import Page, PageQuery, page_of
from distrib.api.routes import PREFIX, Routes
from distrib.brands import service
from distrib.brands.jurisdiction import (
    CHINA,
    Subject,
    acknowledge,
    require_second_person,
    set_levels,
)
from distrib.brands.tables import Brand
from distrib.money import MAX_AMOUNT

routes = Routes(
    "Brands",
    __name__,
    url_prefix=PREFIX,
    description="A brand is a tenant: the company that runs a distribution program. The operator"
    " creates brands and their keys; a brand's key sees its own brand and nothing else.",
)


_ABOVE = (
    "A settlement batch of more than this, in minor units, needs two approvals. Null: none does."
)
_SECOND_APPROVAL = {"description": _ABOVE, "example": 5_000_000}
_COOLING = {
    "description": "Days for which a changed payout method rests before money goes there.",
    "example": 3,
}


class NewBrandSchema(Shape):
    """A brand to create."""

    slug = Text(
        63,
        required=True,
        metadata={"description": "Lower-case letters, digits and hyphens.", "example": "tea-house"},
    )
    name = Text(required=True, metadata={"example": "Tea House"})
    currency = Text(
        3,
        load_default="CNY",
        metadata={"description": "ISO 4217. The brand takes orders in it and no other."},
    )
    time_zone = Text(
        64,
        load_default="Asia/Shanghai",
        metadata={"description": "IANA name; decides where the brand's days begin."},
    )
    hold_days = Whole(
        0,
        365,
        load_default=15,
        metadata={"description": "Days between an order and its commission becoming available."},
    )
    minimum_payout = Whole(
        1,
        MAX_AMOUNT,
        load_default=1,
        metadata={"description": "Smallest payout, in minor units."},
    )
    jurisdiction = Text(
        5,
        load_default=CHINA,
        metadata={
            "description": "Whose law it lives under: ISO 3166 alpha-2, or `other`.",
            "example": "CN",
        },
    )
    levels = Whole(
        1,
        3,
        load_default=None,
        metadata={
            "description": "How many levels of the tree earn. Left out: 3, in China 1; more need an"
            " acknowledgement there first.",
            "example": 1,
        },
    )

    second_approval_above = Whole(load_default=None, allow_none=True, metadata=_SECOND_APPROVAL)
    method_cool_days = Whole(0, 90, load_default=3, metadata=_COOLING)


class BrandSchema(Shape):
    """A brand."""

    id = PublicId("br", required=True)
    slug = Text(required=True, metadata={"example": "tea-house"})
    name = Text(required=True, metadata={"example": "Tea House"})
    currency = Text(required=True, metadata={"example": "CNY"})
    time_zone = Text(required=True, metadata={"example": "Asia/Shanghai"})
    hold_days = Whole(required=True, metadata={"example": 15})
    minimum_payout = Whole(required=True, metadata={"example": 100})
    jurisdiction = Text(required=True, metadata={"example": "CN"})
    levels = Whole(required=True, metadata={"example": 1})
    second_person = Yes(
        required=True,
        metadata={"description": "Whether only approved drafts are published.", "example": False},
    )
    second_approval_above = Whole(required=True, allow_none=True, metadata=_SECOND_APPROVAL)
    method_cool_days = Whole(required=True, metadata=_COOLING)
    created_at = Instant(required=True)


class SettingsSchema(Shape):
    """What a brand may decide about itself. What is left out stays."""

    levels = Whole(
        1,
        3,
        load_default=None,
        metadata={
            "description": "How many levels earn, from the next plan version on.",
            "example": 3,
        },
    )
    second_person = Yes(
        load_default=None,
        metadata={
            "description": "Publish only what a second person has approved. Only the operator"
            " takes it back.",
            "example": True,
        },
    )
    second_approval_above = Whole(
        allow_none=True,
        metadata=_SECOND_APPROVAL | {"description": f"{_ABOVE} Only the operator raises it."},
    )
    method_cool_days = Whole(
        0,
        90,
        metadata=_COOLING
        | {"description": f"{_COOLING['description']} Only the operator makes it shorter."},
    )


class NewAcknowledgementSchema(Shape):
    """Somebody answers for what the law limits."""

    subject = Choice(
        *Subject,
        required=True,
        metadata={
            "description": "`levels`: more than one level earns. `wechat_levels`: so do orders"
            " from WeChat."
        },
    )
    text_version = Text(
        required=True,
        metadata={"description": "Which text was read.", "example": "distrib-levels-1"},
    )


class AcknowledgementSchema(NewAcknowledgementSchema):
    """An acknowledgement."""

    id = PublicId("ack", required=True)
    acknowledged_by = Text(required=True, metadata={"example": "legal"})
    acknowledged_at = Instant(required=True)


class NewKeySchema(Shape):
    """A key to create."""

    name = Text(
        required=True,
        metadata={"description": "Who or what will use it.", "example": "web shop"},
    )


class KeySchema(Shape):
    """An API key, without its secret."""

    id = PublicId("key", required=True)
    name = Text(required=True, metadata={"example": "web shop"})
    hint = Text(
        required=True,
        metadata={"description": "How the secret begins.", "example": "dk_Zx3f"},
    )
    created_at = Instant(required=True)
    revoked_at = Instant(required=True, allow_none=True)


class NewSecretSchema(Shape):
    """A new key. The secret is shown this once; only its hash is kept."""

    id = PublicId("key", required=True)
    name = Text(required=True, metadata={"example": "web shop"})
    secret = Text(
        required=True,
        allow_none=True,
        metadata={
            "description": "Null when the answer is a kept one: it was shown once.",
            "example": "dk_Zx3fUq0P9mB1c7Rk2VtYw8Lh5NsAe4Jd",
        },
    )


class KeyStateSchema(Shape):
    """What became of a key."""

    id = PublicId("key", required=True)
    state = Choice("revoked", required=True)


_brand, _brands = BrandSchema(), page_of(BrandSchema)
_secret = NewSecretSchema()
_acknowledgement = AcknowledgementSchema()


@routes.operation(
    "POST",
    "/brands",
    {201: (BrandSchema, "The brand was created")},
    access=Access.OPERATOR,
    body=NewBrandSchema,
    example={
        "slug": "tea-house",
        "name": "Tea House",
        "currency": "CNY",
        "hold_days": 15,
        "jurisdiction": "CN",
        "second_approval_above": 5_000_000,
    },
    problems=(409,),
)
def create_brand(given: dict[str, Any]) -> Response:
    """Create a brand."""
    return transact(
        lambda session: Answer(201, _brand.dump(service.create_brand(session, **given)))
    )


@routes.operation(
    "GET",
    "/brands",
    {200: (_brands, "A page of brands, newest first")},
    access=Access.OPERATOR,
    query=PageQuery,
)
def list_brands(query: dict[str, Any]) -> Page:
    """List all brands."""
    with database().transaction() as session:
        return lists.brands(session, **query)


@routes.operation("GET", "/brand", {200: (BrandSchema, "The brand")})
def show_brand(mine: Brand) -> Brand:
    """Show the brand whose key this is."""
    with database().transaction() as session:
        return service.get_brand(session, brand_id=mine.id)


@routes.operation(
    "POST",
    "/brand/settings",
    {200: (BrandSchema, "The brand with its settings")},
    body=SettingsSchema,
    example={"levels": 3, "second_person": True, "second_approval_above": 5_000_000},
    problems=(409,),
)
def change_settings(mine: Brand, given: dict[str, Any]) -> Response:
    """Change the brand's settings.

    Plan versions that are published stay as they are.
    """

    def work(session: Session) -> Answer:
        if given["levels"] is not None:
            set_levels(session, brand=mine, levels=given["levels"])
        if "second_approval_above" in given:
            service.set_second_approval(
                session, brand=mine, above=given["second_approval_above"], by_operator=False
            )
        if "method_cool_days" in given:
            service.set_method_cooling(
                session, brand=mine, days=given["method_cool_days"], by_operator=False
            )
        if given["second_person"] is not None:
            require_second_person(
                session, brand=mine, required=given["second_person"], by_operator=False
            )
        return Answer(200, _brand.dump(service.get_brand(session, brand_id=mine.id)))

    return transact(work)


@routes.operation(
    "POST",
    "/brand/acknowledgements",
    {201: (AcknowledgementSchema, "It is recorded")},
    body=NewAcknowledgementSchema,
    example={"subject": "levels", "text_version": "distrib-levels-1"},
)
def create_acknowledgement(mine: Brand, given: dict[str, Any]) -> Response:
    """Record an acknowledgement, in the name of the API key.

    The same key and text again change nothing.
    """
    by = caller().principal.name
    return transact(
        lambda session: Answer(
            201,
            _acknowledgement.dump(acknowledge(session, brand=mine, acknowledged_by=by, **given)),
        )
    )


@routes.operation(
    "GET",
    "/brand/acknowledgements",
    {200: (page_of(AcknowledgementSchema), "A page of acknowledgements, newest first")},
    query=PageQuery,
)
def list_acknowledgements(mine: Brand, query: dict[str, Any]) -> Page:
    """List what somebody answers for."""
    with database().transaction() as session:
        return lists.acknowledgements(session, brand_id=mine.id, **query)


@routes.operation(
    "POST",
    "/brands/<slug>/keys",
    {201: (NewSecretSchema, "The key was created; keep its secret")},
    access=Access.OPERATOR,
    body=NewKeySchema,
    example={"name": "web shop"},
    problems=(404,),
)
def create_key(given: dict[str, Any], slug: str) -> Response:
    """Create an API key of a brand.

    The secret is in this answer and nowhere else. With an Idempotency-Key, a repeat tells which
    key was created, but not its secret: should the first answer be lost, revoke the key and create
    another.
    """

    def work(session: Session) -> Answer:
        owner = service.get_brand(session, slug=slug)
        secret = service.create_key(session, brand_id=owner.id, name=given["name"])
        made = service.authenticate(session, secret=secret)
        told = _secret.dump({"id": made.key_id, "name": made.name, "secret": secret})
        return Answer(201, told, kept=told | {"secret": None})

    return transact(work)


@routes.operation(
    "GET",
    "/brands/<slug>/keys",
    {200: (page_of(KeySchema), "A page of keys, newest first")},
    access=Access.OPERATOR,
    query=PageQuery,
    problems=(404,),
)
def list_keys(query: dict[str, Any], slug: str) -> Page:
    """List the API keys of a brand."""
    with database().transaction() as session:
        owner = service.get_brand(session, slug=slug)
        return lists.keys(session, brand_id=owner.id, **query)


@routes.operation(
    "DELETE",
    "/brands/<slug>/keys/<key>",
    {200: (KeyStateSchema, "The key is revoked")},
    access=Access.OPERATOR,
    problems=(404,),
)
def revoke_key(slug: str, key: str) -> dict[str, Any]:
    """Revoke an API key.

    It ends within five seconds. Revoking it again changes nothing.
    """

    def work(session: Session) -> int:
        owner = service.get_brand(session, slug=slug)
        key_id = lists.get_key(session, brand_id=owner.id, public_id=key)
        service.revoke_key(session, key_id=key_id)
        return key_id

    return {"id": database().run(work), "state": "revoked"}
