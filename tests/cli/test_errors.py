"""Every error is one line that names the field and the reason, and an exit code."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import click
import pytest
from click.testing import CliRunner, Result
from sqlalchemy import text

from distrib.cli import keeper, main, root
from distrib.cli.desk import Desk
from distrib.config import Settings
from distrib.db import make_engine
from distrib.embedded.layout import EmbeddedError
from tests.cli.conftest import Cli


@pytest.mark.parametrize(
    "arguments,line",
    [
        (["brand", "create", "Tea", "--name", "x"], "slug: use lower-case letters"),
        (
            ["brand", "create", "t", "--name", "x", "--minimum-payout", "1.234"],
            "--minimum-payout: 1.234 has more decimals than CNY has",
        ),
        (["brand", "create", "t", "--name", "x", "--currency", "XXX"], "currency: 'XXX' is not"),
        (["brand", "create"], "slug: is needed"),
        (["brand", "create", "t"], "--name: is needed"),
        (["brand", "nope"], "No such command 'nope'"),
        (["nope"], "No such command 'nope'"),
        (["brand", "list", "--nope"], "No such option"),
        (["brand", "show", "nope"], "brand: there is no brand 'nope'"),
        (["plan", "publish", "/nope.json"], "file: File '/nope.json' does not exist"),
        (["settle", "show", "x"], "number: 'x' is not a valid integer"),
        (["settle", "draw-up", "--cutoff", "x"], "--cutoff: 'x' is no day such as 2026-03-01"),
        (
            ["distributors", "upline", "a", "--at", "2026-03-01"],
            "--at: '2026-03-01' needs its time zone",
        ),
    ],
)
def test_an_input_that_cannot_be(cli: Cli, arguments: list[str], line: str) -> None:
    said = cli(*arguments)
    assert said.code == 2
    assert said.out == ""
    assert said.err.startswith(f"distrib: {line}"), said.err
    assert "Traceback" not in said.err


def test_a_contradiction_is_a_failure(cli: Cli, slug: str) -> None:
    said = cli("settle", "draw-up", "--brand", slug)
    assert said.code == 1
    assert said.err.startswith("distrib: up to ")
    assert said.err.rstrip().endswith("no commission is open")


def test_a_program_gets_the_problem_as_json(cli: Cli) -> None:
    said = cli("brand", "show", "nope", "--json")
    assert said.code == 2
    assert said.document["type"] == "urn:distrib:problem:brand-not-found"
    assert said.document["errors"] == [{"field": "brand", "reason": "there is no brand 'nope'"}]


def test_which_brand_must_be_clear(cli: Cli, db: object, slug: str) -> None:
    cli.well("brand", "create", f"{slug}-2", "--name", "Another")
    said = cli("plan", "list")
    assert said.code == 2
    assert "--brand: say which brand: " in said.err


@pytest.fixture
def broken(monkeypatch: pytest.MonkeyPatch) -> Callable[[Exception], None]:
    """Make ``distrib brand list`` raise."""

    def break_(error: Exception) -> None:
        @click.command()
        def command() -> None:
            raise error

        monkeypatch.setattr(root.Root, "get_command", lambda *_: command)

    return break_


def test_embedded_servers_that_do_not_start(broken: Callable[[Exception], None], cli: Cli) -> None:
    broken(EmbeddedError("PostgreSQL cannot run.\nThe end of its log:\n  no space"))
    said = cli("brand")
    assert said.code == 1
    assert said.err.splitlines() == [
        "distrib: PostgreSQL cannot run.",
        "The end of its log:",
        "  no space",
    ]


def test_an_interruption(broken: Callable[[Exception], None], cli: Cli) -> None:
    broken(click.Abort())
    assert cli("brand").code == 130


def test_a_defect_is_not_hidden(broken: Callable[[Exception], None], cli: Cli) -> None:
    broken(RuntimeError("unreachable"))
    with pytest.raises(RuntimeError, match="unreachable"):
        cli("brand")


def test_a_database_that_does_not_answer(settings: Settings, tmp_path: Path) -> None:
    gone = replace(settings, database_url=f"postgresql+psycopg://x@/x?host={tmp_path}")
    result = CliRunner().invoke(main, ["brand", "list"], obj=Desk(gone))
    assert result.exit_code == 1
    assert result.stderr.startswith("distrib: the database: connection is bad")
    assert len(result.stderr.splitlines()) == 1


def test_somebody_elses_database_is_migrated_when_they_say_so(
    apart: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in keeper.environment(apart).items():
        monkeypatch.setenv(name, value)
    engine = make_engine(apart.database_url)
    with engine.begin() as connection:
        connection.execute(text("DROP SCHEMA public CASCADE"))
        connection.execute(text("CREATE SCHEMA public"))
    engine.dispose()

    def distrib(*arguments: str) -> Result:
        return CliRunner().invoke(main, arguments)

    said = distrib("brand", "list")
    assert said.exit_code == 1
    assert "the database is at version none, this program needs" in said.stderr
    assert "distrib migrate" in said.stderr
    assert distrib("migrate").stdout == "The database is at the newest version.\n"
    assert distrib("brand", "list").exit_code == 0
    monkeypatch.setenv("DATABASE_URL", "mysql://x")
    said = distrib("brand", "list")
    assert (said.exit_code, said.stderr) == (
        2,
        "distrib: DATABASE_URL must start with postgresql://, this one starts with mysql\n",
    )


def test_help_names_every_command(cli: Cli) -> None:
    overview = cli.well("--help")
    for section in root.SECTIONS.values():
        for name in section:
            assert f"  {name} " in overview
            assert f"Usage: distrib {name} " in cli.well(name, "--help")
    assert cli.well("--version").startswith("distrib 0.")
