"""Ids are unique, increase, and survive being written down."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from distrib import ids
from distrib.ids import NODES, IdMaker

MAX_ID = (1 << 59) - 1


def test_ids_increase_by_one_maker() -> None:
    maker = IdMaker(7)
    taken = [*maker.take(1), *maker.take(1000), *maker.take(1), *maker.take(200)]
    assert taken == sorted(set(taken))
    assert len(taken) == 1202


def test_no_ids_is_no_ids() -> None:
    maker = IdMaker(0)
    assert maker.take(0) == []
    assert len(maker.take(1)) == 1


def test_ids_say_when_they_were_made() -> None:
    epoch = datetime(2026, 1, 1, tzinfo=UTC).timestamp()
    before = time.time()
    (made,) = IdMaker(NODES - 1).take(1)
    after = time.time()
    milliseconds = made >> 19
    assert int((before - epoch) * 1000) <= milliseconds <= (after - epoch) * 1000


def test_ids_leave_four_bits_for_the_kind_of_account() -> None:
    ends_of_time = [*IdMaker(0).take(1), *IdMaker(NODES - 1).take(1)]
    assert all(0 < each <= MAX_ID for each in ends_of_time)
    assert MAX_ID * 16 + 15 < 2**63


def test_makers_of_different_nodes_never_meet() -> None:
    makers = [IdMaker(node) for node in (0, 1, 2, NODES - 1)]
    taken = [each for _ in range(20) for maker in makers for each in maker.take(50)]
    assert len(set(taken)) == 20 * 4 * 50


@pytest.mark.parametrize("node", [-1, NODES])
def test_a_node_has_twelve_bits(node: int) -> None:
    with pytest.raises(ValueError, match=r"outside 0\.\.4095"):
        IdMaker(node)


def test_threads_share_a_maker() -> None:
    maker, parts = IdMaker(3), dict[int, list[int]]()

    def work(thread: int) -> None:
        parts[thread] = [each for _ in range(200) for each in maker.take(7)]

    threads = [threading.Thread(target=work, args=[n]) for n in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len({each for part in parts.values() for each in part}) == 8 * 200 * 7
    assert all(part == sorted(part) for part in parts.values())


_FORK = """
import os
from distrib import ids

def refused():
    try:
        ids.take(1)
    except RuntimeError as error:
        return "open a database session first" in str(error)
    return False

assert refused()
asked = []
ids.use_node(lambda: asked.append(1) or 5)
ids.use_node(lambda: asked.append(1) or 6)
assert len(asked) == 1, "a process asks for its node once"
mine = ids.take(1000)
reader, writer = os.pipe()
child = os.fork()
if not child:
    answer = [refused()]
    ids.use_node(lambda: 4096 + 9)  # the sequence may be larger than there are nodes
    answer += ids.take(1000)
    os.write(writer, repr(answer).encode())
    os._exit(0)
os.close(writer)
told = eval(os.fdopen(reader).read())
os.waitpid(child, 0)
assert told[0] is True, "a forked child starts without a node"
assert not set(told[1:]) & {*mine, *ids.take(1000)}
nodes = {each >> 7 & 4095 for each in told[1:]}
assert nodes == {9}, nodes
assert {each >> 7 & 4095 for each in mine} == {5}
print("well")
"""


def test_a_forked_child_takes_a_node_of_its_own() -> None:
    ran = subprocess.run(
        [sys.executable, "-c", _FORK], capture_output=True, text=True, check=False, timeout=60
    )
    assert (ran.stdout, ran.stderr, ran.returncode) == ("well\n", "", 0)


# -- as text --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "number, text",
    [
        (0, "ord_000000000000"),
        (1, "ord_000000000001"),
        (31, "ord_00000000000z"),
        (32, "ord_000000000010"),
        (MAX_ID, "ord_fzzzzzzzzzzz"),
    ],
)
def test_written_ids(number: int, text: str) -> None:
    assert ids.public("ord", number) == text
    assert ids.parse("ord", text) == number


@given(st.integers(0, MAX_ID), st.sampled_from(["ord", "ref", "br", ""]))
def test_ids_survive_being_written(number: int, prefix: str) -> None:
    assert ids.parse(prefix, ids.public(prefix, number)) == number


@given(st.integers(0, MAX_ID), st.integers(0, MAX_ID))
def test_written_ids_sort_as_their_numbers(one: int, other: int) -> None:
    assert (ids.public("x", one) < ids.public("x", other)) == (one < other)


@pytest.mark.parametrize(
    "text, reason",
    [
        ("", "is not an id of the form ord_"),
        ("ord", "is not an id of the form ord_"),
        ("000000000001", "is not an id of the form ord_"),
        ("ref_000000000001", "is not an id of the form ord_"),
        ("ORD_000000000001", "is not an id of the form ord_"),
        ("ord_00000000001", "12 letters"),
        ("ord_0000000000001", "12 letters"),
        ("ord__00000000001", "a letter that no id has: '_'"),
        ("ord_00000000000i", "a letter that no id has: 'i'"),
        ("ord_00000000000u", "a letter that no id has: 'u'"),
        ("ord_00000000000A", "a letter that no id has: 'A'"),
        ("ord_00000000000\n", "a letter that no id has"),
        ("ord_g00000000000", "too large"),
        ("ord_zzzzzzzzzzzz", "too large"),
    ],
)
def test_what_is_no_id(text: str, reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        ids.parse("ord", text)
