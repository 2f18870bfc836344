"""What must hold of every brand's tree. Each check yields what is wrong."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from itertools import groupby
from operator import itemgetter

from sqlalchemy.orm import Session

from distrib.audit import Check, Finding, find_rows
from distrib.db import cursor
from distrib.tree.circles import find_circles
from distrib.tree.facts import write_path


def chains_are_whole(session: Session, brand_id: int) -> Iterator[Finding]:
    """The sponsorships of a distributor follow each other without gap or overlap; the last is
    open, and only the last."""
    return find_rows(
        session,
        "tree.chains_are_whole",
        "the sponsorship of distributor {distributor_id} from {valid_from} ends {valid_to},"
        " the next begins {next_from}",
        """
        SELECT * FROM (
            SELECT distributor_id, valid_from, valid_to,
                   lead(valid_from) OVER (PARTITION BY distributor_id ORDER BY valid_from)
                       AS next_from
            FROM sponsorship WHERE brand_id = :brand_id) chain
        WHERE valid_to IS DISTINCT FROM next_from
        ORDER BY distributor_id, valid_from
        """,
        {"brand_id": brand_id},
    )


def chains_begin_with_joining(session: Session, brand_id: int) -> Iterator[Finding]:
    """Every distributor has a sponsorship from the instant it joined on, and none before."""
    return find_rows(
        session,
        "tree.chains_begin_with_joining",
        "distributor {external_id} joined {joined_at}, its first sponsorship begins {first_from}",
        """
        SELECT d.id, d.external_id, d.joined_at, f.first_from
        FROM distributor d LEFT JOIN (
            SELECT distributor_id, min(valid_from) AS first_from
            FROM sponsorship WHERE brand_id = :brand_id GROUP BY distributor_id) f
            ON f.distributor_id = d.id
        WHERE d.brand_id = :brand_id AND d.joined_at IS DISTINCT FROM f.first_from
        ORDER BY d.id
        """,
        {"brand_id": brand_id},
    )


def both_ends_exist(session: Session, brand_id: int) -> Iterator[Finding]:
    """Both ends of a sponsorship are distributors of the same brand, and two different ones."""
    return find_rows(
        session,
        "tree.both_ends_exist",
        "the sponsorship of {distributor_id} by {sponsor_id} from {valid_from} names somebody who"
        " is not in this brand, or one distributor twice",
        """
        SELECT s.distributor_id, s.sponsor_id, s.valid_from FROM sponsorship s
        LEFT JOIN distributor d ON d.brand_id = s.brand_id AND d.id = s.distributor_id
        LEFT JOIN distributor p ON p.brand_id = s.brand_id AND p.id = s.sponsor_id
        WHERE s.brand_id = :brand_id
          AND (d.id IS NULL OR (s.sponsor_id IS NOT NULL AND p.id IS NULL)
               OR s.sponsor_id = s.distributor_id)
        ORDER BY s.distributor_id, s.valid_from
        """,
        {"brand_id": brand_id},
    )


def sponsors_joined_before(session: Session, brand_id: int) -> Iterator[Finding]:
    """Nobody is sponsored by somebody who has not joined yet."""
    return find_rows(
        session,
        "tree.sponsors_joined_before",
        "distributor {distributor_id} is sponsored from {valid_from} on by {external_id}, who"
        " joined {joined_at}",
        """
        SELECT s.distributor_id, s.valid_from, p.external_id, p.joined_at
        FROM sponsorship s JOIN distributor p ON p.brand_id = s.brand_id AND p.id = s.sponsor_id
        WHERE s.brand_id = :brand_id AND p.joined_at > s.valid_from
        ORDER BY s.distributor_id, s.valid_from
        """,
        {"brand_id": brand_id},
    )


def never_a_cycle(session: Session, brand_id: int) -> Iterator[Finding]:
    """At no instant, past or present, does anybody stand above itself.

    A cycle is there from the instant on at which its last edge begins. So the edges are replayed
    in the order in which they begin, and after each instant one walks up from those whose edge
    began then. Whoever has nobody below at that time closes no cycle, and that is nearly
    everybody who joins: the walks are as many as the moves.
    """
    cur = cursor(session)
    cur.execute(
        "SELECT valid_from, distributor_id, sponsor_id FROM sponsorship WHERE brand_id = %s"
        " ORDER BY valid_from, distributor_id",
        [brand_id],
    )
    sponsor_of: dict[int, int | None] = {}
    below: Counter[int | None] = Counter()
    reported: set[frozenset[int]] = set()
    for instant, begun in groupby(cur.fetchall(), key=itemgetter(0)):
        changed: list[int] = []
        for _, distributor_id, sponsor_id in begun:
            if distributor_id in sponsor_of:
                below[sponsor_of[distributor_id]] -= 1
            sponsor_of[distributor_id] = sponsor_id
            below[sponsor_id] += 1
            changed.append(distributor_id)
        for cycle in find_circles(sponsor_of, above=[each for each in changed if below[each]]):
            if frozenset(cycle) not in reported:
                reported.add(frozenset(cycle))
                yield Finding(
                    "tree.never_a_cycle",
                    f"from {instant} on: {write_path([str(each) for each in (*cycle, cycle[0])])}",
                    {"distributor_ids": cycle, "since": instant},
                )


CHECKS: tuple[Check, ...] = (
    chains_are_whole,
    chains_begin_with_joining,
    both_ends_exist,
    sponsors_joined_before,
    never_a_cycle,
)
"""All checks of the tree."""
