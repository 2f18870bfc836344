"""What the API's JSON is made of: marshmallow fields that say clearly what is wrong.

Money is an integer in minor units beside a currency, an instant is ISO 8601 with its zone, an id
carries a prefix. Nothing is converted on the way in: ``"12"`` is no integer, ``1.0`` neither.
"""

from __future__ import annotations

from datetime import UTC, date, datetime
from typing import Any

from marshmallow import Schema, ValidationError, fields, validate

from distrib import ids
from distrib.money import MAX_AMOUNT, format_rate

_EARLIEST = datetime(1970, 1, 1, tzinfo=UTC)
_LATEST = datetime(2200, 1, 1, tzinfo=UTC)
_MOST_LETTERS = 200

_MISSING = {"required": "is missing", "null": "must not be null"}


class Shape(Schema):
    """An object of which every key is known."""

    error_messages = {  # noqa: RUF012  # marshmallow reads it as a class attribute
        "unknown": "is not known here",
        "type": "must be an object",
    }


class Text(fields.String):
    """A text of 1 to 200 letters, unless told otherwise."""

    default_error_messages = {**_MISSING, "invalid": "must be a text"}  # noqa: RUF012

    def __init__(self, most: int = _MOST_LETTERS, **options: Any) -> None:
        self.most = most
        within = validate.Length(1, most, error="must have {min} to {max} characters")
        super().__init__(validate=within, **options)


class Choice(fields.String):
    """One of a few words."""

    default_error_messages = Text.default_error_messages

    def __init__(self, *words: str, **options: Any) -> None:
        one_of = validate.OneOf(words, error="must be one of {choices}")
        super().__init__(validate=one_of, **options)


class Whole(fields.Integer):
    """An integer that JSON writes as one, within bounds."""

    default_error_messages = {**_MISSING, "invalid": "must be an integer"}  # noqa: RUF012

    def __init__(self, low: int = 0, high: int = MAX_AMOUNT, **options: Any) -> None:
        self.low, self.high = low, high
        options.setdefault("strict", True)
        within = validate.Range(low, high, error="{input} is outside {min} to {max}")
        super().__init__(validate=within, **options)


class Amount(fields.Integer):
    """An amount in minor units that goes out: it may be negative."""

    def __init__(self, **options: Any) -> None:
        super().__init__(strict=True, **options)


class Objects(fields.List[Any]):
    """A list of objects of one shape."""

    default_error_messages = {**_MISSING, "invalid": "must be a list"}  # noqa: RUF012

    def __init__(self, shape: type[Schema], **options: Any) -> None:
        super().__init__(fields.Nested(shape), **options)


class Yes(fields.Boolean):
    """True or false."""


class Instant(fields.Field[datetime]):
    """An instant: ISO 8601 with a time zone. Goes out in UTC."""

    default_error_messages = {  # noqa: RUF012
        **_MISSING,
        "invalid": "must be an instant with its time zone, such as 2026-03-01T12:00:00+08:00",
        "range": "must lie between 1970 and 2200",
    }

    def _serialize(self, value: datetime | None, *_: Any, **__: Any) -> str | None:
        return None if value is None else write_instant(value)

    def _deserialize(self, value: Any, *_: Any, **__: Any) -> datetime:
        return self.read(value)

    def read(self, value: Any) -> datetime:
        """The instant that ``value`` writes."""
        try:
            instant = datetime.fromisoformat(value)
            if instant.tzinfo is None:
                raise self.make_error("invalid")
            instant = instant.astimezone(UTC)
        except (TypeError, ValueError):
            raise self.make_error("invalid") from None
        except OverflowError:  # at the edges of the calendar
            raise self.make_error("range") from None
        if not _EARLIEST <= instant < _LATEST:
            raise self.make_error("range")
        return instant


class Day(fields.Field[date]):
    """A calendar day, such as ``2026-03-01``."""

    default_error_messages = {  # noqa: RUF012
        **_MISSING,
        "invalid": "must be a day between 1970 and 2200, such as 2026-03-01",
    }

    def _serialize(self, value: date | None, *_: Any, **__: Any) -> str | None:
        return None if value is None else value.isoformat()

    def _deserialize(self, value: Any, *_: Any, **__: Any) -> date:
        try:
            day = date.fromisoformat(value)
        except (TypeError, ValueError):
            raise self.make_error("invalid") from None
        if not _EARLIEST.date() <= day < _LATEST.date():
            raise self.make_error("invalid")
        return day


class PublicId(fields.Field[int]):
    """An id with the prefix that says what it is."""

    def __init__(self, prefix: str, **options: Any) -> None:
        super().__init__(metadata={"example": ids.public(prefix, 34_000_000_000)}, **options)
        self._prefix = prefix

    def _serialize(self, value: int | None, *_: Any, **__: Any) -> str | None:
        return None if value is None else ids.public(self._prefix, value)

    def _deserialize(self, value: Any, *_: Any, **__: Any) -> int:
        try:
            return ids.parse(self._prefix, value)
        except (ValueError, AttributeError) as error:
            raise ValidationError(str(error)) from None


class Hex(fields.Field[bytes]):
    """Bytes as hexadecimal digits."""

    default_error_messages = {**_MISSING, "invalid": "must be hexadecimal digits"}  # noqa: RUF012

    def _serialize(self, value: bytes | None, *_: Any, **__: Any) -> str | None:
        return None if value is None else value.hex()

    def _deserialize(self, value: Any, *_: Any, **__: Any) -> bytes:
        try:
            return bytes.fromhex(value)
        except (TypeError, ValueError):
            raise self.make_error("invalid") from None


class Rate(fields.Field[int]):
    """A rate, in parts per million inside and as a percentage outside."""

    def _serialize(self, value: int | None, *_: Any, **__: Any) -> str | None:
        return None if value is None else format_rate(value)


def write_instant(value: datetime) -> str:
    """An instant as the API writes it: ``2026-03-01T04:00:00Z``."""
    return value.astimezone(UTC).isoformat().replace("+00:00", "Z")


OPENAPI: dict[type[fields.Field[Any]], tuple[str, str | None]] = {
    Instant: ("string", "date-time"),
    Day: ("string", "date"),
    PublicId: ("string", None),
    Hex: ("string", None),
    Rate: ("string", None),
}
"""Type and format of the fields that marshmallow does not know."""
