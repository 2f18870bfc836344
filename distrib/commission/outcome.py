"""What becomes of a document that comes in."""

from __future__ import annotations

import enum
from dataclasses import dataclass
from datetime import timedelta

from distrib.errors import DistribError

CLOCK_TOLERANCE = timedelta(minutes=5)
"""How far a shop's clock may run ahead of ours."""


class Status(enum.StrEnum):
    """What became of a document that came in."""

    ACCEPTED = "accepted"
    DUPLICATE = "duplicate"
    WAITING = "waiting"
    REJECTED = "rejected"


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of one order or refund. ``id`` is None where nothing is recorded."""

    status: Status
    id: int | None = None
    error: DistribError | None = None


def repeated(first: Outcome, *, same: bool, differs: DistribError) -> Outcome:
    """The outcome of a document that stands in its chunk a second time.

    It shares the fate of the first: a repeat of what was accepted is a duplicate, a repeat of what
    was refused is refused for the same reason. With another content it is refused as ``differs``.
    """
    if not same:
        return Outcome(Status.REJECTED, error=differs)
    if first.status is Status.ACCEPTED:
        return Outcome(Status.DUPLICATE, first.id)
    return first
