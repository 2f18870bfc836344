"""Every test here is a race; none may leave a thread or a process behind."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from distrib.brands.tables import Brand
from distrib.db import Database
from tests import factories
from tests.races import world
from tests.races.process import Nest

_HERE = Path(__file__).parent


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark what is in this directory."""
    for item in items:
        if item.path.is_relative_to(_HERE):
            item.add_marker(pytest.mark.races)


@pytest.fixture
def shop(db: Database) -> Brand:
    """A brand with distributors d0 to d11 and a plan; see :func:`world.populate`."""
    brand = factories.brand(db)
    world.populate(db, brand)
    return brand


@pytest.fixture(scope="session")
def nest() -> Iterator[Nest]:
    """Where processes come from."""
    found = Nest()
    yield found
    found.close()
