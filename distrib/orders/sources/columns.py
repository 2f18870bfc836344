"""Finding a mapping's columns in a header, and reading their cells. Pure."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from operator import itemgetter
from typing import TypeVar

from distrib.errors import InvalidInput
from distrib.orders.sources.mapping import Field

Cells = tuple[str, ...]

CACHED = 50_000
"""How much of one kind is remembered at most."""

T = TypeVar("T")


class Part:
    """Some columns of a row, taken out of it in one step; :meth:`take` is that step."""

    def __init__(self, names: Sequence[str]) -> None:
        self.columns: list[int] = []
        self.fields: dict[str, tuple[Field, tuple[int, ...]]] = {}
        self._names = names

    def add(self, name: str, field: Field) -> None:
        """Find the columns of a field.

        :raises InvalidInput: naming a column that is not there, or there twice.
        """
        found: list[int] = []
        for column in field.columns:
            wanted = column.strip().casefold()
            same = [i for i, known in enumerate(self._names) if known.strip().casefold() == wanted]
            if len(same) > 1:
                raise InvalidInput(f"the column {column!r} stands {len(same)} times", field=name)
            found += same
        if field.columns and not found and not field.optional:
            wanted = " or ".join(repr(column) for column in field.columns)
            known = ", ".join(repr(column) for column in self._names)
            raise InvalidInput(f"there is no column {wanted}; the columns are {known}", field=name)
        # a column that feeds two fields is taken out once
        self.columns += [column for column in found if column not in self.columns]
        self.fields[name] = (field, tuple(self.columns.index(column) for column in found))

    def take(self) -> Callable[[list[str]], Cells]:
        # an itemgetter of one item would not return a tuple
        columns = self.columns if len(self.columns) > 1 else [*self.columns, 0, 0]
        return itemgetter(*columns)

    def reader(
        self, name: str, parse: Callable[[str, str], T], *, once: bool = False
    ) -> Callable[[Sequence[str]], T]:
        """What reads a field out of the part's cells; it parses the same text once.

        :param parse: makes the value of a text and the field's name.
        :param once: the field says something else in each row, so nothing is remembered.
        """
        field, places = self.fields.get(name, (Field(), ()))
        known: dict[str, T] = {}

        def read(cells: Sequence[str]) -> T:
            try:
                return parse(field.text([cells[i] for i in places]), name)
            except InvalidInput as error:
                raise InvalidInput(error.detail, field=name) from None

        def read_known(cells: Sequence[str]) -> T:
            cell = cells[place]
            if cell in known:
                return known[cell]
            if len(known) >= CACHED:
                known.clear()
            value = known[cell] = read(cells)
            return value

        def read_constant(cells: Sequence[str]) -> T:
            if "" not in known:
                known[""] = read(cells)
            return known[""]

        if not places:
            return read_constant
        if once or len(places) > 1:
            return read
        place = places[0]
        return read_known
