"""Reading right documents quickly: what marshmallow would make of them, at a tenth of the price.

The quick reader is compiled from a schema's fields and knows only what is right. Whatever it doubts
goes to marshmallow, which has the last word: it says what is wrong, or takes it after all.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property
from typing import Any, cast

from marshmallow import ValidationError, fields, missing

from distrib.api.fields import Instant, Objects, Shape, Text, Whole

Reader = Callable[[Any], Any]


class _Doubt(Exception):
    """Not plainly right."""


class Document(Shape):
    """A schema that makes a document of what it loads, quickly where it can."""

    def make(self, given: dict[str, Any], **_: Any) -> Any:
        """The document; a subclass decorates it with ``post_load``."""
        raise NotImplementedError

    @cached_property
    def quick(self) -> Reader:
        """The quick reader of this schema; raises what only this module catches."""
        readers = {name: _reader(field) for name, field in self.fields.items()}
        required = {name for name, field in self.fields.items() if field.required}
        make = self.make

        def read(given: Any) -> Any:
            if type(given) is not dict or not given.keys() >= required:
                raise _Doubt
            return make({name: readers[name](value) for name, value in given.items()})

        return read

    def load(self, data: Any, **options: Any) -> Any:
        """What ``data`` says.

        :raises marshmallow.ValidationError: naming all that is wrong.
        """
        try:
            return self.quick(data)
        except (_Doubt, KeyError, ValidationError):
            return super().load(data, **options)


def _reader(field: fields.Field[Any]) -> Reader:
    read = _plain_reader(field)
    if field.load_default is not missing or field.data_key is not None:
        raise TypeError(f"{field!r} is not for quick reading")
    if not field.allow_none:
        return read
    return lambda value: None if value is None else read(value)


def _plain_reader(field: fields.Field[Any]) -> Reader:
    if isinstance(field, Text):
        return _text(field.most)
    if isinstance(field, Whole):
        return _whole(field.low, field.high)
    if isinstance(field, Instant):
        return field.read
    if isinstance(field, Objects):
        return _objects(cast(Document, cast("fields.Nested", field.inner).schema).quick)
    raise TypeError(f"{field!r} is not for quick reading")


def _text(most: int) -> Reader:
    def read(value: Any) -> str:
        if type(value) is str and 0 < len(value) <= most:
            return value
        raise _Doubt

    return read


def _whole(low: int, high: int) -> Reader:
    def read(value: Any) -> int:
        if type(value) is int and low <= value <= high:
            return value
        raise _Doubt

    return read


def _objects(quick: Reader) -> Reader:
    def read(value: Any) -> list[Any]:
        if type(value) is list:
            return [quick(each) for each in value]
        raise _Doubt

    return read
