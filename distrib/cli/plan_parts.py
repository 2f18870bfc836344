"""What the commands about plans and about their drafts share."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click
from sqlalchemy.orm import Session

from distrib import clock
from distrib.brands.tables import Brand
from distrib.cli.desk import Desk
from distrib.cli.output import local
from distrib.commission.plan_document import PlanInvalid
from distrib.commission.plan_words import LANGUAGES
from distrib.commission.service import VersionState, number_in_force, state_of
from distrib.commission.tables import PlanVersion

language_option = click.option(
    "--language",
    type=click.Choice(sorted(LANGUAGES)),
    default="en",
    show_default=True,
    help="Of the words.",
)


def read_document(path: Path) -> Any:
    """The JSON document in a file.

    :raises PlanInvalid: when it is none.
    """
    try:
        with click.open_file(str(path), encoding="utf-8") as file:
            return json.load(file)
    except (ValueError, OSError) as error:
        raise PlanInvalid(f"{path}: {error}", field="file") from None


def version_document(version: PlanVersion, state: VersionState) -> dict[str, Any]:
    """A version for a program."""
    return {
        "number": version.number,
        "state": state,
        "effective_from": version.effective_from,
        "levels": version.levels,
        "channel_levels": version.channel_levels,
        "published_at": version.published_at,
        "published_by": version.published_by,
        "document": version.document,
    }


def states_of(session: Session, *versions: PlanVersion) -> list[VersionState]:
    """Where the versions of a brand stand now."""
    now = clock.now()
    brand_id = versions[0].brand_id if versions else 0
    in_force = number_in_force(session, brand_id=brand_id, at=now)
    return [state_of(version, at=now, in_force=in_force) for version in versions]


def tell_published(
    desk: Desk, brand: Brand, version: PlanVersion, state: VersionState, *, note: str = ""
) -> None:
    """Say that a version is published, and from when it holds."""
    desk.done(
        version_document(version, state),
        f"{note}Version {version.number} is in force from"
        f" {local(version.effective_from, brand.time_zone)} ({brand.time_zone}).",
    )
