"""What a command works with: settings, database, brand. Opened on first use, and closed after."""

from __future__ import annotations

import getpass
import os
from collections.abc import Callable
from contextlib import ExitStack
from functools import cached_property, wraps
from pathlib import Path
from typing import Any, TypeVar

import click
from rich.console import RenderableType
from sqlalchemy import Engine, select
from sqlalchemy.orm import Session

from distrib import config, embedded, jobs, schema
from distrib.brands import service as brands
from distrib.brands.tables import Brand
from distrib.cli import output
from distrib.config import Settings
from distrib.db import Database, make_engine
from distrib.errors import InvalidInput, Unavailable

F = TypeVar("F", bound=Callable[..., Any])


class SchemaOutdated(Unavailable):
    """The database is not at this program's version."""

    title = "The database is at another version"


class Desk:
    """What a command works with.

    :param settings: those to use; None reads the environment, and starts servers if need be.
    """

    def __init__(self, settings: Settings | None = None) -> None:
        self.as_json = False
        self.brand_slug: str | None = None
        self._given = settings
        self._stack = ExitStack()

    def close(self) -> None:
        """Give back what was opened."""
        self._stack.close()

    @cached_property
    def settings(self) -> Settings:
        """The settings; with none in the environment, the embedded servers are up from here on."""
        if self._given is not None:
            return self._given
        if is_embedded() and embedded.running() is None:
            output.note(f"starting PostgreSQL and Valkey in {embedded.default_data_dir()} …")
        return self._stack.enter_context(config.settings())

    @cached_property
    def engine(self) -> Engine:
        """An engine of a database that is at this program's version."""
        engine = make_engine(self.settings.database_url)
        self._stack.callback(engine.dispose)
        if self._given is not None:
            return engine
        if is_embedded():
            schema.upgrade(engine)
        else:
            _require_schema(engine)
        return engine

    def ready(self) -> Settings:
        """The settings, once the database they name is at this program's version."""
        self.engine.dispose()
        return self.settings

    @cached_property
    def database(self) -> Database:
        """The database; what a command adds to do is handed to the workers."""
        return Database(self.engine, jobs.Waker(self.settings))

    def brand(self, session: Session) -> Brand:
        """The brand named with ``--brand``, or the only one there is.

        :raises InvalidInput: when it is not clear which.
        """
        if self.brand_slug is not None:
            return brands.get_brand(session, slug=self.brand_slug)
        found = list(session.scalars(select(Brand).order_by(Brand.slug).limit(6)))
        if len(found) == 1:
            return found[0]
        if not found:
            raise InvalidInput("there is no brand yet: distrib brand create SLUG", field="--brand")
        names = ", ".join(brand.slug for brand in found[:5]) + (", …" if len(found) > 5 else "")
        raise InvalidInput(f"say which brand: {names}", field="--brand")

    def show(self, document: Any, *drawings: RenderableType) -> None:
        """Print the document for a program, or the drawings for a person."""
        if self.as_json:
            output.emit(document)
            return
        console = output.console()
        for drawing in drawings:
            console.print(drawing)

    def done(self, document: Any, words: str) -> None:
        """Say that something is done."""
        if self.as_json:
            output.emit(document)
        else:
            click.echo(words)


def is_embedded() -> bool:
    """Whether the servers are our own: unless both others are named."""
    return not (os.environ.get("DATABASE_URL") and os.environ.get("REDIS_URL"))


def _require_schema(engine: Engine) -> None:
    """A database of somebody else's is migrated when they say so."""
    from alembic.migration import MigrationContext
    from alembic.script import ScriptDirectory

    with engine.connect() as connection:
        current = MigrationContext.configure(connection).get_current_revision()
    newest = ScriptDirectory.from_config(schema.alembic_config()).get_current_head()
    if current != newest:
        raise SchemaOutdated(
            f"the database is at version {current or 'none'}, this program needs {newest}:"
            " distrib migrate",
            field="DATABASE_URL",
        )


# -- decorators ---------------------------------------------------------------------------------


def _set_json(context: click.Context, _parameter: click.Parameter, value: bool) -> None:
    context.ensure_object(Desk).as_json = value


def _set_brand(context: click.Context, _parameter: click.Parameter, value: str | None) -> None:
    context.ensure_object(Desk).brand_slug = value


def with_desk(command: F) -> F:
    """Give the command the desk, and ``--json``. Stands next to the function."""

    @wraps(command)
    def run(*args: Any, **kwargs: Any) -> Any:
        context = click.get_current_context()
        desk = context.ensure_object(Desk)
        context.call_on_close(desk.close)
        return command(desk, *args, **kwargs)

    option = click.option(
        "--json",
        is_flag=True,
        expose_value=False,
        callback=_set_json,
        help="Print JSON for programs.",
    )
    return option(run)  # type: ignore[return-value]


def with_brand(command: F) -> F:
    """Give the command the desk, ``--json`` and ``--brand``."""
    return click.option(
        "--brand",
        metavar="SLUG",
        envvar="DISTRIB_BRAND",
        expose_value=False,
        callback=_set_brand,
        help="The brand; needed when there are several.",
    )(with_desk(command))


def _user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # a container may run as a user without a name
        return "cli"


def by_option(command: F) -> F:
    """Ask who does it; the audit trail will say so."""
    return click.option(
        "--by",
        metavar="NAME",
        envvar="DISTRIB_USER",
        default=_user,
        show_default="your user name",
        help="Who does this.",
    )(command)


InputFile = click.Path(exists=True, dir_okay=False, allow_dash=True, path_type=Path)
"""A file to read, or ``-``."""
