"""One run, and a process that does one after the other."""

from __future__ import annotations

import logging
import multiprocessing
import random
import time
import traceback
from dataclasses import dataclass, field

from tests.chaos.check import violations
from tests.chaos.faults import FAULTS
from tests.chaos.world import Arena, World


@dataclass
class Result:
    """What became of a run.

    :param struck: whether the fault came to pass; a batch can be quicker.
    :param recovery: seconds from its last blow to the end of the batch.
    """

    seed: int
    fault: str
    provider: str = ""
    struck: bool = False
    recovery: float = 0.0
    seconds: float = 0.0
    violations: list[str] = field(default_factory=list)


def run_once(arena: Arena, seed: int, name: str) -> Result:
    """One run."""
    begun = time.monotonic()
    fault_class = FAULTS[name]
    provider = fault_class.choose_provider(seed, random.Random(f"{seed}/{name}/provider"))
    result = Result(seed, name, provider)
    world = None
    try:
        world = World(arena, seed, name, provider)
        fault = fault_class(world)
        fault.draw_up()
        world.remember_what_is_due()
        world.approve()
        fault.prepare()
        world.start_workers()
        fault.run()
        fault.strike()
        world.wait_for_the_end()
        result.violations = list(violations(world))
    except Exception as error:
        result.violations = ["".join(traceback.format_exception(error))]
    finally:
        if world is not None:
            result.struck = world.struck_at is not None
            if world.struck_at is not None and world.ended_at is not None:
                result.recovery = max(0.0, world.ended_at - world.struck_at)
            if result.violations:
                result.violations.append(world.log.read_text(errors="replace")[-3000:])
            try:
                world.close()
            except Exception as error:
                result.violations.append("".join(traceback.format_exception(error)))
    result.seconds = time.monotonic() - begun
    return result


def serve(tasks: multiprocessing.Queue, results: multiprocessing.Queue) -> None:  # type: ignore[type-arg]
    """Do tasks on servers of our own until there is none."""
    logging.getLogger("distrib").setLevel(logging.CRITICAL)
    arena = Arena()
    try:
        while (task := tasks.get()) is not None:
            results.put(run_once(arena, *task))
    finally:
        arena.close()
