"""``distrib distributors``."""

from __future__ import annotations

import sys
from datetime import datetime
from pathlib import Path
from typing import Any, BinaryIO

import click
from rich.progress import TaskID
from sqlalchemy.orm import Session

from distrib import clock, ids
from distrib.brands.tables import Brand
from distrib.cli.desk import Desk, InputFile, with_brand
from distrib.cli.output import facts, local, note, progress, table
from distrib.cli.times import Instant
from distrib.errors import InvalidInput
from distrib.tree import queries, service
from distrib.tree.csv_import import import_distributors
from distrib.tree.facts import DistributorStatus
from distrib.tree.tables import Distributor


def _document(distributor: Distributor, sponsor: str | None) -> dict[str, Any]:
    return {
        "id": ids.public("dst", distributor.id),
        "external_id": distributor.external_id,
        "name": distributor.name,
        "code": distributor.code,
        "status": distributor.status,
        "sponsor": sponsor,
        "joined_at": distributor.joined_at,
    }


def _sponsor(session: Session, brand: Brand, distributor: Distributor) -> str | None:
    found = queries.present_sponsors(session, brand_id=brand.id, distributor_ids=[distributor.id])
    return found.get(distributor.id)


@click.group()
def distributors() -> None:
    """Enrol distributors, move them, look them up."""


@distributors.command("import")
@click.argument("file", type=InputFile)
@click.option(
    "--rejects",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Where to write rejected rows, each with its reason; correct it and import it again.",
)
@with_brand
def import_(desk: Desk, file: Path, rejects: Path | None) -> None:
    """Enrol the distributors of a CSV file.

    Columns: external_id, name and, if wanted, sponsor, code, joined_at; rows in any order. The
    same file can be sent again. Exits with 1 when rows were rejected.
    """
    with desk.database.transaction() as session:
        brand = desk.brand(session)
    with progress() as bar:
        tasks: dict[str, TaskID] = {}

        def step(phase: str, rows: int) -> None:
            if phase not in tasks:
                tasks[phase] = bar.add_task(phase, total=None)
            bar.update(tasks[phase], completed=rows)

        source: Path | BinaryIO = sys.stdin.buffer if str(file) == "-" else file
        report = import_distributors(
            desk.database,
            brand_id=brand.id,
            source=source,
            rejects_path=rejects,
            progress=step,
        )
    desk.show(
        {
            "read": report.read,
            "accepted": report.accepted,
            "unchanged": report.unchanged,
            "rejected": report.rejected,
            "seconds": report.seconds,
        },
        facts(
            [
                ("rows read", report.read),
                ("enrolled", report.accepted),
                ("unchanged", report.unchanged),
                ("rejected", report.rejected),
                ("seconds", f"{report.seconds:.1f}"),
            ]
        ),
    )
    if report.rejected:
        where = f"see {rejects}" if rejects else "name a file with --rejects to see why"
        note(f"{report.rejected} rows were rejected: {where}")
        click.get_current_context().exit(1)


@distributors.command("add")
@click.argument("external_id")
@click.option("--name", required=True, help="The name of the person or store.")
@click.option("--sponsor", metavar="EXTERNAL_ID", help="Whom they join under; default: nobody.")
@click.option("--code", help="What orders refer to; made up by default.")
@click.option("--joined-at", type=Instant(), help="Default: now.")
@with_brand
def add(
    desk: Desk,
    external_id: str,
    *,
    name: str,
    sponsor: str | None,
    code: str | None,
    joined_at: datetime | None,
) -> None:
    """Enrol one distributor."""
    with desk.database.transaction() as session:
        brand = desk.brand(session)
        made = service.enrol_distributor(
            session,
            brand_id=brand.id,
            external_id=external_id,
            name=name,
            sponsor=sponsor,
            code=code,
            joined_at=joined_at,
        )
        document = _document(made, _sponsor(session, brand, made))
    under = f" under {document['sponsor']}" if document["sponsor"] else ""
    desk.done(document, f"{made.name} ({made.external_id}) is enrolled{under}, code {made.code}.")


@distributors.command("move")
@click.argument("external_id")
@click.option("--to", "sponsor", metavar="EXTERNAL_ID", help="The new sponsor.")
@click.option("--to-root", is_flag=True, help="No sponsor any more.")
@click.option("--at", type=Instant(), help="From when on; default: as soon as it can.")
@with_brand
def move(
    desk: Desk, external_id: str, *, sponsor: str | None, to_root: bool, at: datetime | None
) -> None:
    """Move a distributor, with everybody below, under another sponsor.

    Orders already priced keep the upline they had.
    """
    if (sponsor is None) != to_root:
        raise InvalidInput("say where to: --to EXTERNAL_ID or --to-root", field="--to")
    with desk.database.transaction() as session:
        brand = desk.brand(session)
        edge = service.move_distributor(
            session, brand_id=brand.id, distributor=external_id, sponsor=sponsor, at=at
        )
    desk.done(
        {"external_id": external_id, "sponsor": sponsor, "valid_from": edge.valid_from},
        f"{external_id} is {f'under {sponsor}' if sponsor else 'a root'}"
        f" from {local(edge.valid_from, brand.time_zone)} on.",
    )


