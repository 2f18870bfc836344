"""In which language to answer, where there are words to choose."""

from __future__ import annotations

from flask import request

from distrib.api.fields import Choice

LANGUAGES = ("en", "zh")


def language_field() -> Choice:
    """The parameter that names a language; left out, the caller's ``Accept-Language`` does."""
    return Choice(
        *LANGUAGES,
        load_default=None,
        metadata={"description": "Left out: what `Accept-Language` prefers, else `en`."},
    )


def choose_language(asked: str | None) -> str:
    """The language asked for, or the one that the request prefers."""
    return asked or request.accept_languages.best_match(LANGUAGES) or "en"
