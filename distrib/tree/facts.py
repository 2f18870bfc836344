"""What can be said of a distributor, and which errors say that it cannot. Pure."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum

from distrib import ids
from distrib.errors import Conflict, InvalidInput, NotFound

MAX_LENGTH = 200
"""Letters in an external id or a name, at most."""

_CODE = re.compile(r"[A-Za-z0-9_-]{1,64}")
# control characters, halves of surrogate pairs and non-characters: PostgreSQL or XML refuse them
_UNPRINTABLE = re.compile("[\x00-\x1f\x7f-\x9f\ud800-\udfff\ufffe\uffff]")
_EARLIEST = datetime(1970, 1, 1, tzinfo=UTC)
_PATH_SHOWN = 4  # names at either end of a long path


class DistributorStatus(StrEnum):
    """Whether a distributor takes part at present."""

    ACTIVE = "active"
    SUSPENDED = "suspended"


class DistributorNotFound(NotFound):
    """No distributor goes by that name in this brand."""

    title = "No such distributor"


class DistributorExists(Conflict):
    """The external id is enrolled, with other facts."""

    title = "The distributor is enrolled with other facts"


class CodeTaken(Conflict):
    """Another distributor has the code."""

    title = "The code belongs to another distributor"


class SponsorNotFound(InvalidInput):
    """No distributor of this brand has the sponsor's external id."""

    title = "The sponsor is unknown"


class SelfSponsorship(InvalidInput):
    """A distributor cannot be its own sponsor."""

    title = "A distributor cannot sponsor itself"


class JoinedBeforeSponsor(InvalidInput):
    """Nobody is sponsored by someone who joined later."""

    title = "The distributor joined before its sponsor"


class CycleRefused(Conflict):
    """The new sponsor is below the distributor."""

    title = "The move would close a cycle"


class MoveInThePast(Conflict):
    """The move would begin before facts that rest on the tree as it was."""

    title = "The move begins too early"


class MoveInTheFuture(InvalidInput):
    """A move begins now or earlier."""

    title = "The move begins in the future"


@dataclass(frozen=True, slots=True)
class Known:
    """A distributor as it is recorded, with its first and its present sponsor."""

    distributor_id: int
    external_id: str
    name: str
    code: str
    joined_at: datetime
    enrolled_under: str | None
    sponsor: str | None


def storable(value: str) -> bool:
    """Whether the database can keep ``value``; what it cannot keep names nobody."""
    return not _UNPRINTABLE.search(value)


def printable(value: str) -> str:
    """``value`` with a question mark in place of each letter that XML cannot hold."""
    return _UNPRINTABLE.sub("?", value)


def check_text(value: str, *, field: str) -> str:
    """``value``, if it can be an external id or a name.

    :raises InvalidInput: naming ``field``.
    """
    if not value or value != value.strip():
        problem = "begins or ends with white space" if value.strip() else "is empty"
        raise InvalidInput(f"{field} {problem}", field=field)
    if len(value) > MAX_LENGTH:
        raise InvalidInput(
            f"{field} has {len(value)} letters, the most are {MAX_LENGTH}", field=field
        )
    if found := _UNPRINTABLE.search(value):
        problem = f"has a letter that cannot be kept: {found[0]!r}"
        if "\ud800" <= found[0] <= "\udfff":  # half a pair: what stands for bytes that are no text
            problem = "is no UTF-8"
        raise InvalidInput(f"{field} {problem}", field=field)
    return value


def check_code(value: str) -> str:
    """``value``, if it can be a distributor's code.

    :raises InvalidInput: naming the field.
    """
    if not _CODE.fullmatch(value):
        raise InvalidInput(
            f"a code is 1 to 64 of A-Z, a-z, 0-9, _ and -, not {value[:80]!r}", field="code"
        )
    return value


def check_instant(value: datetime, *, field: str) -> datetime:
    """``value`` in UTC, if it carries its time zone and lies after 1970.

    :raises InvalidInput: naming ``field``.
    """
    if value.utcoffset() is None:
        raise InvalidInput(f"{field} carries no time zone", field=field)
    try:
        instant = value.astimezone(UTC)
    except OverflowError:  # at the edges of the calendar
        raise InvalidInput(f"{field} is no day of our time: {value}", field=field) from None
    if instant < _EARLIEST:
        raise InvalidInput(f"{field} is before 1970: {value}", field=field)
    return instant


def check_joined_at(value: datetime, now: datetime) -> datetime:
    """``value`` in UTC, if somebody can have joined then.

    :raises InvalidInput: naming the field.
    """
    joined_at = check_instant(value, field="joined_at")
    if joined_at > now:
        raise InvalidInput(f"joined_at is in the future: {value}", field="joined_at")
    return joined_at


def joining(
    stated: datetime | None, *, sponsor_joined_at: datetime | None, now: datetime
) -> datetime:
    """When somebody joins: as stated, else now, and never before the sponsor.

    :raises JoinedBeforeSponsor: when what is stated is earlier.
    """
    if sponsor_joined_at is None:
        return stated or now
    if stated is None:
        # the sponsor may have been enrolled by a process whose clock is ahead
        return max(now, sponsor_joined_at)
    if stated < sponsor_joined_at:
        raise JoinedBeforeSponsor(
            f"joined_at is {stated.isoformat()}, the sponsor joined later:"
            f" {sponsor_joined_at.isoformat()}",
            field="joined_at",
        )
    return stated


def default_code(distributor_id: int) -> str:
    """The code of a distributor who was given none: the letters of its id."""
    return ids.public("", distributor_id)[1:]


def contradiction(
    known: Known,
    *,
    name: str,
    sponsor: str | None,
    code: str | None,
    joined_at: datetime | None,
) -> str | None:
    """How what is stated of a distributor differs from what is recorded; None if it does not.

    A code or a day of joining that is not stated differs from nothing. The sponsor may be the one
    of enrolment or the present one: a list of either day, sent again, states nothing new.
    """
    for field, recorded, stated in (
        ("name", known.name, name),
        ("code", known.code, code),
        ("joined_at", known.joined_at, joined_at),
    ):
        if stated is not None and stated != recorded:
            return f"{known.external_id} is enrolled with {field} {recorded}, not {stated}"
    if sponsor not in (known.enrolled_under, known.sponsor):
        return (
            f"{known.external_id} is enrolled under {known.sponsor or 'nobody'},"
            f" not {sponsor or 'nobody'}; a move changes it"
        )
    return None


def write_path(names: list[str]) -> str:
    """``A → C → B``; the middle of a long one is left out and counted."""
    if len(names) > 2 * _PATH_SHOWN + 1:
        left_out = f"… {len(names) - 2 * _PATH_SHOWN} more …"
        names = [*names[:_PATH_SHOWN], left_out, *names[-_PATH_SHOWN:]]
    return " → ".join(names)
