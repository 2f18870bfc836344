"""A payee whom a file's adapter refuses to write: the file holds the others, and the batch ends."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from distrib import ids
from distrib.brands.tables import Brand
from distrib.config import Settings
from distrib.db import Database
from distrib.settlement.answers import apply_outcomes
from distrib.settlement.batch import get_batch
from distrib.settlement.book_tables import PayoutMethod
from distrib.settlement.finishing import list_files
from distrib.settlement.payouts import reissue_payout
from distrib.settlement.providers import Outcome, Status
from distrib.settlement.tables import BatchFile
from tests import factories
from tests.doubles.stripe import StripeDouble
from tests.settlement.paying_world import World

ADAPTERS = {
    "csv": 'adapter = "bank-file"\nrequire_account = true\nawait_status = {waits}\n',
    "xml": 'adapter = "pain-001"\ndebtor_name = "Tea"\ndebtor_account = "110001"\n'
    'debtor_bank = "BKCHCNBJ"\nawait_status = {waits}\n',
}


@pytest.fixture
def double() -> Iterator[StripeDouble]:
    with StripeDouble() as found:
        yield found


class Banked(World):
    """Payees with bank accounts, but for those who have none worth the name."""

    nowhere: tuple[str, ...] = ("bea", "eve")

    def add_method(self, name: str, account: str) -> int:  # noqa: ARG002
        method_id = ids.new()
        details = {"account_no": "62220001", "bank_name": "Bank"}
        with self.db.transaction() as session:
            session.add(
                PayoutMethod(
                    brand_id=self.brand.id,
                    id=method_id,
                    distributor_id=self.who[name],
                    kind="bank",
                    name=name.title(),
                    details={} if name in self.nowhere else details,
                    created_at=self.now,
                    created_by="tests",
                    proved_at=self.now,
                    proved_by="tests",
                    usable_from=self.now,
                )
            )
            session.flush()
        return method_id

    def files(self) -> list[BatchFile]:
        """The batch's."""
        with self.db.transaction() as session:
            batch = get_batch(session, brand_id=self.brand.id, number=1)
            return list_files(session, batch=batch)


Make = Callable[[str, str], Banked]


@pytest.fixture
def make(db: Database, settings: Settings, double: StripeDouble, tmp_path: Path) -> Make:
    """A brand with a provider ``bank`` that writes files of a suffix."""

    def make_world(suffix: str, waits: str) -> Banked:
        brand: Brand = factories.brand(db, levels=1)
        path = tmp_path / "providers.toml"
        path.write_text(f"[{brand.slug}.bank]\n" + ADAPTERS[suffix].format(waits=waits))
        found = replace(settings, providers_file=path, data_dir=tmp_path / "data", lease_seconds=5)
        return Banked(db, brand, found, double)

    return make_world


@pytest.mark.parametrize("suffix", list(ADAPTERS))
def test_the_file_holds_the_others(make: Make, suffix: str) -> None:
    world = make(suffix, "false")
    world.start("bank")
    world.work()
    assert world.state() == "partly_failed"
    states: dict[str, Any] = world.payouts()
    assert states == {"ann": "paid", "bea": "failed", "cat": "paid", "dan": "paid", "eve": "failed"}
    ((file),) = world.files()
    assert (file.payouts, file.total) == (3, 3_000)
    assert world.findings() == []

    world.later(hours=1)
    world.do(
        reissue_payout, no=world.no("bea"), reissued_by="maker", reason="the account is known now"
    )
    world.work()
    assert [each.payouts for each in world.files()] == [3]  # refused again: no file for nobody
    assert world.findings() == []


@pytest.mark.parametrize("suffix", list(ADAPTERS))
def test_what_the_bank_turns_down_later_stays_in_the_file(
    db: Database, make: Make, suffix: str
) -> None:
    world = make(suffix, "true")
    world.start("bank")
    world.work()
    with db.transaction() as session:
        batch_id = get_batch(session, brand_id=world.brand.id, number=1).id
    apply_outcomes(
        db,
        brand_id=world.brand.id,
        provider="bank",
        outcomes=[
            Outcome(f"{batch_id}p{world.no('ann')}a1", Status.FAILED),
            Outcome(f"{batch_id}p{world.no('cat')}a1", Status.PAID),
            Outcome(f"{batch_id}p{world.no('dan')}a1", Status.PAID),
        ],
        source="status file",
    )
    world.later(hours=7)
    world.work()
    assert world.state() == "partly_failed"
    ((file),) = world.files()
    assert (file.payouts, file.total) == (3, 3_000)
    assert world.findings() == []
