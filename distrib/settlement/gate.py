"""How a provider may be called: a rate for all workers together, and a pause when it fails.

Both live in one row a provider, so they hold for any number of workers on any number of machines,
and survive all of them.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta

from sqlalchemy import func, text, update
from sqlalchemy.dialects.postgresql import insert

from distrib import clock
from distrib.db import Database
from distrib.settlement.tables import ProviderGate

FAILURES = 3
"""So many failures in a row open the breaker."""

LONGEST_PAUSE = 600.0

_TAKE = text(
    """
    UPDATE provider_gate SET free_at =
        greatest(coalesce(free_at, :now), :now) + make_interval(secs => :seconds)
    WHERE brand_id = :brand_id AND provider = :provider
    RETURNING extract(epoch FROM free_at - CAST(:now AS timestamptz)) - :seconds AS wait
    """
)


@dataclass(frozen=True)
class Gate:
    """The gate of a brand's provider.

    :param rate: requests a second; None is any number.
    """

    database: Database
    brand_id: int
    provider: str
    rate: float | None

    def closed_for(self) -> float:
        """Seconds until calls may be tried again; 0 when they may be now."""
        with self.database.transaction() as session:
            gate = session.get(ProviderGate, (self.brand_id, self.provider))
            if gate is None or gate.open_until is None:
                return 0.0
            return max(0.0, (gate.open_until - clock.now()).total_seconds())

    def take(self, requests: int) -> float:
        """Take room for ``requests``; the seconds to wait before making them."""
        if self.rate is None:
            return 0.0
        scope = {"brand_id": self.brand_id, "provider": self.provider}
        with self.database.transaction() as session:
            session.execute(insert(ProviderGate).values(scope).on_conflict_do_nothing())
            wait = session.scalar(
                _TAKE, scope | {"now": clock.now(), "seconds": requests / self.rate}
            )
        return float(wait or 0)

    def failed(self, why: str, retry_after: float | None) -> float:
        """A call failed as a whole. Returns the seconds that all should wait."""
        with self.database.transaction() as session:
            session.execute(
                insert(ProviderGate)
                .values(brand_id=self.brand_id, provider=self.provider)
                .on_conflict_do_nothing()
            )
            failures = session.scalars(
                update(ProviderGate)
                .where(
                    ProviderGate.brand_id == self.brand_id, ProviderGate.provider == self.provider
                )
                .values(failures=ProviderGate.failures + 1, last_error=why[:500])
                .returning(ProviderGate.failures)
            ).one()
            pause = retry_after or min(2.0 ** min(failures, 12), LONGEST_PAUSE)
            if failures >= FAILURES or retry_after:
                session.execute(
                    update(ProviderGate)
                    .where(
                        ProviderGate.brand_id == self.brand_id,
                        ProviderGate.provider == self.provider,
                    )
                    .values(
                        open_until=func.greatest(
                            ProviderGate.open_until, clock.now() + timedelta(seconds=pause)
                        )
                    )
                )
        return pause

    def worked(self) -> None:
        """A call came through: what failed before is forgotten."""
        with self.database.transaction() as session:
            session.execute(
                update(ProviderGate)
                .where(
                    ProviderGate.brand_id == self.brand_id,
                    ProviderGate.provider == self.provider,
                    ProviderGate.failures > 0,
                )
                .values(failures=0, open_until=None)
            )
