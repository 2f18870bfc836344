"""Named points at which a test may pull the plug. In production they do nothing."""

from __future__ import annotations

from collections.abc import Callable

hook: Callable[[str], None] | None = None
"""Set by the kill tests to a function that ends the process at the point of its choice."""


def point(name: str) -> None:
    """Pass the point ``name``: between two steps of work that must survive a kill."""
    if hook is not None:
        hook(name)
