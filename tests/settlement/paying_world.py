"""A brand that pays by Stripe's documented protocol, and what tests do with its batches."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import date, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import text

from distrib import clock, ids, jobs
from distrib.audit import Finding
from distrib.brands.tables import Brand
from distrib.config import Settings
from distrib.db import Database
from distrib.settlement.audit import audit_brand
from distrib.settlement.batch import (
    approve_batch,
    draw_up_batch,
    get_batch,
    mature_for_batch,
    submit_batch,
)
from distrib.settlement.book_tables import PayoutMethod
from distrib.settlement.providers.registry import choose_provider
from distrib.settlement.running import run_batch
from distrib.settlement.statement import Balances
from distrib.settlement.tables import SettlementBatch
from tests import factories
from tests.doubles.stripe import API_KEY, WEBHOOK_SECRET, StripeDouble
from tests.factories import NOON, order

DAY = date(2026, 3, 16)
MATURED = NOON + timedelta(days=15)
NAMES = ("ann", "bea", "cat", "dan", "eve")


def stripe_settings(
    settings: Settings, brand: Brand, double: StripeDouble, folder: Path, patch: pytest.MonkeyPatch
) -> Settings:
    """Settings in which the brand has providers ``stripe``, ``bank`` (waits for status files)."""
    patch.setenv("STRIPE_TEST_KEY", API_KEY)
    patch.setenv("STRIPE_TEST_WEBHOOK", WEBHOOK_SECRET)
    path = folder / "providers.toml"
    path.write_text(
        f"""
        [{brand.slug}.stripe]
        adapter = "stripe"
        api_key_env = "STRIPE_TEST_KEY"
        webhook_secret_env = "STRIPE_TEST_WEBHOOK"
        callbacks = true
        base_url = "{double.base_url}"

        [{brand.slug}.bank]
        adapter = "bank-file"
        await_status = true
        """,
        encoding="utf-8",
    )
    return replace(settings, providers_file=path, data_dir=folder / "data", lease_seconds=5)


class World:
    """A brand with five payees, ten orders' worth of commission each, and its provider's double."""

    def __init__(self, db: Database, brand: Brand, settings: Settings, double: StripeDouble):
        self.db, self.brand, self.settings, self.double = db, brand, settings, double
        self.now: datetime = MATURED
        factories.plan(db, brand, "10%")
        self.who = factories.enrol(db, brand, dict.fromkeys(NAMES))
        self.earn("first")
        self.methods = {name: self.add_method(name, f"acct_{name}") for name in NAMES}

    def earn(self, prefix: str, amount: int = 10_000, placed_at: datetime = NOON) -> None:
        """An order of each payee, commission a tenth."""
        taken = factories.take(
            self.db,
            self.brand,
            *(
                order(f"{prefix}-{name}", amount, distributor=name, placed_at=placed_at)
                for name in NAMES
            ),
        )
        factories.ids_of(taken)

    def add_method(self, name: str, account: str) -> int:
        """A proved method, in place of the one before."""
        method_id = ids.new()
        with self.db.transaction() as session:
            session.execute(
                text(
                    "UPDATE payout_method SET replaced_at = :now WHERE brand_id = :brand"
                    " AND distributor_id = :who AND proved_at IS NOT NULL AND replaced_at IS NULL"
                ),
                {"now": self.now, "brand": self.brand.id, "who": self.who[name]},
            )
            session.add(
                PayoutMethod(
                    brand_id=self.brand.id,
                    id=method_id,
                    distributor_id=self.who[name],
                    kind="stripe",
                    name=name.title(),
                    details={"account_id": account},
                    created_at=self.now,
                    created_by="tests",
                    proved_at=self.now,
                    proved_by="tests",
                    usable_from=self.now,
                )
            )
            session.flush()
        return method_id

    def later(self, **span: float) -> None:
        """Time passes."""
        self.now += timedelta(**span)

    def do(self, verb: Any, **facts: Any) -> Any:
        """A verb about batch 1 in a transaction of its own, now."""
        with clock.travel(self.now):
            return self.db.run(
                lambda session: verb(session, **({"brand_id": self.brand.id, "number": 1} | facts))
            )

    def draw_up(self, provider: str = "stripe", **facts: Any) -> SettlementBatch:
        """A draft."""
        with clock.travel(self.now):
            mature_for_batch(self.db, brand=self.brand, cutoff=DAY)
            return self.db.run(
                lambda session: draw_up_batch(
                    session,
                    brand=self.brand,
                    cutoff=DAY,
                    provider=choose_provider(self.settings, self.brand.slug, provider),
                    created_by="maker",
                    **facts,
                )
            )

    def approve(self, number: int = 1) -> None:
        """Submitted by the maker, approved by another."""
        self.do(submit_batch, submitted_by="maker", number=number)
        self.do(approve_batch, approved_by="checker", content_hash=None, number=number)

    def start(self, provider: str = "stripe", number: int = 1) -> None:
        """From open items to a batch that is being paid."""
        self.draw_up(provider)
        self.approve(number)
        self.do(run_batch, chunk_payouts=2, number=number)

    def work(self) -> None:
        """Do all jobs that are due."""
        with clock.travel(self.now):
            jobs.run_all(self.db, self.settings)

    def state(self, number: int = 1) -> str:
        """The batch's."""
        with self.db.transaction() as session:
            return get_batch(session, brand_id=self.brand.id, number=number).state

    def payouts(self) -> dict[str, str]:
        """Payee → state of its payout in batch 1."""
        with self.db.transaction() as session:
            rows = session.execute(
                text(
                    "SELECT d.external_id, p.state FROM payout p JOIN settlement_batch s"
                    " ON s.brand_id = p.brand_id AND s.id = p.batch_id JOIN distributor d"
                    " ON d.brand_id = p.brand_id AND d.id = p.distributor_id"
                    " WHERE p.brand_id = :b AND s.number = 1"
                ),
                {"b": self.brand.id},
            )
            return {row[0]: row[1] for row in rows}

    def no(self, name: str) -> int:
        """The number of a payee's payout in batch 1."""
        with self.db.transaction() as session:
            found = session.scalar(
                text(
                    "SELECT p.no FROM payout p JOIN settlement_batch s ON s.brand_id = p.brand_id"
                    " AND s.id = p.batch_id WHERE p.brand_id = :b AND s.number = 1"
                    " AND p.distributor_id = :who"
                ),
                {"b": self.brand.id, "who": self.who[name]},
            )
        assert found is not None
        return int(found)

    def events(self) -> list[tuple[str, int | None, str]]:
        """Kind, payout and actor of what was done to batch 1."""
        with self.db.transaction() as session:
            return [
                (row[0], row[1], row[2])
                for row in session.execute(
                    text(
                        "SELECT e.kind, e.no, e.actor FROM settlement_event e"
                        " WHERE brand_id = :b ORDER BY e.id"
                    ),
                    {"b": self.brand.id},
                )
            ]

    def findings(self) -> Sequence[Finding]:
        """What the audit finds."""
        with self.db.snapshot() as session:
            return list(audit_brand(session, brand_id=self.brand.id))

    def balance(self, name: str) -> Balances:
        """A payee's balances."""
        return factories.balances(self.db, self.brand, self.who[name])
