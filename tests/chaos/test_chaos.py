"""A share of ``make chaos``: one run of each fault, and that the checks find what is wrong."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.chaos.check import violations
from tests.chaos.faults import FAULTS, POINTS, Fault
from tests.chaos.run import run_once
from tests.chaos.world import Arena, World

pytestmark = pytest.mark.races

SEED = 7


@pytest.fixture(scope="session")
def arena() -> Iterator[Arena]:
    """Servers of this test worker's own: they are killed."""
    made = Arena()
    yield made
    made.close()


@pytest.mark.parametrize("name", list(FAULTS))
def test_a_batch_survives(arena: Arena, name: str) -> None:
    """To repeat one elsewhere: ``python -m tests.chaos --seed 7 --fault NAME``."""
    result = run_once(arena, SEED, name)
    assert not result.violations, "\n".join(result.violations)


def test_every_point_of_a_batch_is_tried() -> None:
    """Seeds that follow each other come by all of them."""
    assert len(POINTS) >= 11
    tried = {FAULTS["kill-horse"]._point(seed) for seed in range(len(POINTS))}  # type: ignore[attr-defined]
    assert tried == set(POINTS)


# -- the checks find what is wrong ----------------------------------------------------------------


def _settled(arena: Arena, provider: str) -> World:
    """A run in which nothing goes wrong."""
    world = World(arena, SEED, "nothing", provider)
    fault = Fault(world)
    fault.draw_up()
    world.remember_what_is_due()
    world.approve()
    world.start_workers()
    fault.run()
    world.wait_for_the_end()
    return world


def _pay_again(world: World) -> str:
    double = world.side.double
    assert double is not None
    number, amount = next(iter(double.paid.items()))
    again = number.replace("a1", "a2")
    double.paid[again] = amount
    return f"the provider paid {amount} for {again}, the ledger did not"


def _never_paid(world: World) -> str:
    assert world.side.double is not None
    number, _ = world.side.double.paid.popitem()
    return f"the ledger has {number} as paid, the provider never paid it"


def _paid_too_much(world: World) -> str:
    assert world.side.double is not None
    number, amount = next(iter(world.side.double.paid.items()))
    world.side.double.paid[number] = amount + 1
    return f"{number}: {amount} due, the provider paid {amount + 1}"


def _paid_to_another(world: World) -> str:
    double = world.side.double
    assert double is not None
    account = next(iter(double.received))
    double.received["another"] = double.received.pop(account)
    return f"{account} received 0"


def _lost_an_item(world: World) -> str:
    world.due[1, 2] = 300
    return "item (1, 2): 300 was due, open or in payouts are None"


def _an_item_out_of_nothing(world: World) -> str:
    key, amount = world.due.popitem()
    return f"item {key} of {amount} came out of nothing"


def _a_job_is_left(world: World) -> str:
    world.do("UPDATE job SET state = 'failed', error = 'chaos'")
    return "a job pay_chunk is failed: chaos"


SABOTAGES: list[Callable[[World], str]] = [
    _pay_again,
    _never_paid,
    _paid_too_much,
    _paid_to_another,
    _lost_an_item,
    _an_item_out_of_nothing,
    _a_job_is_left,
]


def test_the_checks_find_what_is_wrong(arena: Arena) -> None:
    """With a batch that was paid, and nothing wrong with it until we put it there."""
    world = _settled(arena, "wechat-pay")
    try:
        assert list(violations(world)) == []
        double = world.side.double
        assert double is not None
        before = dict(double.paid), double.received.copy(), dict(world.due)
        for sabotage in SABOTAGES:
            expected = sabotage(world)
            found = list(violations(world))
            assert any(line.startswith(expected) for line in found), (sabotage, found)
            double.paid, double.received, world.due = (each.copy() for each in before)  # type: ignore[assignment]
    finally:
        world.close()


def test_the_checks_find_a_payee_who_is_in_the_file_twice(arena: Arena) -> None:
    world = _settled(arena, "bank-file")
    try:
        ((name,),) = world.rows("SELECT name FROM batch_file")
        path: Path = world.settings.data_dir / name
        lines = path.read_text().splitlines()
        path.write_text("\n".join([*lines, lines[-1]]) + "\n")
        found = list(violations(world))
        number = lines[-1].partition(",")[0]
        assert any(line.startswith(f"{number}: ") for line in found), found
    finally:
        world.close()
