"""``distrib plan draft``."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from typing import Any

import click

from distrib.cli.desk import Desk, InputFile, by_option, with_brand
from distrib.cli.output import facts, local, table
from distrib.cli.plan_parts import language_option, read_document, states_of, tell_published
from distrib.cli.times import Instant
from distrib.commission import drafts
from distrib.commission.plan_diff import describe_changes
from distrib.commission.tables import PlanDraft
from distrib.errors import InvalidInput


def _document(draft: PlanDraft) -> dict[str, Any]:
    return {
        "number": draft.number,
        "name": draft.name,
        "state": draft.state,
        "content_hash": draft.content_hash,
        "created_by": draft.created_by,
        "created_at": draft.created_at,
        "edited_by": draft.edited_by,
        "edited_at": draft.edited_at,
        "approved_by": draft.approved_by,
        "approved_at": draft.approved_at,
        "document": draft.document,
    }


@click.group("draft")
def draft() -> None:
    """Write a plan, have it approved by somebody else, publish it."""


@draft.command("new")
@click.argument("file", type=InputFile)
@by_option
@with_brand
def new(desk: Desk, file: Path, by: str) -> None:
    """Save a plan document as a draft."""
    document = read_document(file)
    with desk.database.transaction() as session:
        made = drafts.save_draft(
            session, brand=desk.brand(session), document=document, created_by=by
        )
    desk.done(
        _document(made),
        f"Draft {made.number} is saved by {made.created_by}. Somebody else approves it:"
        f" distrib plan draft approve {made.number}",
    )


@draft.command("list")
@with_brand
def list_(desk: Desk) -> None:
    """List the drafts, newest first."""
    with desk.database.transaction() as session:
        brand = desk.brand(session)
        found = drafts.list_drafts(session, brand_id=brand.id)
    desk.show(
        [_document(each) for each in found],
        table(
            ">draft|state|name|written by|changed|approved by",
            (
                (
                    each.number,
                    each.state,
                    each.name,
                    each.edited_by,
                    local(each.edited_at, brand.time_zone),
                    each.approved_by,
                )
                for each in found
            ),
        )
        if found
        else "There is no draft: distrib plan draft new FILE",
    )


@draft.command("show")
@click.argument("number", type=int)
@language_option
@with_brand
def show(desk: Desk, number: int, language: str) -> None:
    """Show a draft, and what it would change."""
    with desk.database.transaction() as session:
        brand = desk.brand(session)
        found = drafts.get_draft(session, brand_id=brand.id, number=number)
        before, after = drafts.changes_of_draft(session, brand_id=brand.id, draft=found)
    changes = describe_changes(before, after, language=language)
    desk.show(
        _document(found) | {"changes": changes},
        facts(
            [
                ("state", found.state),
                ("created", f"{local(found.created_at, brand.time_zone)} by {found.created_by}"),
                ("changed", f"{local(found.edited_at, brand.time_zone)} by {found.edited_by}"),
                ("approved by", found.approved_by),
                ("hash", found.content_hash.hex()),
            ],
            title=f"Draft {found.number}: {found.name}",
        ),
        "\n".join(["", *(changes or ["Nothing changes in what is paid."])]),
    )


@draft.command("edit")
@click.argument("number", type=int)
@click.argument("file", type=InputFile)
@by_option
@with_brand
def edit(desk: Desk, number: int, file: Path, by: str) -> None:
    """Change a draft. If it was approved, it needs approval again."""
    document = read_document(file)
    with desk.database.transaction() as session:
        changed = drafts.edit_draft(
            session, brand=desk.brand(session), number=number, document=document, edited_by=by
        )
    desk.done(_document(changed), f"Draft {number} is saved; it is {changed.state}.")


@draft.command("approve")
@click.argument("number", type=int)
@click.option("--hash", "content_hash", metavar="HEX", help="Of what you looked at.")
@by_option
@with_brand
def approve(desk: Desk, number: int, content_hash: str | None, by: str) -> None:
    """Approve a draft that somebody else wrote."""
    try:
        digest = None if content_hash is None else bytes.fromhex(content_hash)
    except ValueError:
        raise InvalidInput("must be hexadecimal digits", field="--hash") from None
    with desk.database.transaction() as session:
        approved = drafts.approve_draft(
            session,
            brand=desk.brand(session),
            number=number,
            content_hash=digest,
            approved_by=by,
        )
    desk.done(
        _document(approved),
        f"Draft {number} is approved by {by}: distrib plan draft publish {number}",
    )


@draft.command("publish")
@click.argument("number", type=int)
@click.option("--effective-from", type=Instant(), help="Default: now.")
@by_option
@with_brand
def publish(desk: Desk, number: int, effective_from: datetime | None, by: str) -> None:
    """Publish an approved draft."""
    with desk.database.transaction() as session:
        brand = desk.brand(session)
        version = drafts.publish_draft(
            session, brand=brand, number=number, effective_from=effective_from, published_by=by
        )
        (state,) = states_of(session, version)
    tell_published(desk, brand, version, state, note=f"Draft {number} is published. ")


@draft.command("discard")
@click.argument("number", type=int)
@with_brand
def discard(desk: Desk, number: int) -> None:
    """Put a draft away."""
    with desk.database.transaction() as session:
        gone = drafts.discard_draft(session, brand=desk.brand(session), number=number)
    desk.done(_document(gone), f"Draft {number} is discarded.")
