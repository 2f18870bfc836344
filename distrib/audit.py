"""What a check of the audit is: a query over one brand that returns what is wrong.

Each package lists its own checks (``ledger/audit.py``, ``tree/audit.py`` …); the command
``distrib audit`` runs them all. No finding means the invariant holds for every row.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import text
from sqlalchemy.orm import Session


@dataclass(frozen=True)
class Finding:
    """One thing that is wrong: which check found it, what it is, and the row it concerns."""

    check: str
    detail: str
    row: dict[str, Any] = field(default_factory=dict)


Check = Callable[[Session, int], Iterator[Finding]]
"""Given a session and a brand's id, yields what is wrong. Its docstring says what must hold."""


def find_rows(
    session: Session, check: str, detail: str, query: str, parameters: Mapping[str, Any]
) -> Iterator[Finding]:
    """A finding for each row that ``query`` returns; ``detail`` is formatted with its columns."""
    for row in session.execute(text(query), dict(parameters)).mappings():
        yield Finding(check, detail.format(**row), dict(row))
