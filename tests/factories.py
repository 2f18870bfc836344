"""Small makers of what tests need; each takes the database and commits."""

from __future__ import annotations

import itertools
from typing import Any

from distrib.brands import service as brands
from distrib.brands.tables import Brand
from distrib.db import Database

_count = itertools.count(1)


def brand(db: Database, **changes: Any) -> Brand:
    """A brand with a slug of its own."""
    fields: dict[str, Any] = {
        "slug": f"brand-{next(_count)}",
        "name": "Tea House",
        "currency": "CNY",
        "time_zone": "Asia/Shanghai",
        "hold_days": 15,
        "minimum_payout": 100,
        "levels": 3,
    }
    with db.transaction() as session:
        return brands.create_brand(session, **fields | changes)
