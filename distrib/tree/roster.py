"""Deciding a whole list of distributors at once: who of them can be enrolled, in which order. Pure.

The rows stand in any order. A row follows its sponsor's row: it is enrolled when that is, and
rejected when that is. What follows neither somebody recorded nor a root runs in a circle.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime

from distrib.errors import DistribError
from distrib.tree import facts
from distrib.tree.circles import find_circles
from distrib.tree.facts import Known


@dataclass(frozen=True, slots=True)
class Row:
    """One row of the list, read; ``cells`` are its columns as they were written."""

    line: int
    cells: list[str]
    external_id: str
    name: str
    sponsor: str | None
    code: str | None
    joined_at: datetime | None

    @property
    def stated(self) -> tuple[str, str | None, str | None, datetime | None]:
        """What it says of its distributor."""
        return (self.name, self.sponsor, self.code, self.joined_at)


@dataclass(frozen=True, slots=True)
class Reject:
    """A row that is not enrolled, and why."""

    line: int
    cells: list[str]
    reason: str


@dataclass
class Decision:
    """What becomes of the rows.

    ``enrolled`` holds those to be enrolled, sponsors first, with the day on which each joins.
    """

    enrolled: dict[str, tuple[Row, datetime]] = field(default_factory=dict)
    unchanged: int = 0
    rejects: list[Reject] = field(default_factory=list)


def decide(
    rows: Iterable[Row],
    *,
    known: Mapping[str, Known],
    taken_codes: Collection[str],
    unreadable: Mapping[str, int],
    now: datetime,
) -> Decision:
    """Decide every row.

    :param known: what is recorded, by external id, of everybody that the rows name.
    :param taken_codes: those of the rows' codes that the brand's distributors have.
    :param unreadable: external id → line of rows that could not be read, for the reason given to
        the rows that follow them.
    """
    return _Roster(known, taken_codes, unreadable, now).decide(rows)


class _Roster:
    def __init__(
        self,
        known: Mapping[str, Known],
        taken_codes: Collection[str],
        unreadable: Mapping[str, int],
        now: datetime,
    ) -> None:
        self.known = known
        self.taken_codes = taken_codes
        self.unreadable = unreadable
        self.now = now
        self.decision = Decision()
        self.first: dict[str, Row] = {}  # the row that decides about a new external id
        self.rejected: set[str] = set()  # of those
        self.followers: dict[str, list[str]] = {}  # of those, until they are settled

    def decide(self, rows: Iterable[Row]) -> Decision:
        repeats = self._sort_out(rows)
        self._check_codes()
        self._check_sponsors()
        following = {each for some in self.followers.values() for each in some}
        self._settle([each for each in self.first if each not in following])
        for circle in find_circles(
            {each: sponsor for sponsor, some in self.followers.items() for each in some}
        ):
            path = facts.write_path([*circle, circle[0]])
            for external_id in circle:
                self._reject(self.first[external_id], f"the sponsors run in a circle: {path}")
            self._settle(circle)
        for row in repeats:
            if row.external_id in self.rejected:
                line = self.first[row.external_id].line
                self._reject(row, f"repeats line {line}, which was rejected")
            else:
                self.decision.unchanged += 1
        return self.decision

    def _reject(self, row: Row, reason: str) -> None:
        self.decision.rejects.append(Reject(row.line, row.cells, reason))
        if self.first.get(row.external_id) is row:
            self.rejected.add(row.external_id)

    def _sort_out(self, rows: Iterable[Row]) -> list[Row]:
        """Settle the rows of recorded distributors and find the first of each new one.

        :returns: rows that repeat a first one.
        """
        repeats = []
        for row in rows:
            if known := self.known.get(row.external_id):
                reason = facts.contradiction(
                    known,
                    name=row.name,
                    sponsor=row.sponsor,
                    code=row.code,
                    joined_at=row.joined_at,
                )
                if reason is None:
                    self.decision.unchanged += 1
                else:
                    self._reject(row, reason)
                continue
            first = self.first.setdefault(row.external_id, row)
            if first is row:
                continue
            if first.stated == row.stated:
                repeats.append(row)
            else:
                self._reject(row, f"line {first.line} says otherwise of {row.external_id}")
        return repeats

    def _check_codes(self) -> None:
        lines: dict[str, int] = {}
        for row in self.first.values():
            if row.code is None:
                continue
            if row.code in self.taken_codes:
                self._reject(row, f"another distributor has the code {row.code}")
            elif row.code in lines:
                self._reject(row, f"line {lines[row.code]} has the code {row.code} too")
            else:
                lines[row.code] = row.line

    def _check_sponsors(self) -> None:
        """Reject rows whose sponsor is nobody; the others follow it, if it is in the list."""
        followers = defaultdict(list)
        for row in self.first.values():
            sponsor = row.sponsor
            if sponsor is None or sponsor in self.known or row.external_id in self.rejected:
                continue
            if sponsor in self.first:
                followers[sponsor].append(row.external_id)
            elif sponsor in self.unreadable:
                self._reject(row, _fallen(sponsor, self.unreadable[sponsor]))
            else:
                self._reject(row, f"there is no distributor {sponsor} in this brand")
        self.followers = dict(followers)

    def _settle(self, heads: list[str]) -> None:
        """Settle ``heads`` and, downwards, all who follow them; they leave ``followers``."""
        todo = list(heads)
        while todo:
            external_id = todo.pop()
            if external_id not in self.rejected:
                self._enrol(self.first[external_id])
            todo += self.followers.pop(external_id, ())

    def _enrol(self, row: Row) -> None:
        sponsor, sponsor_joined_at = row.sponsor, None
        if sponsor is not None:
            if sponsor in self.rejected:
                self._reject(row, _fallen(sponsor, self.first[sponsor].line))
                return
            recorded = self.known.get(sponsor)
            sponsor_joined_at = (
                recorded.joined_at if recorded else self.decision.enrolled[sponsor][1]
            )
        try:
            joins_at = facts.joining(
                row.joined_at, sponsor_joined_at=sponsor_joined_at, now=self.now
            )
        except DistribError as error:
            self._reject(row, error.detail)
        else:
            self.decision.enrolled[row.external_id] = (row, joins_at)


def _fallen(sponsor: str, line: int) -> str:
    return f"the sponsor {sponsor} was rejected (line {line})"
