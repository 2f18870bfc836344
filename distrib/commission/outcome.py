"""What becomes of a document that comes in."""

from __future__ import annotations

import enum
from collections.abc import Callable
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


def settle_repeats(
    outcomes: list[Outcome | None],
    repeats: list[tuple[int, int]],
    *,
    same: Callable[[int, int], bool],
    differs: Callable[[int], DistribError],
    take: Callable[[list[int]], list[Outcome]],
) -> None:
    """Fill in the outcomes of documents whose name stands earlier in their chunk, so that a chunk
    ends as its documents would one by one.

    :param repeats: (document, the first of its name).
    :param same: whether two documents have the same content.
    :param take: takes documents anew: those whose first was refused, and so left no trace.
    """
    again = []
    for i, first in repeats:
        earlier = outcomes[first]
        if earlier is None or (earlier.error is not None and not same(i, first)):
            again.append(i)
        elif earlier.error is not None:
            outcomes[i] = earlier
        elif same(i, first):
            outcomes[i] = Outcome(Status.DUPLICATE, earlier.id)
        else:
            outcomes[i] = Outcome(Status.REJECTED, error=differs(i))
    if again:
        for i, outcome in zip(again, take(again), strict=True):
            outcomes[i] = outcome
