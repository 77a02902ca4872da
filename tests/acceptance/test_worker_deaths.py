"""Whatever happens to workers, every play is reported once, in its place, and every second is accounted for."""

from __future__ import annotations

import os
import random
import signal

import pytest

from tests.acceptance import cluster as full
from tests.acceptance.cluster import ANCHOR, SECOND, SESSION_S, Broadcast, Found, Stage, check
from tests.acceptance.command import STOP_S, Running, until

pytestmark = pytest.mark.timeout(full.TIMEOUT_S)


def test_an_undisturbed_run_finds_what_was_played(broadcast: Broadcast, undisturbed: Found) -> None:
    """The reference of the other tests is right."""
    assert undisturbed.coverage == broadcast.coverage
    truth = sorted(broadcast.truth, key=lambda play: (play.stream, play.start_s))
    assert [(play[0], play[1]) for play in undisturbed.plays] == [(play.stream, play.title) for play in truth]
    for play, true in zip(undisturbed.plays, truth, strict=True):
        assert (play[2] - ANCHOR) / SECOND == pytest.approx(true.start_s, abs=full.NEAR_S)
        assert (play[3] - ANCHOR) / SECOND == pytest.approx(true.end_s, abs=full.NEAR_S)
        assert play[4] / SECOND - (play[2] - ANCHOR) / SECOND == pytest.approx(
            true.position_s - true.start_s, abs=full.NEAR_S
        )
        assert play[6] == "closed"
    assert undisturbed.alerts == len(truth)


def test_a_worker_that_is_killed_and_started_again(
    stage: Stage, broadcast: Broadcast, undisturbed: Found, chance: random.Random
) -> None:
    worker = stage.worker()
    with stage.fed(broadcast) as feed:
        for minimum in (0.15, 0.55):
            feed.wait_for(minimum + chance.uniform(0, 0.2))
            worker.kill()
            worker = stage.worker()
    stage.wait_until_done(broadcast)
    stage.stop()
    check(stage.found(), broadcast, undisturbed)


@pytest.mark.deep
def test_a_worker_that_is_killed_beside_another(
    stage: Stage, broadcast: Broadcast, undisturbed: Found, chance: random.Random
) -> None:
    first, _ = two_workers(stage)
    with stage.fed(broadcast) as feed:
        feed.wait_for(chance.uniform(0.2, 0.6))
        first.kill()
    stage.wait_until_done(broadcast)
    stage.stop()
    check(stage.found(), broadcast, undisturbed)


def test_a_worker_that_is_asked_to_stop_beside_another(
    stage: Stage, broadcast: Broadcast, undisturbed: Found, chance: random.Random
) -> None:
    first, second = two_workers(stage)
    with stage.fed(broadcast) as feed:
        feed.wait_for(chance.uniform(0.2, 0.6))
        first.stop()  # checks its exit code and the time it takes
        assert not first.events("worker.batch_left")
        took_over = len(second.events("kafka.assigned"))
        second.wait_for(lambda: len(second.events("kafka.assigned")) >= took_over)
    stage.wait_until_done(broadcast)
    stage.stop()
    check(stage.found(), broadcast, undisturbed)


def test_a_worker_that_is_paused_beyond_its_session_and_resumes(
    stage: Stage, broadcast: Broadcast, undisturbed: Found, chance: random.Random
) -> None:
    """It does not know that another has its streams; it has an unfinished batch and records in its buffer."""
    first, second = two_workers(stage)
    with stage.fed(broadcast) as feed:
        feed.wait_for(chance.uniform(0.2, 0.6))
        before = len(second.events("kafka.assigned"))
        os.kill(first.process.pid, signal.SIGSTOP)
        try:
            second.wait_for(lambda: len(second.events("kafka.assigned")) > before, 4 * SESSION_S)
        finally:
            os.kill(first.process.pid, signal.SIGCONT)
    stage.wait_until_done(broadcast)
    first.wait_for(lambda: len(first.events("kafka.assigned")) > 1)
    # aiokafka logs a traceback for connections that were closed during the pause: only the exit code counts.
    first.process.send_signal(signal.SIGTERM)
    assert first.process.wait(STOP_S) == 0
    stage.workers.remove(first)
    stage.stop()
    check(stage.found(), broadcast, undisturbed)


@pytest.mark.deep
def test_workers_that_come_and_go(
    stage: Stage, broadcast: Broadcast, undisturbed: Found, chance: random.Random
) -> None:
    stage.worker()
    with stage.fed(broadcast) as feed:
        feed.wait_for(chance.uniform(0.05, 0.2))
        second = stage.worker()
        third = stage.worker()
        feed.wait_for(chance.uniform(0.5, 0.6))
        second.stop()
        feed.wait_for(chance.uniform(0.7, 0.8))
        third.stop()
    stage.wait_until_done(broadcast)
    stage.stop()
    check(stage.found(), broadcast, undisturbed)


def test_unreadable_records(stage: Stage, broadcast: Broadcast, undisturbed: Found, chance: random.Random) -> None:
    first, _ = two_workers(stage)
    poisoned = [str(stream).encode() for stream in range(1, full.STREAMS + 1)]
    with stage.fed(broadcast) as feed:
        feed.wait_for(chance.uniform(0.2, 0.4))
        for stream in poisoned:
            stage.poison(int(stream))
        feed.wait_for(chance.uniform(0.5, 0.7))
        first.kill()
    stage.wait_until_done(broadcast)
    stage.stop()
    check(stage.found(), broadcast, undisturbed)
    letters = stage.dead_letters()
    assert {key for key, _, _ in letters} == set(poisoned)
    assert all(value == b"from the future" and "wire version" in error for _, value, error in letters)


def two_workers(stage: Stage) -> tuple[Running, Running]:
    """Starts two workers and waits until each has partitions."""
    first = stage.worker()
    second = stage.worker()
    until(
        lambda: all(0 < len(partitions(worker)) < full.PARTITIONS for worker in (first, second)),
        full.PATIENCE_S,
        stage.logs,
    )
    return first, second


def partitions(worker: Running) -> list[int]:
    """The partitions of its latest assignment."""
    given = worker.events("kafka.assigned")
    return given[-1]["partitions"] if given else []
