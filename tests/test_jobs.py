"""Jobs: claimed by one, fenced, tried again, added once."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import pytest

from distrib import clock, jobs
from distrib.brands.tables import Brand
from distrib.config import Settings
from distrib.db import Database
from distrib.errors import Conflict
from distrib.jobs import Claim, Job, JobState, LeaseLost, claim

THEN = datetime(2026, 3, 1, 4, tzinfo=UTC)
_kinds = itertools.count(1)


def new_kind(handler: jobs.Handler) -> str:
    """Register a handler under a kind of its own."""
    kind = f"test-{next(_kinds)}"
    jobs.handler(kind)(handler)
    return kind


def add(db: Database, brand: Brand, kind: str, key: str = "one", **args: int) -> int:
    """Add a job and return its id."""
    full_key = f"{brand.id}:{key}"
    with db.transaction() as session:
        jobs.add(session, brand_id=brand.id, kind=kind, key=full_key, args=args)
    with db.transaction() as session:
        return session.query(Job.id).filter(Job.key == full_key).scalar() or 0


def look(db: Database, job_id: int) -> Job:
    with db.transaction() as session:
        return session.get_one(Job, job_id)


def finish(database: Database, _settings: Settings, held: Claim) -> None:
    """A handler that has nothing to do."""
    with database.transaction() as session:
        held.hold(session)
        held.finish(session)


def close(db: Database, job_id: int) -> None:
    """End a job that a test leaves ready, so that no other test meets it."""
    with db.transaction() as session:
        session.get_one(Job, job_id).state = JobState.DONE


def test_a_job_is_done_once(db: Database, settings: Settings, brand: Brand) -> None:
    seen: list[Claim] = []

    def work(database: Database, _settings: Settings, held: Claim) -> None:
        seen.append(held)
        finish(database, _settings, held)

    with clock.travel(THEN):
        job_id = add(db, brand, new_kind(work), batch=7)
        assert (look(db, job_id).state, look(db, job_id).run_after) == (JobState.READY, THEN)
        assert jobs.run_all(db, settings) >= 1
        assert jobs.run(db, settings, job_id) is False
    assert seen == [Claim(job_id=job_id, brand_id=brand.id, fence=1, args={"batch": 7})]
    job = look(db, job_id)
    assert (job.state, job.finished_at, job.lease_until, job.error) == ("done", THEN, None, None)


def test_a_key_is_added_once(db: Database, settings: Settings, brand: Brand) -> None:
    kind = new_kind(finish)
    first = add(db, brand, kind, "same", n=1)
    assert add(db, brand, kind, "same", n=2) == first
    assert look(db, first).args == {"n": 1}
    assert jobs.run(db, settings, first)
    assert add(db, brand, kind, "same", n=3) == first
    assert look(db, first).state == JobState.DONE, "what is done is not done again"


def test_many_jobs_at_once(db: Database, settings: Settings, brand: Brand) -> None:
    done: list[int] = []

    def work(database: Database, _settings: Settings, held: Claim) -> None:
        done.append(held.args["n"])
        finish(database, _settings, held)

    kind = new_kind(work)
    with clock.travel(THEN):
        with db.transaction() as session:
            jobs.add_many(
                session,
                brand_id=brand.id,
                kind=kind,
                keyed_args=[(f"{brand.id}:{n}", {"n": n}) for n in range(5)],
            )
            jobs.add_many(session, brand_id=brand.id, kind=kind, keyed_args=[])
        jobs.run_all(db, settings)
    assert done == [0, 1, 2, 3, 4], "oldest first"


def test_only_committed_jobs_wake_a_worker(settings: Settings, db: Database, brand: Brand) -> None:
    woken: list[list[int]] = []
    waking = Database(db.engine, woken.append)
    kind = new_kind(finish)
    with waking.transaction() as session:
        jobs.add(session, brand_id=brand.id, kind=kind, key=f"{brand.id}:a")
        jobs.add(session, brand_id=brand.id, kind=kind, key=f"{brand.id}:a")
        jobs.add(session, brand_id=brand.id, kind=kind, key=f"{brand.id}:b")
        assert woken == []

    def add_and_stop() -> None:
        with waking.transaction() as session:
            jobs.add(session, brand_id=brand.id, kind=kind, key=f"{brand.id}:c")
            raise KeyError

    with pytest.raises(KeyError):
        add_and_stop()
    with waking.transaction() as session:
        jobs.add(session, brand_id=brand.id, kind=kind, key=f"{brand.id}:b")
    assert [len(each) for each in woken] == [2]
    assert [look(db, job_id).key for job_id in woken[0]] == [f"{brand.id}:a", f"{brand.id}:b"]
    assert all(jobs.run(db, settings, job_id) for job_id in woken[0])


# -- leases and fences ----------------------------------------------------------------------------


@pytest.fixture
def leased(db: Database, brand: Brand) -> tuple[int, Claim]:
    """A job that was claimed at THEN for a minute, and the claim."""
    with clock.travel(THEN):
        job_id = add(db, brand, new_kind(finish))
        with db.transaction() as session:
            held = claim(session, job_id, 60)
    assert held is not None
    return job_id, held


@pytest.mark.parametrize("seconds, free", [(0, False), (59, False), (60, False), (61, True)])
def test_a_lease_runs_out(
    db: Database, leased: tuple[int, Claim], seconds: int, free: bool
) -> None:
    job_id, first = leased
    with clock.travel(THEN + timedelta(seconds=seconds)), db.transaction() as session:
        assert (job_id in jobs.due(session)) is free
        second = claim(session, job_id, 60)
    assert (second is not None) is free
    assert second is None or second.fence == first.fence + 1
    close(db, job_id)


def test_the_old_holder_has_lost_its_lease(db: Database, leased: tuple[int, Claim]) -> None:
    job_id, first = leased
    with db.transaction() as session:
        first.hold(session)  # nobody took it, so the first may still go on
    with clock.travel(THEN + timedelta(seconds=61)), db.transaction() as session:
        second = claim(session, job_id, 60)
    assert second is not None
    with pytest.raises(LeaseLost, match="fence 1 is no longer"), db.transaction() as session:
        first.hold(session)
    with db.transaction() as session:
        second.hold(session)
        second.finish(session)
    for held in (first, second):  # once done, nobody may write
        with pytest.raises(LeaseLost), db.transaction() as session:
            held.hold(session)


def test_a_slow_worker_changes_nothing(db: Database, settings: Settings, brand: Brand) -> None:
    wrote: list[int] = []

    def slow(database: Database, _settings: Settings, held: Claim) -> None:
        if held.fence == 1:  # while this one dawdles, its lease runs out and another does the job
            with clock.travel(THEN + timedelta(seconds=settings.lease_seconds + 1)):
                assert jobs.run(db, settings, held.job_id)
        with database.transaction() as session:
            held.hold(session)
            wrote.append(held.fence)
            held.finish(session)

    with clock.travel(THEN):
        job_id = add(db, brand, new_kind(slow))
        assert jobs.run(db, settings, job_id) is False
    assert wrote == [2]
    job = look(db, job_id)
    assert (job.state, job.error, job.fence) == ("done", None, 2)


# -- failing --------------------------------------------------------------------------------------


def failing(error: Callable[[], Exception], times: int) -> jobs.Handler:
    """A handler that raises so many times and then ends well."""

    def work(database: Database, settings: Settings, held: Claim) -> None:
        if held.fence <= times:
            raise error()
        finish(database, settings, held)

    return work


def test_an_unexpected_error_is_tried_again(db: Database, settings: Settings, brand: Brand) -> None:
    kind = new_kind(failing(lambda: OSError("disk full"), times=3))
    now = THEN
    with clock.travel(now):
        job_id = add(db, brand, kind)
    for attempt, pause in ((1, 2), (2, 4), (3, 8)):
        with clock.travel(now):
            with pytest.raises(OSError, match="disk full"):
                jobs.run(db, settings, job_id)
            job = look(db, job_id)
            assert (job.state, job.fence, job.lease_until) == ("ready", attempt, None)
            assert job.error == "OSError: disk full"
            assert job.run_after == now + timedelta(seconds=pause), "the pause doubles"
            with db.transaction() as session:
                assert job_id not in jobs.due(session)
        now = job.run_after
        with clock.travel(now), db.transaction() as session:
            assert job_id in jobs.due(session)
    with clock.travel(now):
        assert jobs.run(db, settings, job_id)
    job = look(db, job_id)
    assert (job.state, job.error, job.finished_at) == ("done", None, now)


def test_a_pause_is_ten_minutes_at_most(db: Database, settings: Settings, brand: Brand) -> None:
    with clock.travel(THEN):
        job_id = add(db, brand, new_kind(failing(lambda: OSError("no"), times=99)))
        with db.transaction() as session:
            session.get_one(Job, job_id).failures = 40
        with pytest.raises(OSError, match="no"):
            jobs.run(db, settings, job_id)
    assert look(db, job_id).run_after == THEN + timedelta(minutes=10)
    close(db, job_id)


def test_a_job_that_is_put_down_has_not_failed(
    db: Database, settings: Settings, brand: Brand
) -> None:
    def look_again(database: Database, _: Settings, held: Claim) -> None:
        with database.transaction() as session:
            held.hold(session)
            held.later(session, 60)

    with clock.travel(THEN):
        job_id = add(db, brand, new_kind(look_again))
        with db.transaction() as session:
            session.get_one(Job, job_id).failures = 7
        assert jobs.run(db, settings, job_id)
    job = look(db, job_id)
    assert (job.state, job.failures, job.run_after) == ("ready", 0, THEN + timedelta(minutes=1))
    close(db, job_id)


def test_an_error_of_input_ends_the_job(db: Database, settings: Settings, brand: Brand) -> None:
    job_id = add(db, brand, new_kind(failing(lambda: Conflict("cannot be"), times=99)))
    assert jobs.run(db, settings, job_id)
    job = look(db, job_id)
    assert (job.state, job.error) == ("failed", "Conflict: cannot be")
    assert jobs.run(db, settings, job_id) is False


def test_a_long_error_is_cut(db: Database, settings: Settings, brand: Brand) -> None:
    job_id = add(db, brand, new_kind(failing(lambda: Conflict("x" * 5000), times=99)))
    jobs.run(db, settings, job_id)
    error = look(db, job_id).error
    assert error is not None
    assert len(error) == 2000


def test_a_job_of_an_unknown_kind_waits_for_who_knows_it(
    db: Database, settings: Settings, brand: Brand
) -> None:
    with clock.travel(THEN):
        job_id = add(db, brand, f"kind-of-tomorrow-{brand.id}")
        with pytest.raises(KeyError):
            jobs.run(db, settings, job_id)
        assert look(db, job_id).state == JobState.READY
    jobs.handler(f"kind-of-tomorrow-{brand.id}")(finish)
    assert jobs.run(db, settings, job_id)
    assert look(db, job_id).state == JobState.DONE


def test_no_job_is_no_work(db: Database, settings: Settings) -> None:
    assert jobs.run(db, settings, 1) is False
