"""Finding circles among people who have one sponsor each. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TypeVar

T = TypeVar("T")


def find_circles(
    sponsor_of: Mapping[T, T | None], *, above: Iterable[T] | None = None
) -> list[list[T]]:
    """The circles in which sponsors run, each from the top down, beginning anywhere.

    Everybody has one sponsor at most, so a walk upwards from each, which stops where a walk has
    been before, meets each circle once, and costs one step for each that is walked upon.

    :param above: those to begin at; by default all.
    """
    circles = []
    walk_of: dict[T, T] = {}  # who was met in the walk that began at whom
    for start in sponsor_of if above is None else above:
        here: T | None = start
        while here is not None and here in sponsor_of and here not in walk_of:
            walk_of[here] = start
            here = sponsor_of[here]
        if here is not None and walk_of.get(here) == start:
            circle = [here]
            while (sponsor := sponsor_of[circle[-1]]) is not None and sponsor != here:
                circle.append(sponsor)
            circles.append(circle[::-1])
    return circles
