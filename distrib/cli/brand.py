"""``distrib brand`` and ``distrib key``."""

from __future__ import annotations

from typing import Any

import click
from sqlalchemy import select

from distrib import ids, money
from distrib.brands import service as brands
from distrib.brands.tables import Brand
from distrib.cli.desk import Desk, with_brand, with_desk
from distrib.cli.output import facts, local, table
from distrib.cli.output import money as in_words
from distrib.errors import InvalidInput


def _document(brand: Brand) -> dict[str, Any]:
    return {
        "id": ids.public("br", brand.id),
        "slug": brand.slug,
        "name": brand.name,
        "currency": brand.currency,
        "time_zone": brand.time_zone,
        "hold_days": brand.hold_days,
        "minimum_payout": brand.minimum_payout,
        "levels": brand.levels,
        "matured_through": brand.matured_through,
        "created_at": brand.created_at,
    }


@click.group()
def brand() -> None:
    """Create brands and look at them."""


@brand.command("create")
@click.argument("slug")
@click.option("--name", required=True, help="What people call it.")
@click.option("--currency", default="CNY", show_default=True, help="ISO 4217.")
@click.option("--time-zone", default="Asia/Shanghai", show_default=True, help="IANA.")
@click.option(
    "--hold-days",
    default=15,
    show_default=True,
    help="Days from an order until its commission is available.",
)
@click.option("--minimum-payout", metavar="AMOUNT", help="Smallest payout, such as 50.00.")
@click.option("--levels", default=3, show_default=True, help="Levels that earn, 1 to 3.")
@with_desk
def create(
    desk: Desk,
    slug: str,
    *,
    name: str,
    currency: str,
    time_zone: str,
    hold_days: int,
    minimum_payout: str | None,
    levels: int,
) -> None:
    """Create a brand."""
    try:
        minimum = 1 if minimum_payout is None else money.parse_amount(minimum_payout, currency)
    except ValueError as error:
        raise InvalidInput(str(error), field="--minimum-payout") from None
    with desk.database.transaction() as session:
        made = brands.create_brand(
            session,
            slug=slug,
            name=name,
            currency=currency,
            time_zone=time_zone,
            hold_days=hold_days,
            minimum_payout=minimum,
            levels=levels,
        )
    desk.done(_document(made), f"Created brand {made.slug} ({ids.public('br', made.id)}).")


@brand.command("list")
@with_desk
def list_(desk: Desk) -> None:
    """List the brands."""
    with desk.database.transaction() as session:
        found = list(session.scalars(select(Brand).order_by(Brand.slug)))
    desk.show(
        [_document(each) for each in found],
        table(
            "slug|name|currency|time zone|>hold|>minimum payout|>levels|created",
            (
                (
                    each.slug,
                    each.name,
                    each.currency,
                    each.time_zone,
                    f"{each.hold_days} d",
                    money.format_amount(each.minimum_payout, each.currency),
                    each.levels,
                    local(each.created_at, each.time_zone),
                )
                for each in found
            ),
        )
        if found
        else "There is no brand yet: distrib brand create SLUG --name NAME",
    )


@brand.command("show")
@click.argument("slug", required=False)
@with_desk
def show(desk: Desk, slug: str | None) -> None:
    """Show a brand; the only one, if there is one."""
    desk.brand_slug = slug
    with desk.database.transaction() as session:
        found = desk.brand(session)
    desk.show(
        _document(found),
        facts(
            [
                ("slug", found.slug),
                ("id", ids.public("br", found.id)),
                ("currency", found.currency),
                ("time zone", found.time_zone),
                ("hold", f"{found.hold_days} days"),
                ("minimum payout", in_words(found.minimum_payout, found.currency)),
                ("levels", found.levels),
                ("matured through", found.matured_through),
                ("created", local(found.created_at, found.time_zone)),
            ],
            title=found.name,
        ),
    )


@click.group()
def key() -> None:
    """Create and revoke API keys."""


@key.command("create")
@click.option("--name", default="cli", show_default=True, help="What the key is for.")
@click.option("--operator", is_flag=True, help="For all brands; may create brands.")
@with_brand
def create_key(desk: Desk, name: str, operator: bool) -> None:
    """Create an API key. It is printed once and cannot be shown again."""
    with desk.database.transaction() as session:
        of = None if operator else desk.brand(session)
        secret = brands.create_key(session, brand_id=of.id if of else None, name=name)
    desk.done({"key": secret, "name": name, "brand": of.slug if of else None}, secret)


@key.command("revoke")
@click.argument("secret", metavar="KEY")
@with_desk
def revoke_key(desk: Desk, secret: str) -> None:
    """End an API key."""
    with desk.database.transaction() as session:
        found = brands.authenticate(session, secret=secret)
        brands.revoke_key(session, key_id=found.key_id)
    desk.done({"revoked": found.name}, f"Revoked key {found.name!r}.")
