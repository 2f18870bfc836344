"""``distrib audit``."""

from __future__ import annotations

import time
from dataclasses import asdict

import click

from distrib.audit import Check
from distrib.cli.desk import Desk, with_brand
from distrib.cli.output import complain, emit, note, progress
from distrib.settlement.audit import CHECKS, audit_brand


@click.command()
@click.option(
    "--limit", type=click.IntRange(1), default=100, show_default=True, help="Findings to print."
)
@with_brand
def audit(desk: Desk, limit: int) -> None:
    """Check every invariant over everything a brand has.

    Prints what is wrong, row by row, and then exits with 1.
    """
    began = time.perf_counter()
    with desk.database.transaction() as session:
        brand = desk.brand(session)
    findings = 0
    rows = []
    with desk.database.snapshot() as session, progress() as bar:
        task = bar.add_task("audit", total=len(CHECKS))

        def step(check: Check) -> None:
            bar.update(task, description=_name(check))
            bar.advance(task)

        for finding in audit_brand(session, brand_id=brand.id, on_check=step):
            findings += 1
            if findings > limit:
                continue
            rows.append(asdict(finding))
            if not desk.as_json:
                bar.console.print(f"{finding.check}: {finding.detail}", style="red")
    seconds = time.perf_counter() - began
    if desk.as_json:
        emit(
            {
                "brand": brand.slug,
                "checks": [_name(check) for check in CHECKS],
                "findings": rows,
                "count": findings,
                "seconds": round(seconds, 3),
            }
        )
    elif not findings:
        click.echo(f"{brand.slug}: {len(CHECKS)} checks, nothing wrong ({seconds:.1f} s).")
    if findings:
        if findings > limit:
            note(f"{findings - limit} more are not shown: see --limit.")
        complain(f"the audit of {brand.slug} found {findings} things that are wrong")
        click.get_current_context().exit(1)


def _name(check: Check) -> str:
    """What a check holds, from its name."""
    return str(getattr(check, "__name__", check)).replace("_", " ")