def _status_command(name: str, verb: Any, words: str, help_text: str) -> None:
    @distributors.command(name, help=help_text)
    @click.argument("external_id")
    @with_brand
    def change(desk: Desk, external_id: str) -> None:
        with desk.database.transaction() as session:
            brand = desk.brand(session)
            changed = verb(session, brand_id=brand.id, distributor=external_id)
            document = _document(changed, _sponsor(session, brand, changed))
        desk.done(document, f"{external_id} is {words}.")


_status_command("suspend", service.suspend_distributor, "suspended", "Suspend a distributor.")
_status_command("reactivate", service.reactivate_distributor, "active again", "End a suspension.")


@distributors.command("list")
@click.option("--starting-with", metavar="TEXT", help="How the external id or name begins.")
@click.option("--sponsor", metavar="EXTERNAL_ID", help="Only those directly under this one.")
@click.option(
    "--status", type=click.Choice([each.value for each in DistributorStatus]), help="Only these."
)
@click.option("--limit", type=click.IntRange(1, 1000), default=50, show_default=True)
@with_brand
def list_(
    desk: Desk, *, starting_with: str | None, sponsor: str | None, status: str | None, limit: int
) -> None:
    """List distributors in the order of their enrolment."""
    with desk.database.transaction() as session:
        brand = desk.brand(session)
        page = queries.list_distributors(
            session,
            brand_id=brand.id,
            q=starting_with,
            sponsor=sponsor,
            status=None if status is None else DistributorStatus(status),
            limit=limit,
        )
        sponsors = queries.present_sponsors(
            session, brand_id=brand.id, distributor_ids=[each.id for each in page.distributors]
        )
    desk.show(
        [_document(each, sponsors.get(each.id)) for each in page.distributors],
        table(
            "external id|name|code|sponsor|status|joined",
            (
                (
                    each.external_id,
                    each.name,
                    each.code,
                    sponsors.get(each.id),
                    each.status,
                    local(each.joined_at, brand.time_zone),
                )
                for each in page.distributors
            ),
        ),
    )
    if page.after is not None:
        note(f"There are more than these {limit}: see --limit and --starting-with.")


@distributors.command("show")
@click.argument("external_id")
@with_brand
def show(desk: Desk, external_id: str) -> None:
    """Show a distributor, every sponsor it had, and who is directly below."""
    with desk.database.transaction() as session:
        brand = desk.brand(session)
        found = queries.get_distributor(session, brand_id=brand.id, external_id=external_id)
        history = queries.sponsorship_history(session, brand_id=brand.id, distributor_id=found.id)
        below = queries.direct_downline(session, brand_id=brand.id, distributor_id=found.id)
    zone = brand.time_zone
    desk.show(
        _document(found, history[-1].sponsor)
        | {
            "sponsors": [
                {"sponsor": p.sponsor, "valid_from": p.valid_from, "valid_to": p.valid_to}
                for p in history
            ],
            "direct_downline": [each.external_id for each in below],
        },
        facts(
            [
                ("external id", found.external_id),
                ("id", ids.public("dst", found.id)),
                ("code", found.code),
                ("status", found.status),
                ("joined", local(found.joined_at, zone)),
                ("directly below", len(below)),
            ],
            title=found.name,
        ),
        table(
            "sponsor|name|from|to",
            (
                (
                    period.sponsor or "(none)",
                    period.sponsor_name,
                    local(period.valid_from, zone),
                    local(period.valid_to, zone),
                )
                for period in history
            ),
        ),
    )


@distributors.command("upline")
@click.argument("external_id")
@click.option("--at", type=Instant(), help="As of when; default: now.")
@with_brand
def upline(desk: Desk, external_id: str, at: datetime | None) -> None:
    """Show who stands above a distributor, or stood there at some time."""
    with desk.database.transaction() as session:
        brand = desk.brand(session)
        found = queries.get_distributor(session, brand_id=brand.id, external_id=external_id)
        members = queries.upline_at(
            session, brand_id=brand.id, distributor_id=found.id, at=at or clock.now()
        )
    desk.show(
        [
            {"level": m.level, "external_id": m.external_id, "name": m.name, "since": m.since}
            for m in members
        ],
        table(
            ">level|external id|name|since",
            ((m.level, m.external_id, m.name, local(m.since, brand.time_zone)) for m in members),
        )
        if members
        else f"Nobody stands above {external_id}.",
    )
