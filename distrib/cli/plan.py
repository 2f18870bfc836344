"""``distrib plan``."""

from __future__ import annotations

import json
from datetime import datetime
from pathlib import Path
from typing import Any

import click
from rich.table import Table

from distrib.cli.desk import Desk, InputFile, by_option, with_brand, with_desk
from distrib.cli.output import facts, local, table
from distrib.cli.times import Instant
from distrib.commission.plan import MAX_LEVELS, Plan, PlanInvalid, read_plan
from distrib.commission.service import get_plan_version, list_plan_versions, publish_plan
from distrib.commission.tables import PlanVersion
from distrib.errors import NotFound
from distrib.money import format_rate


def _read(path: Path) -> Any:
    """The JSON document in a file.

    :raises PlanInvalid: when it is none.
    """
    try:
        with click.open_file(str(path), encoding="utf-8") as file:
            return json.load(file)
    except (ValueError, OSError) as error:
        raise PlanInvalid(f"{path}: {error}", field="file") from None


def _document(version: PlanVersion) -> dict[str, Any]:
    return {
        "number": version.number,
        "effective_from": version.effective_from,
        "levels": version.levels,
        "published_at": version.published_at,
        "published_by": version.published_by,
        "document": version.document,
    }


def _rules(plan: Plan) -> Table:
    levels = "|".join(f">level {n}" for n in range(1, plan.levels + 1))
    return table(
        f">no|rule|applies to|{levels}",
        (
            (
                rule.no,
                rule.name,
                _scope(rule.skus, rule.categories),
                *(format_rate(rate) for rate in rule.rates),
            )
            for rule in plan.rules
        ),
    )


def _scope(skus: tuple[str, ...], categories: tuple[str, ...]) -> str:
    if skus:
        return f"SKU {', '.join(skus)}"
    return f"category {', '.join(categories)}" if categories else "everything else"


@click.group()
def plan() -> None:
    """Publish what a brand pays."""


@plan.command("validate")
@click.argument("file", type=InputFile)
@click.option("--levels", default=MAX_LEVELS, show_default=True, help="Levels that the brand has.")
@with_desk
def validate(desk: Desk, file: Path, levels: int) -> None:
    """Check a plan document; nothing is published."""
    read = read_plan(_read(file), levels=levels)
    desk.show(
        {"valid": True, "name": read.name, "rules": len(read.rules)},
        f"{read.name}: valid, {len(read.rules)} rules, rounding {read.rounding}.",
        _rules(read),
    )


@plan.command("publish")
@click.argument("file", type=InputFile)
@click.option("--effective-from", type=Instant(), help="Default: now.")
@by_option
@with_brand
def publish(desk: Desk, file: Path, effective_from: datetime | None, by: str) -> None:
    """Publish a plan version. Publishing what is in force already changes nothing."""
    document = _read(file)
    with desk.database.transaction() as session:
        brand = desk.brand(session)
        version = publish_plan(
            session, brand=brand, document=document, effective_from=effective_from, published_by=by
        )
    desk.done(
        _document(version),
        f"Version {version.number} is in force from"
        f" {local(version.effective_from, brand.time_zone)} ({brand.time_zone}).",
    )


@plan.command("list")
@with_brand
def list_(desk: Desk) -> None:
    """List the plan versions, newest first."""
    with desk.database.transaction() as session:
        brand = desk.brand(session)
        found = list_plan_versions(session, brand_id=brand.id)
    desk.show(
        [_document(version) for version in found],
        table(
            ">version|name|in force from|>rules|published by",
            (
                (
                    version.number,
                    version.document.get("name", "plan"),
                    local(version.effective_from, brand.time_zone),
                    len(version.document["rules"]),
                    version.published_by,
                )
                for version in found
            ),
        )
        if found
        else "No plan is published: distrib plan publish FILE",
    )


@plan.command("show")
@click.argument("number", type=int, required=False)
@with_brand
def show(desk: Desk, number: int | None) -> None:
    """Show a plan version; the newest by default."""
    with desk.database.transaction() as session:
        brand = desk.brand(session)
        if number is None:
            versions = list_plan_versions(session, brand_id=brand.id)
            if not versions:
                raise NotFound("no plan is published: distrib plan publish FILE", field="number")
            version = versions[0]
        else:
            version = get_plan_version(session, brand_id=brand.id, number=number)
    read = read_plan(version.document, levels=version.levels)
    desk.show(
        _document(version),
        facts(
            [
                ("in force from", local(version.effective_from, brand.time_zone)),
                ("published by", version.published_by),
                ("rounding", str(read.rounding)),
            ],
            title=f"Version {version.number}: {read.name}",
        ),
        _rules(read),
    )
