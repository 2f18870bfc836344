"""Settings, all of them optional, all from the environment.

With neither ``DATABASE_URL`` nor ``REDIS_URL`` set, distrib runs its own servers under
``DISTRIB_DATA`` (see :mod:`distrib.embedded`).
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from environs import Env, EnvError

from distrib.errors import DistribError


class BadSetting(DistribError):
    """An environment variable holds what it may not hold."""

    title = "A setting is not valid"


@dataclass(frozen=True)
class Settings:
    """What a process needs to know before it starts.

    :param retry_seconds: the pause after a job's first error; it doubles with each claim.
    """

    database_url: str
    redis_url: str
    data_dir: Path
    queue: str = "distrib"
    lease_seconds: int = 60
    chunk_payouts: int = 5_000
    chunk_orders: int = 5_000
    providers_file: Path | None = None
    retry_seconds: float = 2.0


def database_url(url: str) -> str:
    """Name the driver in a plain ``postgres://`` or ``postgresql://`` address.

    :raises BadSetting: for any other database: there is one dialect.
    """
    scheme, separator, rest = url.partition("://")
    if not separator or scheme not in ("postgres", "postgresql", "postgresql+psycopg"):
        raise BadSetting(
            f"DATABASE_URL must start with postgresql://, this one starts with {scheme}",
            field="DATABASE_URL",
        )
    return f"postgresql+psycopg://{rest}"


@contextmanager
def settings() -> Iterator[Settings]:
    """The settings of this process; its servers are up for as long as the block lasts.

    :raises BadSetting: naming the variable and what is wrong with it.
    :raises distrib.embedded.EmbeddedError: when the embedded servers cannot start.
    """
    env = Env()
    try:
        database = env.str("DATABASE_URL", "")
        redis = env.str("REDIS_URL", "")
        queue = env.str("DISTRIB_QUEUE", Settings.queue)
        lease = env.int("DISTRIB_LEASE_SECONDS", Settings.lease_seconds)
        payouts = env.int("DISTRIB_CHUNK_PAYOUTS", Settings.chunk_payouts)
        orders = env.int("DISTRIB_CHUNK_ORDERS", Settings.chunk_orders)
        providers = env.str("DISTRIB_PROVIDERS", "")
    except EnvError as error:
        raise BadSetting(str(error)) from error
    for name, value in (
        ("DISTRIB_LEASE_SECONDS", lease),
        ("DISTRIB_CHUNK_PAYOUTS", payouts),
        ("DISTRIB_CHUNK_ORDERS", orders),
    ):
        if value < 1:
            raise BadSetting(f"{name} must be at least 1, it is {value}", field=name)

    from distrib.embedded import attach, default_data_dir

    data_dir = default_data_dir()
    found = Settings(
        database_url=database_url(database) if database else "",
        redis_url=redis,
        data_dir=data_dir,
        queue=queue,
        lease_seconds=lease,
        chunk_payouts=payouts,
        chunk_orders=orders,
        providers_file=Path(providers) if providers else None,
    )
    if database and redis:
        yield found
        return
    with attach(data_dir) as servers:
        yield replace(
            found,
            database_url=found.database_url or servers.database_url,
            redis_url=found.redis_url or servers.redis_url,
        )
