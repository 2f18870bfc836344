"""``distrib brand`` and ``distrib key``."""

from __future__ import annotations

from typing import Any

import click
from sqlalchemy import select

from distrib import ids, money
from distrib.brands import jurisdiction
from distrib.brands import service as brands
from distrib.brands.tables import Brand, LegalAcknowledgement
from distrib.cli.desk import Desk, by_option, with_brand, with_desk
from distrib.cli.output import facts, local, table
from distrib.cli.output import money as in_words
from distrib.cli.times import read_amount


def _document(brand: Brand) -> dict[str, Any]:
    return {
        "id": ids.public("br", brand.id),
        "slug": brand.slug,
        "name": brand.name,
        "currency": brand.currency,
        "time_zone": brand.time_zone,
        "hold_days": brand.hold_days,
        "minimum_payout": brand.minimum_payout,
        "jurisdiction": brand.jurisdiction,
        "levels": brand.levels,
        "second_person": brand.second_person,
        "second_approval_above": brand.second_approval_above,
        "method_cool_days": brand.method_cool_days,
        "matured_through": brand.matured_through,
        "created_at": brand.created_at,
    }


@click.group()
def brand() -> None:
    """Create brands, look at them, and change their settings."""


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
@click.option(
    "--jurisdiction",
    "place",
    default=jurisdiction.CHINA,
    show_default=True,
    help="Whose law it lives under: ISO 3166, or 'other'.",
)
@click.option("--levels", type=int, help="Levels that earn, 1 to 3. Default: 3, in China 1.")
@click.option(
    "--second-approval-above",
    metavar="AMOUNT",
    help="Batches of more than this need two approvals, such as 50000.00. Default: none does.",
)
@click.option(
    "--method-cool-days",
    default=3,
    show_default=True,
    help="Days for which a changed payout method rests.",
)
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
    place: str,
    levels: int | None,
    second_approval_above: str | None,
    method_cool_days: int,
) -> None:
    """Create a brand."""
    minimum = read_amount(minimum_payout, currency, "--minimum-payout")
    above = read_amount(second_approval_above, currency, "--second-approval-above")
    with desk.database.transaction() as session:
        made = brands.create_brand(
            session,
            slug=slug,
            name=name,
            currency=currency,
            time_zone=time_zone,
            hold_days=hold_days,
            minimum_payout=1 if minimum is None else minimum,
            jurisdiction=place,
            levels=levels,
            second_approval_above=above,
            method_cool_days=method_cool_days,
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
            "slug|name|currency|time zone|>hold|>minimum payout|law|>levels|created",
            (
                (
                    each.slug,
                    each.name,
                    each.currency,
                    each.time_zone,
                    f"{each.hold_days} d",
                    money.format_amount(each.minimum_payout, each.currency),
                    each.jurisdiction,
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
        answered = jurisdiction.list_acknowledgements(session, brand_id=found.id)
    desk.show(
        _document(found) | {"acknowledgements": [_acknowledgement(each) for each in answered]},
        facts(
            [
                ("slug", found.slug),
                ("id", ids.public("br", found.id)),
                ("currency", found.currency),
                ("time zone", found.time_zone),
                ("hold", f"{found.hold_days} days"),
                ("minimum payout", in_words(found.minimum_payout, found.currency)),
                ("jurisdiction", found.jurisdiction),
                ("levels", found.levels),
                ("second person", "approves each plan" if found.second_person else None),
                ("two approvals", _two_approvals(found)),
                ("payout methods", f"rest {found.method_cool_days} days after a change"),
                *(
                    (
                        f"answers for {each.subject}",
                        f"{each.acknowledged_by}, {local(each.acknowledged_at, found.time_zone)},"
                        f" text {each.text_version}",
                    )
                    for each in reversed(answered)
                ),
                ("matured through", found.matured_through),
                ("created", local(found.created_at, found.time_zone)),
            ],
            title=found.name,
        ),
    )


def _two_approvals(brand: Brand) -> str:
    above = brand.second_approval_above
    if above is None:
        return "are never needed"
    return f"are needed for a batch above {in_words(above, brand.currency)}"


def _acknowledgement(made: LegalAcknowledgement) -> dict[str, Any]:
    return {
        "subject": made.subject,
        "text_version": made.text_version,
        "acknowledged_by": made.acknowledged_by,
        "acknowledged_at": made.acknowledged_at,
    }


@brand.command("acknowledge")
@click.argument("subject", type=click.Choice([str(each) for each in jurisdiction.Subject]))
@click.option("--text", "text_version", required=True, help="Which text was read.")
@by_option
@with_brand
def acknowledge(desk: Desk, subject: str, text_version: str, by: str) -> None:
    """Record that somebody answers for what the law limits; see docs/jurisdictions.md."""
    with desk.database.transaction() as session:
        made = jurisdiction.acknowledge(
            session,
            brand=desk.brand(session),
            subject=subject,
            text_version=text_version,
            acknowledged_by=by,
        )
    desk.done(
        _acknowledgement(made),
        f"{made.acknowledged_by} answers for {made.subject}, by the text {made.text_version}.",
    )


@brand.command("set-levels")
@click.argument("levels", type=int)
@with_brand
def set_levels(desk: Desk, levels: int) -> None:
    """Say how many levels earn, from the next plan version on."""
    with desk.database.transaction() as session:
        changed = jurisdiction.set_levels(session, brand=desk.brand(session), levels=levels)
    desk.done(
        _document(changed),
        f"{changed.slug} has {changed.levels} levels, from the next plan version on.",
    )


@brand.command("set-jurisdiction")
@click.argument("place", metavar="JURISDICTION")
@with_brand
def set_jurisdiction(desk: Desk, place: str) -> None:
    """Say whose law the brand lives under: ISO 3166, or 'other'."""
    with desk.database.transaction() as session:
        changed = jurisdiction.set_jurisdiction(
            session, brand=desk.brand(session), jurisdiction=place
        )
    desk.done(_document(changed), f"{changed.slug} lives under the law of {changed.jurisdiction}.")


@brand.command("second-person")
@click.argument("required", type=click.Choice(["on", "off"]))
@with_brand
def second_person(desk: Desk, required: str) -> None:
    """Publish only plans that a second person has approved, or any."""
    with desk.database.transaction() as session:
        changed = jurisdiction.require_second_person(
            session, brand=desk.brand(session), required=required == "on", by_operator=True
        )
    needed = "needs" if changed.second_person else "does not need"
    desk.done(_document(changed), f"{changed.slug} {needed} a second person to publish a plan.")


@brand.command("second-approval")
@click.argument("above", metavar="AMOUNT|off")
@with_brand
def second_approval(desk: Desk, above: str) -> None:
    """Say above which sum a settlement batch needs two approvals, or that none does."""
    with desk.database.transaction() as session:
        found = desk.brand(session)
        changed = brands.set_second_approval(
            session,
            brand=found,
            above=None if above == "off" else read_amount(above, found.currency, "above"),
            by_operator=True,
        )
    desk.done(_document(changed), f"{changed.slug}: two approvals {_two_approvals(changed)}.")


@brand.command("method-cooling")
@click.argument("days", type=int)
@with_brand
def method_cooling(desk: Desk, days: int) -> None:
    """Say how many days a changed payout method rests before money goes there."""
    with desk.database.transaction() as session:
        changed = brands.set_method_cooling(
            session, brand=desk.brand(session), days=days, by_operator=True
        )
    desk.done(
        _document(changed),
        f"{changed.slug}: a changed payout method rests {changed.method_cool_days} days.",
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
