"""``distrib method``."""

from __future__ import annotations

from typing import Any

import click
from sqlalchemy.orm import Session

from distrib import ids
from distrib.brands.tables import Brand
from distrib.cli.desk import Desk, by_option, with_brand
from distrib.cli.output import local, table
from distrib.errors import InvalidInput
from distrib.settlement import methods
from distrib.settlement.book_tables import PayoutMethod
from distrib.settlement.method_details import KINDS
from distrib.settlement.methods import describe_method
from distrib.tree.queries import get_distributor


def _document(method: PayoutMethod) -> dict[str, Any]:
    told = describe_method(method)
    return told | {"id": ids.public(methods.PREFIX, method.id)}


def _owner(session: Session, brand: Brand, external_id: str) -> int:
    return get_distributor(session, brand_id=brand.id, external_id=external_id).id


def _number(public_id: str) -> int:
    try:
        return ids.parse(methods.PREFIX, public_id)
    except ValueError as error:
        raise InvalidInput(str(error), field="METHOD") from None


def _details(pairs: tuple[str, ...]) -> dict[str, str]:
    found: dict[str, str] = {}
    for pair in pairs:
        name, equals, value = pair.partition("=")
        if not equals or name in found:
            raise InvalidInput(f"{pair!r} is not NAME=VALUE, each name once", field="DETAIL")
        found[name] = value
    return found


@click.group()
def method() -> None:
    """Say and prove where a distributor's money goes."""


@method.command("propose")
@click.argument("external_id")
@click.argument("kind", type=click.Choice(list(KINDS)))
@click.argument("details", metavar="DETAIL=VALUE…", nargs=-1, required=True)
@click.option("--name", help="The payee's name as the bank knows it; default: the distributor's.")
@by_option
@with_brand
def propose(
    desk: Desk, external_id: str, kind: str, details: tuple[str, ...], *, name: str | None, by: str
) -> None:
    """Propose a payout method; its owner is sent a code that proves it.

    For example: distrib method propose anna bank account_no=DE89370400440532013000
    """
    given = _details(details)

    def work(session: Session) -> PayoutMethod:
        brand = desk.brand(session)
        return methods.propose_method(
            session,
            brand_id=brand.id,
            distributor_id=_owner(session, brand, external_id),
            kind=kind,
            details=given,
            name=name,
            proposed_by=by,
        )

    made = desk.database.run(work)
    public = ids.public(methods.PREFIX, made.id)
    desk.done(
        _document(made),
        f"{public} is proposed; {external_id} was sent a code.\n"
        f"Next: distrib method prove {external_id} {public} --code CODE (or --evidence TEXT)",
    )


@method.command("prove")
@click.argument("external_id")
@click.argument("method_id", metavar="METHOD")
@click.option("--code", help="The six digits that its owner was sent.")
@click.option("--evidence", help="What proves it instead; not for whoever proposed it.")
@by_option
@with_brand
def prove(
    desk: Desk,
    external_id: str,
    method_id: str,
    *,
    code: str | None,
    evidence: str | None,
    by: str,
) -> None:
    """Prove a payout method, by its code or on evidence; it replaces the one before."""
    if (code is None) == (evidence is None):
        raise InvalidInput("give the code, or the evidence", field="--code")
    with desk.database.transaction() as session:
        brand = desk.brand(session)
        scope = {
            "brand_id": brand.id,
            "distributor_id": _owner(session, brand, external_id),
            "method_id": _number(method_id),
        }
    if code is not None:
        proved = methods.prove_method(desk.database, **scope, code=code, proved_by=by)
    else:
        proved = desk.database.run(
            lambda session: methods.prove_method_by_staff(
                session, **scope, evidence=evidence or "", proved_by=by
            )
        )
    desk.done(
        _document(proved),
        f"{external_id} is paid there from {local(proved.usable_from, brand.time_zone)} on.",
    )


@method.command("list")
@click.argument("external_id")
@with_brand
def list_(desk: Desk, external_id: str) -> None:
    """List a distributor's payout methods and proposals, newest first."""
    with desk.database.transaction() as session:
        brand = desk.brand(session)
        found = methods.list_methods(
            session, brand_id=brand.id, distributor_id=_owner(session, brand, external_id)
        )
    told = [_document(each) for each in found]
    desk.show(
        told,
        table(
            ">id|kind|name|details|state|usable from|proved by",
            (
                (
                    each["id"],
                    each["kind"],
                    each["name"],
                    ", ".join(f"{name} {value}" for name, value in each["details"].items()),
                    each["state"],
                    local(each["usable_from"], brand.time_zone),
                    each["proved_by"],
                )
                for each in told
            ),
        )
        if told
        else f"{external_id} has no payout method: distrib method propose {external_id} KIND …",
    )


@method.command("remove")
@click.argument("external_id")
@click.argument("method_id", metavar="METHOD")
@by_option
@with_brand
def remove(desk: Desk, external_id: str, method_id: str, by: str) -> None:
    """Take a payout method out of use, or withdraw a proposal."""

    def work(session: Session) -> PayoutMethod:
        brand = desk.brand(session)
        return methods.remove_method(
            session,
            brand_id=brand.id,
            distributor_id=_owner(session, brand, external_id),
            method_id=_number(method_id),
            removed_by=by,
        )

    removed = desk.database.run(work)
    desk.done(_document(removed), f"{method_id} is out of use.")
