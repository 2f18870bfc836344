"""Identifiers: made in the process, ordered by time, never asked of the database one by one.

An id is 59 bits: 40 of milliseconds since 2026, 12 of node, 7 of sequence. It leaves four bits of
a ``bigint`` free, in which the ledger writes the kind of account, so that an account's number is
computed and never looked up. When a process wants more than 128 ids in a millisecond it borrows
from the milliseconds to come; ids stay unique and increasing within the process.

Outside, an id is written with a prefix that says what it is: ``ord_01a2b3c4d5e6``.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable

_EPOCH_MS = 1_767_225_600_000  # 2026-01-01T00:00:00Z
_NODE_BITS = 12
_SEQUENCE_BITS = 7
_TICK = 1 << (_NODE_BITS + _SEQUENCE_BITS)
_MAX_ID = (1 << 59) - 1

NODES = 1 << _NODE_BITS

# Crockford's base 32: no i, l, o, u, so an id survives being read aloud.
_ALPHABET = "0123456789abcdefghjkmnpqrstvwxyz"
_VALUES = {letter: value for value, letter in enumerate(_ALPHABET)}
_LENGTH = 12


class IdMaker:
    """Makes ids for one node. Safe for threads; after a fork the child must take a new node."""

    def __init__(self, node: int) -> None:
        if not 0 <= node < NODES:
            raise ValueError(f"node {node} is outside 0..{NODES - 1}")
        self._node = node
        self._next = 0  # a position on the (millisecond, sequence) line
        self._lock = threading.Lock()

    def take(self, count: int) -> list[int]:
        """``count`` new ids, increasing."""
        now = (time.time_ns() // 1_000_000 - _EPOCH_MS) << _SEQUENCE_BITS
        with self._lock:
            first = max(self._next, now)
            self._next = first + count
        low = (1 << _SEQUENCE_BITS) - 1
        node = self._node << _SEQUENCE_BITS
        return [
            (position >> _SEQUENCE_BITS) * _TICK + node + (position & low)
            for position in range(first, first + count)
        ]


class _Process:
    """The maker of this process; a forked child starts without one."""

    maker: IdMaker | None = None
    pid = 0


def use_node(choose: Callable[[], int]) -> None:
    """Give this process its node once; ``choose`` asks the database's ``id_node`` sequence."""
    if _Process.maker is None or _Process.pid != os.getpid():
        _Process.maker, _Process.pid = IdMaker(choose() % NODES), os.getpid()


def take(count: int) -> list[int]:
    """``count`` new ids of this process.

    :raises RuntimeError: before :func:`use_node` (opening a database session calls it).
    """
    maker = _Process.maker
    if maker is None or _Process.pid != os.getpid():
        raise RuntimeError("no node yet: open a database session first")
    return maker.take(count)


def new() -> int:
    """One new id."""
    return take(1)[0]


def public(prefix: str, number: int) -> str:
    """Write an id for the outside: ``public("ord", 1) == "ord_000000000001"``."""
    letters = []
    for _ in range(_LENGTH):
        number, digit = divmod(number, 32)
        letters.append(_ALPHABET[digit])
    return f"{prefix}_{''.join(reversed(letters))}"


def parse(prefix: str, text: str) -> int:
    """Read an id written by :func:`public`.

    :raises ValueError: when the prefix or a letter is wrong.
    """
    head, _, letters = text.partition("_")
    if head != prefix or len(letters) != _LENGTH:
        raise ValueError(f"{text!r} is not an id of the form {prefix}_ and {_LENGTH} letters")
    number = 0
    for letter in letters:
        if letter not in _VALUES:
            raise ValueError(f"{text!r} has a letter that no id has: {letter!r}")
        number = number * 32 + _VALUES[letter]
    if number > _MAX_ID:
        raise ValueError(f"{text!r} is not an id: too large")
    return number
