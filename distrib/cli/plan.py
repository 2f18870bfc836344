"""``distrib plan``."""

from __future__ import annotations

import json
from datetime import datetime
from pathlib import Path

import click
from rich.table import Table

from distrib.cli.desk import Desk, InputFile, by_option, with_brand, with_desk
from distrib.cli.output import facts, local, table
from distrib.cli.plan_draft import draft
from distrib.cli.plan_parts import (
    language_option,
    read_document,
    states_of,
    tell_published,
    version_document,
)
from distrib.cli.simulate import compare, simulate, simulations
from distrib.cli.times import Instant
from distrib.commission import examples
from distrib.commission.plan import MAX_LEVELS, Plan
from distrib.commission.plan_diff import describe_changes
from distrib.commission.plan_document import read_plan
from distrib.commission.plan_text import match_text, pays_text
from distrib.commission.service import (
    comparable,
    compiled_plan,
    get_plan_version,
    list_plan_versions,
    newest_version,
    publish_plan,
)
from distrib.errors import NotFound


def _rules(plan: Plan) -> Table:
    """The rules; the columns for levels, where all of them pay by level."""
    by_level = not any(rule.difference for rule in plan.rules)
    levels = [f">level {n}" for n in range(1, plan.levels + 1)] if by_level else ["pays"]
    rows = []
    for rule in plan.rules:
        pays = pays_text(rule, plan)
        shown = pays if by_level else [", ".join(pays)]
        missing = [""] * (len(levels) - len(shown))
        rows.append((rule.no, rule.name, match_text(rule.match), *shown, *missing))
    return table("|".join([">no", "rule", "applies to", *levels]), rows)


def _rules_in_words(plan: Plan) -> str:
    return "1 rule" if len(plan.rules) == 1 else f"{len(plan.rules):,} rules"


@click.group()
def plan() -> None:
    """Write, approve, publish and compare what a brand pays."""


@plan.command("validate")
@click.argument("file", type=InputFile)
@click.option("--levels", default=MAX_LEVELS, show_default=True, help="Levels that the brand has.")
@click.option("--currency", default="CNY", show_default=True, help="Of the amounts in it.")
@with_desk
def validate(desk: Desk, file: Path, levels: int, currency: str) -> None:
    """Check a plan document; nothing is published."""
    read = read_plan(read_document(file), levels=levels, currency=currency)
    desk.show(
        {"valid": True, "name": read.name, "rules": len(read.rules)},
        f"{read.name}: valid, {_rules_in_words(read)}, rounding {read.rounding}.",
        _rules(read),
    )


@plan.command("publish")
@click.argument("file", type=InputFile)
@click.option("--effective-from", type=Instant(), help="Default: now.")
@by_option
@with_brand
def publish(desk: Desk, file: Path, effective_from: datetime | None, by: str) -> None:
    """Publish a plan version. Publishing what is in force already changes nothing."""
    document = read_document(file)
    with desk.database.transaction() as session:
        brand = desk.brand(session)
        version = publish_plan(
            session, brand=brand, document=document, effective_from=effective_from, published_by=by
        )
        (state,) = states_of(session, version)
    tell_published(desk, brand, version, state)


@plan.command("list")
@with_brand
def list_(desk: Desk) -> None:
    """List the plan versions, newest first."""
    with desk.database.transaction() as session:
        brand = desk.brand(session)
        found = list_plan_versions(session, brand_id=brand.id)
        states = states_of(session, *found)
    desk.show(
        [version_document(version, state) for version, state in zip(found, states, strict=True)],
        table(
            ">version|state|name|in force from|>rules|published by",
            (
                (
                    version.number,
                    state.replace("_", " "),
                    version.document.get("name", "plan"),
                    local(version.effective_from, brand.time_zone),
                    len(version.document["rules"]),
                    version.published_by,
                )
                for version, state in zip(found, states, strict=True)
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
            newest = newest_version(session, brand_id=brand.id)
            if newest is None:
                raise NotFound("no plan is published: distrib plan publish FILE", field="number")
            version = newest
        else:
            version = get_plan_version(session, brand_id=brand.id, number=number)
        (state,) = states_of(session, version)
        read = compiled_plan(session, brand_id=brand.id, version_id=version.id)
    fewer = [f"{name} at most {count}" for name, count in sorted(version.channel_levels.items())]
    desk.show(
        version_document(version, state),
        facts(
            [
                ("state", state.replace("_", " ")),
                ("in force from", local(version.effective_from, brand.time_zone)),
                ("published by", version.published_by),
                ("levels", version.levels),
                ("levels by channel", ", ".join(fewer) or None),
                ("rounding", str(read.rounding)),
            ],
            title=f"Version {version.number}: {read.name}",
        ),
        _rules(read),
    )


@plan.command("diff")
@click.argument("before", type=int)
@click.argument("after", type=int)
@language_option
@with_brand
def diff(desk: Desk, before: int, after: int, language: str) -> None:
    """Say what changes from one plan version to another."""
    with desk.database.transaction() as session:
        brand = desk.brand(session)
        one, two = (
            get_plan_version(session, brand_id=brand.id, number=number)
            for number in (before, after)
        )
    show_changes(desk, describe_changes(comparable(one), comparable(two), language=language))


def show_changes(desk: Desk, told: list[str]) -> None:
    """Print the differences, a line each."""
    desk.show({"changes": told}, "\n".join(told) or "Nothing changes in what is paid.")


plan.add_command(draft)
for command in (simulate, simulations, compare):
    plan.add_command(command)


@plan.command("examples")
@click.argument("name", required=False)
@with_desk
def show_examples(desk: Desk, name: str | None) -> None:
    """List example plans, or print one: a document to begin with.

    As in: distrib plan examples ranks > my-plan.json
    """
    if name is None:
        listed = {each: str(examples.load(each).get("name", "")) for each in examples.names()}
        desk.show(listed, facts(list(listed.items())), "distrib plan examples NAME prints one.")
        return
    try:
        document = examples.load(name)
    except KeyError:
        raise NotFound(f"there is no example {name!r}; distrib plan examples lists them") from None
    click.echo(json.dumps(document, indent=2, ensure_ascii=False))
