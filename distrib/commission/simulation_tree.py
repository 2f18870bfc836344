"""A brand's whole referral tree through time, asked for very many orders at once. Pure.

Distributors are numbered by their id here, from 0; -1 is nobody.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import numpy as np

Ints = np.ndarray[Any, np.dtype[np.int64]]

NOBODY = -1
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class Forest:
    """All sponsorships, dated.

    :param distributor: of each edge, ascending; ``valid_from`` (microseconds since 1970) ascends
        within each distributor; ``sponsor`` is 0 for none.
    """

    def __init__(self, distributor: Ints, valid_from: Ints, sponsor: Ints) -> None:
        self.ids = np.unique(np.concatenate([distributor, sponsor[sponsor != 0]]))
        """The distributors' ids, by number."""
        self._of = self.number(distributor)
        numbers = np.arange(len(self.ids))
        self._first = np.searchsorted(self._of, numbers)
        self._edges = np.searchsorted(self._of, numbers, side="right") - self._first
        self._sponsor = self.number(sponsor)
        self._times = np.unique(valid_from)
        self._spans = len(self._times) + 1
        self._keys = self._of * self._spans + np.searchsorted(self._times, valid_from) + 1

    def number(self, ids: Ints) -> Ints:
        """The numbers of distributors, -1 for 0 and for one that is not in the tree."""
        if not len(self.ids):
            return np.full(ids.shape, NOBODY)
        place = np.minimum(np.searchsorted(self.ids, ids), len(self.ids) - 1)
        return np.where(self.ids[place] == ids, place, NOBODY)

    def id_of(self, number: Ints) -> Ints:
        """The ids of numbers, 0 for nobody."""
        if not len(self.ids):
            return np.zeros(number.shape, np.int64)
        return np.where(number == NOBODY, 0, self.ids[number])

    def chains(self, who: Ints, at: Ints, depth: int) -> Ints:
        """Numbers of distributors and those who stood above them at given instants, nearest first.

        As a distributor's edges follow each other without a gap, the last that began by then is
        the one that was valid. Shape (n, depth).
        """
        made = np.full((len(who), depth), NOBODY)
        if not len(self._of):
            return made
        span = np.searchsorted(self._times, at, side="right")
        for level in range(depth):
            edge = self._edge(who, span)
            there = (who != NOBODY) & (edge >= 0)
            there &= self._of[edge] == who
            made[:, level] = np.where(there, who, NOBODY)
            if not there.any():
                break
            who = np.where(there, self._sponsor[edge], NOBODY)
        return made

    def _edge(self, who: Ints, span: Ints) -> Ints:
        """The last edge that began by then, if it is one of the distributor's. Most have one."""
        edge = np.minimum(self._first[who], len(self._of) - 1)
        key = who * self._spans + span
        edge = np.where(self._keys[edge] <= key, edge, -1)
        moved = np.flatnonzero(self._edges[who] > 1)
        edge[moved] = np.searchsorted(self._keys, key[moved], side="right") - 1
        return edge
