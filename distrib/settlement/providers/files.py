"""Payment files, written in parts.

Each call writes a part of its own, atomically and always the same for the same requests, so making
a call again replaces its part by an equal one. The whole file is the parts joined in the order of
their payouts.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from distrib import ids
from distrib.errors import DistribError
from distrib.settlement.providers import BatchRef, Outcome, PayoutRequest, Status


class PartMissing(DistribError):
    """A call is recorded as made and what it wrote is not there. Must never happen."""

    status = 500
    title = "A part of the payment file is missing"


@contextmanager
def atomic(path: Path) -> Iterator[BinaryIO]:
    """A file to write and read; it takes the place of ``path`` when the block ends well.

    A reader, and a kill, meet the old content or the new, never less.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    number, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    temporary = Path(name)
    try:
        with os.fdopen(number, "w+b") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    directory = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)


class Parts:
    """The parts of the files in one folder: ``<brand>/.batch-<number>.parts/<call>.<suffix>``."""

    def __init__(self, folder: Path, suffix: str) -> None:
        self._folder = folder
        self._suffix = suffix

    def whole(self, batch: BatchRef) -> Path:
        """Where the joined file belongs; a later file of the batch does not take its place."""
        more = f"-{batch.file_no}" if batch.file_no > 1 else ""
        return self._home(batch) / f"batch-{batch.number}{more}.{self._suffix}"

    def write(self, batch: BatchRef, call_no: int, content: bytes) -> None:
        """Write the part of a call."""
        with atomic(self._part(batch, call_no)) as file:
            file.write(content)

    def read(self, batch: BatchRef, calls: Iterable[int]) -> Iterator[bytes]:
        """The parts, in the order of ``calls``.

        :raises PartMissing: when one was never written.
        """
        for call_no in calls:
            try:
                yield self._part(batch, call_no).read_bytes()
            except FileNotFoundError:
                raise PartMissing(f"batch {batch.number} has no part of call {call_no}") from None

    def _home(self, batch: BatchRef) -> Path:
        return self._folder / ids.public("br", batch.brand_id)

    def _part(self, batch: BatchRef, call_no: int) -> Path:
        return self._home(batch) / f".batch-{batch.number}.parts" / f"{call_no}.{self._suffix}"


def one_call(requests: Sequence[PayoutRequest]) -> int:
    """The call number that the requests share.

    :raises ValueError: when they share none: their part could not be found again.
    """
    calls = {request.call_no for request in requests}
    if len(calls) != 1:
        raise ValueError(f"requests of {len(calls)} calls cannot be one part")
    return calls.pop()


def refused(request: PayoutRequest, code: str, message: str) -> Outcome:
    """A request that is not handed over at all: nothing is ever paid under its number."""
    return Outcome(request.request_no, Status.FAILED, code=code, message=message)
