"""Creating brands and keys, and finding them again."""

from __future__ import annotations

import hashlib
import re
import secrets
from dataclasses import dataclass

from sqlalchemy import select, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from distrib import clock, ids, money
from distrib.brands.jurisdiction import check_jurisdiction, check_levels, default_levels
from distrib.brands.tables import ApiKey, Brand
from distrib.errors import Conflict, InvalidInput, NotFound, Unauthorized, unstorable

_SLUG = re.compile(r"[a-z0-9][a-z0-9-]{0,62}")
MOST_COOL_DAYS = 90


class BrandExists(Conflict):
    """The slug is taken."""

    title = "A brand of this slug exists"


class BrandNotFound(NotFound):
    """No brand of that slug or id."""

    title = "No such brand"


class SafeguardStays(Conflict):
    """The brand cannot loosen what guards its payouts; the operator can."""

    title = "The safeguard stays"


def create_brand(
    session: Session,
    *,
    slug: str,
    name: str,
    currency: str = "CNY",
    time_zone: str = "Asia/Shanghai",
    hold_days: int = 15,
    minimum_payout: int = 1,
    jurisdiction: str = "CN",
    levels: int | None = None,
    second_approval_above: int | None = None,
    method_cool_days: int = 3,
) -> Brand:
    """Create a brand.

    :param hold_days: days between an order and its commission becoming available, 0 to 365.
    :param minimum_payout: smallest payout, in minor units of ``currency``.
    :param jurisdiction: whose law it lives under: ISO 3166 alpha-2, or ``other``.
    :param levels: how many levels of the referral tree earn, 1 to 3; default is 3, in China 1.
    :param second_approval_above: a batch of more than this (minor units) needs two approvals; None:
        one is enough for any.
    :param method_cool_days: how long a changed payout method rests, 0 to 90 days.
    :raises InvalidInput: naming the field.
    :raises BrandExists: when the slug is taken.
    """
    if not _SLUG.fullmatch(slug):
        raise InvalidInput("use lower-case letters, digits and hyphens, up to 63", field="slug")
    if not name.strip():
        raise InvalidInput("a brand has a name", field="name")
    if (reason := unstorable(name)) is not None:
        raise InvalidInput(reason, field="name")
    for field, check in (("currency", money.exponent), ("time_zone", clock.zone)):
        try:
            check(currency if field == "currency" else time_zone)
        except ValueError as error:
            raise InvalidInput(str(error), field=field) from None
    for field, value, low, high in (
        ("hold_days", hold_days, 0, 365),
        ("minimum_payout", minimum_payout, 1, money.MAX_AMOUNT),
        ("second_approval_above", second_approval_above or 0, 0, money.MAX_AMOUNT),
        ("method_cool_days", method_cool_days, 0, MOST_COOL_DAYS),
    ):
        if not low <= value <= high:
            raise InvalidInput(f"{value} is outside {low} to {high}", field=field)
    if levels is None:
        levels = default_levels(check_jurisdiction(jurisdiction))
    # a brand that is not there yet has nobody who answers for it
    check_levels(levels, check_jurisdiction(jurisdiction), acknowledged=False)
    brand: Brand | None = session.scalar(
        insert(Brand)
        .values(
            id=ids.new(),
            slug=slug,
            name=name.strip(),
            currency=currency,
            time_zone=time_zone,
            hold_days=hold_days,
            minimum_payout=minimum_payout,
            jurisdiction=jurisdiction,
            levels=levels,
            second_approval_above=second_approval_above,
            method_cool_days=method_cool_days,
            created_at=clock.now(),
        )
        .on_conflict_do_nothing(index_elements=[Brand.slug])
        .returning(Brand)
    )
    if brand is None:
        raise BrandExists(f"a brand with the slug {slug!r} exists", field="slug")
    return brand


def get_brand(session: Session, *, slug: str | None = None, brand_id: int | None = None) -> Brand:
    """The brand of that slug or id.

    :raises BrandNotFound: when there is none.
    """
    condition = Brand.slug == slug if slug is not None else Brand.id == brand_id
    brand = session.scalar(select(Brand).where(condition))
    if brand is None:
        name = slug if slug is not None else ids.public("br", brand_id or 0)
        raise BrandNotFound(f"there is no brand {name!r}", field="brand")
    return brand


def _hold(session: Session, brand: Brand) -> Brand:
    return session.get_one(Brand, brand.id, populate_existing=True, with_for_update=True)


def set_second_approval(
    session: Session, *, brand: Brand, above: int | None, by_operator: bool
) -> Brand:
    """Say above which sum (minor units) a batch needs two approvals; None: one is enough for any.

    For batches that are submitted from now on.

    :raises SafeguardStays: when a brand would raise it or do away with it.
    """
    if above is not None and not 0 <= above <= money.MAX_AMOUNT:
        raise InvalidInput(
            f"{above} is outside 0 to {money.MAX_AMOUNT}", field="second_approval_above"
        )
    row = _hold(session, brand)
    known = row.second_approval_above
    if known is not None and (above is None or above > known) and not by_operator:
        raise SafeguardStays(
            "only the operator raises the sum above which a batch needs two approvals",
            field="second_approval_above",
        )
    row.second_approval_above = above
    session.flush()
    return row


def set_method_cooling(session: Session, *, brand: Brand, days: int, by_operator: bool) -> Brand:
    """Say how long a changed payout method rests before money goes there.

    :raises SafeguardStays: when a brand would make it shorter.
    """
    if not 0 <= days <= MOST_COOL_DAYS:
        raise InvalidInput(f"{days} is outside 0 to {MOST_COOL_DAYS}", field="method_cool_days")
    row = _hold(session, brand)
    if days < row.method_cool_days and not by_operator:
        raise SafeguardStays(
            "only the operator lets a changed payout method rest for less",
            field="method_cool_days",
        )
    row.method_cool_days = days
    session.flush()
    return row


@dataclass(frozen=True)
class Principal:
    """Who a key speaks for: a brand, or (``brand_id`` None) the operator."""

    key_id: int
    brand_id: int | None
    name: str


def _hash(secret: str) -> bytes:
    # a key is 192 random bits, so one plain hash is enough; passwords would need more
    return hashlib.sha256(secret.encode()).digest()


def create_key(session: Session, *, brand_id: int | None, name: str) -> str:
    """Create an API key and return it; only its hash is kept, it cannot be shown again."""
    secret = f"dk_{secrets.token_urlsafe(24)}"
    session.add(
        ApiKey(
            id=ids.new(),
            brand_id=brand_id,
            name=name,
            hint=secret[:7],
            secret_hash=_hash(secret),
            created_at=clock.now(),
        )
    )
    session.flush()
    return secret


def revoke_key(session: Session, *, key_id: int) -> None:
    """End a key. Ending it again changes nothing."""
    session.execute(
        update(ApiKey)
        .where(ApiKey.id == key_id, ApiKey.revoked_at.is_(None))
        .values(revoked_at=clock.now())
    )


def authenticate(session: Session, *, secret: str) -> Principal:
    """Whom the key speaks for.

    :raises Unauthorized: when it is unknown or revoked.
    """
    key = session.execute(
        select(ApiKey.id, ApiKey.brand_id, ApiKey.name).where(
            ApiKey.secret_hash == _hash(secret), ApiKey.revoked_at.is_(None)
        )
    ).one_or_none()
    if key is None:
        raise Unauthorized("the API key is unknown or revoked")
    return Principal(key_id=key.id, brand_id=key.brand_id, name=key.name)
