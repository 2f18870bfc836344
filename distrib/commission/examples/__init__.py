"""Plans to begin with, one a pattern. ``docs/plans.md`` says what each field means. Pure."""

from __future__ import annotations

import json
from importlib.resources import files
from typing import Any


def names() -> list[str]:
    """The names of the examples, in alphabetical order."""
    found = (entry.name for entry in files(__name__).iterdir())
    return sorted(name.removesuffix(".json") for name in found if name.endswith(".json"))


def load(name: str) -> dict[str, Any]:
    """The document of an example.

    :raises KeyError: when there is no such example.
    """
    if name not in names():
        raise KeyError(name)
    document: dict[str, Any] = json.loads(files(__name__).joinpath(f"{name}.json").read_bytes())
    return document
