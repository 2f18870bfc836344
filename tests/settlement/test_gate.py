"""The gate of a provider: one rate for all workers, and a pause after failures."""

from __future__ import annotations

from datetime import timedelta

from distrib import clock
from distrib.db import Database
from distrib.settlement.gate import FAILURES, LONGEST_PAUSE, Gate
from tests import factories
from tests.races.world import together

NOW = factories.NOON


def test_a_rate_is_shared_by_all(db: Database) -> None:
    brand = factories.brand(db)
    gates = [Gate(db, brand.id, "slow", 10.0) for _ in range(2)]
    with clock.travel(NOW):
        assert [round(gate.take(5), 6) for gate in gates * 2] == [0.0, 0.5, 1.0, 1.5]
        assert Gate(db, brand.id, "other", 10.0).take(5) == 0.0
        assert Gate(db, factories.brand(db).id, "slow", 10.0).take(5) == 0.0
    with clock.travel(NOW + timedelta(seconds=60)):  # what was not used is not saved up
        assert [round(gate.take(20), 6) for gate in gates] == [0.0, 2.0]
        assert Gate(db, brand.id, "slow", None).take(1_000_000) == 0.0


def test_a_rate_is_shared_by_threads(db: Database) -> None:
    gate = Gate(db, factories.brand(db).id, "slow", 4.0)

    def take() -> float:
        with clock.travel(NOW):
            return gate.take(1)

    waits = together(*[take] * 8)
    assert sorted(round(wait, 6) for wait in waits) == [n / 4 for n in range(8)]


def test_failures_in_a_row_open_the_breaker(db: Database) -> None:
    gate = Gate(db, factories.brand(db).id, "down", None)
    with clock.travel(NOW):
        pauses = [gate.failed("no connection", None) for _ in range(FAILURES - 1)]
        assert gate.closed_for() == 0.0
        pauses.append(gate.failed("no connection", None))
        assert gate.closed_for() == pauses[-1]
        assert pauses == sorted(pauses)
        for _ in range(20):
            last = gate.failed("no connection", None)
        assert (last, gate.closed_for()) == (LONGEST_PAUSE, LONGEST_PAUSE)
        gate.worked()
        assert gate.closed_for() == 0.0
        gate.failed("busy", 30.0)  # a provider that says when is believed at once
        assert gate.closed_for() == 30.0
    with clock.travel(NOW + timedelta(seconds=31)):
        assert gate.closed_for() == 0.0
