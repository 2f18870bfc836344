"""The command ``distrib``: finds its commands when they are asked for, and reports errors."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from importlib import import_module
from typing import Any, NoReturn

import click

from distrib import __version__
from distrib.cli.output import complain, emit
from distrib.embedded.layout import EmbeddedError
from distrib.errors import DistribError, InvalidInput, NotFound

SECTIONS: dict[str, dict[str, str]] = {
    "Run": {
        "demo": "Make a realistic brand, settle it, audit it, and leave the API running.",
        "up": "Run everything: servers, workers and the API, until Ctrl-C.",
        "stop": "Stop what runs, and the embedded servers.",
        "status": "Say what runs, and where.",
        "serve": "Run the API server.",
        "worker": "Run workers and the sweeper.",
        "migrate": "Bring the database to the newest version.",
    },
    "Set up": {
        "brand": "Create brands, look at them, and change their settings.",
        "key": "Create and revoke API keys.",
        "plan": "Write, approve, publish and compare what a brand pays.",
        "distributors": "Enrol distributors, move them, look them up.",
        "tree": "Analyse and export the referral tree.",
        "ranks": "Give distributors ranks, by hand or by what they sell.",
        "method": "Say and prove where a distributor's money goes.",
    },
    "Work": {
        "orders": "Import orders and look at them.",
        "settle": "Draw up, approve and pay settlement batches.",
        "reconcile": "Hold bank statements against the ledger, and resolve differences.",
        "close": "Close days: what moved, signed, and chained to the day before.",
        "tax": "Say by which law to withhold, and report what was withheld.",
        "statement": "What a distributor has earned, and been paid.",
        "debts": "Who is in debt since when; write debts off, correct payments.",
        "explain": "Why a commission is what it is.",
        "audit": "Check every invariant of a brand.",
    },
}
"""Commands by section, with their help: a command's module is imported only to run it."""

_MODULES = {"key": "brand", "serve": "run", "worker": "run", "migrate": "run", "stop": "up"}
_MODULES |= {"status": "up"}


class Root(click.Group):
    """The group of all commands."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002
        """Their names."""
        return [name for section in SECTIONS.values() for name in section]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """The command of that name, imported now."""
        if cmd_name not in self.list_commands(ctx):
            return None
        module = import_module(f"distrib.cli.{_MODULES.get(cmd_name, cmd_name)}")
        command: click.Command = getattr(module, cmd_name)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002
        """The overview, without importing anything."""
        for section, commands in SECTIONS.items():
            with formatter.section(section):
                formatter.write_dl(list(commands.items()))

    def main(self, *args: Any, **kwargs: Any) -> NoReturn:
        """Run a command, and end the process with its exit code.

        0 is well, 1 a failure, 2 an input that cannot be, 130 an interruption.
        """
        kwargs |= {"standalone_mode": False, "prog_name": "distrib"}
        arguments: Sequence[str] = kwargs.get("args") or (args[0] if args else None) or sys.argv[1:]
        try:
            code = super().main(*args, **kwargs)
        except DistribError as error:
            if "--json" in arguments:
                emit(error.problem())
            complain(error.detail, error.field)
            code = 2 if isinstance(error, InvalidInput | NotFound) or error.status == 400 else 1
        except EmbeddedError as error:
            complain(str(error))
            code = 1
        except click.ClickException as error:
            code = _usage(error)
        except (click.Abort, KeyboardInterrupt):
            code = 130
        except BrokenPipeError:  # the reader has seen enough
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            code = 1
        except Exception as error:
            if (reason := _unreachable(error)) is None:
                raise
            complain(reason)
            code = 1
        sys.exit(code if isinstance(code, int) else 0)


def _usage(error: click.ClickException) -> int:
    """What click has to say about the arguments, as a line of ours."""
    parameter = getattr(error, "param", None)
    field = None
    if isinstance(parameter, click.Parameter):
        field = parameter.opts[0] if isinstance(parameter, click.Option) else parameter.name
    message = error.message if isinstance(error, click.BadParameter) else error.format_message()
    if isinstance(error, click.MissingParameter):
        message = "is needed"
    complain(message, field)
    context = getattr(error, "ctx", None)
    if context is not None:
        click.echo(f"{context.get_usage()}\nTry '{context.command_path} --help'.", err=True)
    return error.exit_code


def _unreachable(error: Exception) -> str | None:
    """What to say when a server does not answer; None for any other error."""
    import redis
    from sqlalchemy.exc import OperationalError

    if isinstance(error, OperationalError):
        return f"the database: {str(error.orig).strip().splitlines()[0]}"
    if isinstance(error, redis.RedisError):
        return f"Redis: {error}"
    return None


@click.group(cls=Root, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, message="distrib %(version)s")
def main() -> None:
    """Multi-level distribution commerce: exact, explained, provable, fast.

    Without any settings distrib runs its own PostgreSQL and Valkey, in DISTRIB_DATA. DATABASE_URL
    and REDIS_URL name others. Every command takes --json.
    """
