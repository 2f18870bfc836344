"""``python -m tests.chaos``: many runs, each with one fault; a table of what became of them.

``--seed N --fault NAME`` repeats one run.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import multiprocessing
import os
import queue
import random
import statistics
import sys
import time
from collections.abc import Iterable, Sequence
from dataclasses import asdict
from pathlib import Path

from tests.chaos.faults import FAULTS
from tests.chaos.run import Result, serve


def plan(runs: int, seed: int, names: Sequence[str]) -> list[tuple[int, str]]:
    """Seeds and faults: each fault by its weight, in an order that mixes them."""
    shares = [name for name in names for _ in range(FAULTS[name].weight)]
    turns: dict[str, int] = {}
    found = []
    for n in range(runs):
        name = shares[n % len(shares)]
        turn = turns.get(name, 0)
        turns[name] = turn + 1
        found.append((seed + turn, name))
    random.Random(seed).shuffle(found)
    return found


def _all(tasks: list[tuple[int, str]], count: int) -> Iterable[Result]:
    context = multiprocessing.get_context("spawn")
    given, taken = context.Queue(), context.Queue()
    for task in [*tasks, *[None] * count]:
        given.put(task)
    runners = [context.Process(target=serve, args=(given, taken)) for _ in range(count)]
    for runner in runners:
        runner.start()
    try:
        for _ in tasks:
            while True:
                try:
                    yield taken.get(timeout=5)
                    break
                except queue.Empty:
                    if not any(runner.is_alive() for runner in runners):
                        raise RuntimeError("the runners are gone") from None
    finally:
        for runner in runners:
            runner.join(60)
            runner.terminate()


def _table(results: Sequence[Result]) -> str:
    head = ("fault", "runs", "struck", "survived", "median s", "worst s")
    lines = ["{:24} {:>5} {:>6} {:>8} {:>9} {:>8}".format(*head)]
    for name in [*FAULTS, ""]:
        of = [each for each in results if name in ("", each.fault)]
        if not of:
            continue
        times = [each.recovery for each in of if each.struck] or [0.0]
        lines.append(
            f"{name or 'all':24} {len(of):5} {sum(each.struck for each in of):6}"
            f" {sum(not each.violations for each in of):8}"
            f" {statistics.median(times):9.2f} {max(times):8.2f}"
        )
    return "\n".join(lines)


def _say(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m tests.chaos", description=__doc__)
    parser.add_argument("--runs", type=int, default=520, help="how many (default: 520)")
    parser.add_argument("--seed", type=int, default=1, help="the first seed")
    parser.add_argument("--fault", choices=sorted(FAULTS), action="append", help="only this one")
    parser.add_argument(
        "--jobs", type=int, default=2 * (os.cpu_count() or 1), help="at the same time"
    )
    parser.add_argument("--json", type=Path, help="write all results to this file")
    options = parser.parse_args(arguments)
    if options.fault and arguments is None and "--runs" not in " ".join(sys.argv):
        options.runs = len(options.fault)
    begun = time.monotonic()
    tasks = plan(options.runs, options.seed, options.fault or list(FAULTS))
    results: list[Result] = []
    with contextlib.suppress(KeyboardInterrupt):  # the table is of what there was until then
        for each in _all(tasks, min(options.jobs, len(tasks))):
            results.append(each)
            if each.violations:
                _say(f"\nLOSS  seed {each.seed}  fault {each.fault}  provider {each.provider}")
                _say("  " + "\n".join(each.violations).replace("\n", "\n  "))
            elif sys.stdout.isatty() or len(results) % 20 == 0:
                _say(f"{len(results)}/{len(tasks)} {each.fault} seed {each.seed}")
    seconds = time.monotonic() - begun
    losses = sum(bool(each.violations) for each in results)
    _say(f"\n{_table(results)}\n")
    _say(f"{len(results)} runs in {seconds:.0f} s, {losses} with a violation")
    if options.json:
        document = {
            "runs": len(results),
            "losses": losses,
            "seconds": round(seconds, 1),
            "results": [asdict(each) for each in results],
        }
        options.json.write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")
    return 1 if losses else 0


if __name__ == "__main__":
    sys.exit(main())
