"""What a person reads, and what a program reads."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterable, Sequence
from datetime import date, datetime
from decimal import Decimal
from functools import partial
from pathlib import Path
from typing import IO, Any

import click
from rich import box
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table
from rich.text import Text

from distrib import clock
from distrib.money import format_amount

WIDTH = 100
"""Columns where there is no terminal to ask."""


def console(file: IO[str] | None = None) -> Console:
    """A console that takes texts as they are: data may look like markup."""
    file = file or sys.stdout
    plain = not file.isatty() and "COLUMNS" not in os.environ
    return Console(
        file=file,
        width=WIDTH if plain else None,
        markup=False,
        highlight=False,
        emoji=False,
        soft_wrap=False,
    )


# -- for programs -------------------------------------------------------------------------------


def _plain(value: Any) -> Any:
    if isinstance(value, date | datetime):
        return value.isoformat()
    if isinstance(value, bytes | memoryview):
        return bytes(value).hex()
    if isinstance(value, Decimal) and value == int(value):
        return int(value)
    if isinstance(value, Path | Decimal):
        return str(value)
    raise TypeError(f"{type(value).__name__} has no JSON form")


as_json = partial(json.dumps, ensure_ascii=False, indent=2, default=_plain)
"""A JSON text; times are ISO 8601, bytes hexadecimal."""


def emit(document: Any) -> None:
    """Print a document for a program: on stdout, and nothing else there."""
    click.echo(as_json(document))


# -- for a person -------------------------------------------------------------------------------


def complain(reason: str, field: str | None = None) -> None:
    """Say what is wrong in one red line."""
    where = f"{field}: " if field and not reason.startswith(f"{field} ") else ""
    lines = reason.strip().splitlines() or ["unknown error"]
    click.secho(f"distrib: {where}{lines[0]}", fg="red", err=True)
    for line in lines[1:]:
        click.echo(line, err=True)


def note(text: str) -> None:
    """Tell a person what is going on."""
    click.secho(text, dim=True, err=True)


def money(amount: int, currency: str) -> str:
    """``1,234.56 CNY``."""
    return f"{format_amount(amount, currency)} {currency}"


def local(instant: datetime | None, time_zone: str) -> str:
    """An instant where the brand lives."""
    return "" if instant is None else f"{instant.astimezone(clock.zone(time_zone)):%Y-%m-%d %H:%M}"


def table(columns: str, rows: Iterable[Sequence[Any]], *, title: str | None = None) -> Table:
    """A table.

    :param columns: the headings, separated by ``|``; one that begins with ``>`` is for numbers.
    """
    made = Table(
        title=title, title_justify="left", title_style="bold", box=box.SIMPLE_HEAD, pad_edge=False
    )
    for heading in columns.split("|"):
        if heading.startswith(">"):
            made.add_column(heading[1:], justify="right", no_wrap=True)
        else:
            made.add_column(heading, overflow="fold")
    for row in rows:
        made.add_row(*(cell if isinstance(cell, Text) else _cell(cell) for cell in row))
    return made


def _cell(value: Any) -> str:
    if value is None:
        return ""
    return f"{value:,}" if isinstance(value, int) and not isinstance(value, bool) else str(value)


def facts(
    pairs: Iterable[tuple[str, Any]], *, title: str | None = None, amounts: bool = False
) -> Table:
    """Facts about one thing, one below the other.

    :param amounts: they are amounts, and stand as such.
    """
    made = Table(
        title=title,
        title_justify="left",
        title_style="bold",
        box=None,
        show_header=False,
        pad_edge=False,
        padding=(0, 2, 0, 0),
    )
    made.add_column(style="dim", no_wrap=True)
    made.add_column(overflow="fold", justify="right" if amounts else "left")
    for name, value in pairs:
        if value is not None:
            made.add_row(name, value if isinstance(value, Text) else _cell(value))
    return made


def progress() -> Progress:
    """A bar on stderr; nothing where that is no terminal."""
    stderr = console(sys.stderr)
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(bar_width=None),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        console=stderr,
        disable=not stderr.is_terminal,
        transient=True,
    )
