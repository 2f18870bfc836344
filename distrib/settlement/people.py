"""Who does something, where it takes two: names are compared as people read them."""

from __future__ import annotations

from distrib.errors import Conflict, InvalidInput, unstorable

_MOST_LETTERS = 200
_MOST_WORDS = 2_000


class AnotherPersonNeeded(Conflict):
    """Who asked for something does not approve it."""

    title = "Somebody else has to do this"


def require_person(name: str, field: str) -> str:
    """The name of whoever does something, trimmed.

    :raises InvalidInput: for none.
    """
    name = name.strip()
    if not 1 <= len(name) <= _MOST_LETTERS:
        raise InvalidInput(f"must have 1 to {_MOST_LETTERS} characters", field=field)
    if (reason := unstorable(name)) is not None:
        raise InvalidInput(reason, field=field)
    return name


def require_words(words: str, field: str, request: str) -> str:
    """A reason or a proof in words, trimmed.

    :param request: what to say when there are none: ``say why``.
    :raises InvalidInput: when it says nothing.
    """
    words = words.strip()
    if not words:
        raise InvalidInput(request, field=field)
    if len(words) > _MOST_WORDS:
        raise InvalidInput(f"must have at most {_MOST_WORDS} characters", field=field)
    if (reason := unstorable(words)) is not None:
        raise InvalidInput(reason, field=field)
    return words


def is_same_person(one: str, other: str | None) -> bool:
    """Whether two names are one person's: ``Ann`` is ``ann ``."""
    return other is not None and one.strip().casefold() == other.strip().casefold()
