"""What is said about a worker that is full or behind: the facts, the step that costs most, and what to change."""

from __future__ import annotations

from dataclasses import replace

import pytest

from monitor.matching.load.advice import Streams, combined, warning, warning_at
from monitor.matching.load.capacity import RETRY
from monitor.storage.records import WorkerLoad, WorkerState

BEHIND = WorkerLoad(WorkerState.BEHIND, 60, 40.0, "write", 0.5, 42, 35.0, 0.6)
CHEAPER = "Make the search cheaper with a smaller catalog"
CORES = "onitor fewer streams, give the machine more cores, or run the full mode on several machines."


def test_a_worker_with_room_has_no_warning() -> None:
    assert warning([WorkerLoad(WorkerState.OK, 10, 40.0, "embed", 0.9)], is_embedded=True) is None


@pytest.mark.parametrize(
    ("step", "cpu", "advice"),
    [
        ("embed", 0.6, f"M{CORES}"),
        (
            "search",
            1.0,
            f"{CHEAPER}; or m{CORES}",
        ),
        ("write", 0.6, f"Give PostgreSQL a faster disk; or m{CORES}"),
        ("write", 0.97, f"M{CORES}"),  # PostgreSQL waits for cores, not for its disk
        (None, None, f"M{CORES}"),
    ],
)
def test_what_to_change_follows_from_the_step_that_costs_most(step: str | None, cpu: float | None, advice: str) -> None:
    said = warning([replace(BEHIND, costly_step=step, cpu=cpu)], is_embedded=True)
    assert said is not None
    assert said.startswith("This machine cannot keep up: 42 of 60 streams are matched up to 35 s late. ")
    assert said.endswith(f" {advice}")


def test_in_the_full_mode_more_workers_help() -> None:
    said = warning([replace(BEHIND, costly_step="embed")], is_embedded=False)
    assert said == (
        "A worker cannot keep up: 42 of 60 streams are matched up to 35 s late. Computing fingerprints takes"
        " the most time (50%), and 60% of the CPU is in use. Start more workers, at most as many as the topic has"
        " partitions."
    )


def test_streams_that_take_turns_are_not_late() -> None:
    said = warning([replace(BEHIND, behind_s=1.5)], is_embedded=True)
    assert said is not None
    assert said.startswith(
        "This machine cannot keep up: 42 of 60 streams are left out at any time, in turns. Writing to PostgreSQL takes"
    )


def test_a_worker_that_catches_up_needs_no_change() -> None:
    said = warning([replace(BEHIND, capacity_streams=120.0)], is_embedded=True)
    assert said == "Matching is behind but catching up: 42 of 60 streams are matched up to 35 s late."


def test_a_worker_that_retries_needs_its_server() -> None:
    said = warning([replace(BEHIND, costly_step=RETRY)], is_embedded=False)
    assert said == "Matching has stopped for 35 s. A server does not answer: see worker.retrying in the log."


def test_another_stream_is_warned_of_before_the_machine_is_full() -> None:
    room = WorkerLoad(WorkerState.OK, 10, 40.0)
    assert warning_at([room], Streams(33), is_embedded=True) is None
    assert warning_at([room], Streams(34), is_embedded=True) == (
        f"There are now 34 streams; this machine keeps up with about 40. M{CORES}"
    )
    assert warning_at([WorkerLoad(WorkerState.OK)], Streams(1000), is_embedded=True) is None, "nothing is known yet"


def test_a_warning_about_another_stream_counts_those_that_the_worker_has_not_reported_yet() -> None:
    reported = WorkerLoad(WorkerState.FULL, 20, 22.4)
    said = warning_at([reported], Streams(60), is_embedded=True)
    assert said == f"There are now 60 streams; this machine keeps up with about 22. M{CORES}"


def test_an_overloaded_machine_is_not_called_full_although_no_stream_is_late_yet() -> None:
    said = warning([WorkerLoad(WorkerState.FULL, 60, 32.9)], Streams(60), is_embedded=True)
    assert said == f"This machine cannot keep up with 60 streams: about 32 are possible. M{CORES}"


def test_late_streams_are_counted_by_their_rows_and_among_all_streams() -> None:
    load = replace(BEHIND, streams=73, behind_streams=73)
    said = warning([load], Streams(100, 84, 41.6), is_embedded=True)
    assert said is not None
    assert said.startswith("This machine cannot keep up: 84 of 100 streams are matched up to 42 s late. ")
    together = combined([load], Streams(100, 84, 41.6))
    assert together is not None
    assert (together.behind_streams, together.behind_s) == (84, 41.6)


def test_streams_are_behind_before_the_worker_reports_it() -> None:
    ok, full = WorkerLoad(WorkerState.OK, 60, 80.0), WorkerLoad(WorkerState.FULL, 60, 40.0)
    late = "7 of 60 streams are matched up to 18 s late."
    assert warning([ok], Streams(60, 7, 18.0), is_embedded=True) == f"Matching is behind: {late}"
    assert warning([ok], Streams(60, 6, 18.0), is_embedded=True) is None, "a few stations send past audio on connect"
    assert warning([full], Streams(60, 7, 18.0), is_embedded=True) == f"This machine cannot keep up: {late} M{CORES}"


def test_one_worker_that_is_behind_is_not_hidden_by_another_with_room() -> None:
    room = WorkerLoad(WorkerState.OK, 10, 400.0)
    said = warning([room, BEHIND], is_embedded=False)
    assert said is not None
    assert said.startswith("A worker cannot keep up: 42 of 70 streams ")
    said = warning_at([room, BEHIND], Streams(71), is_embedded=False)
    assert said is not None
    assert said.startswith("A worker cannot keep up: 42 of 71 streams ")


def test_workers_together_are_as_well_off_as_the_worst() -> None:
    together = combined([WorkerLoad(WorkerState.OK, 10, 40.0, "embed", 0.4), BEHIND])
    assert together == replace(BEHIND, streams=70, capacity_streams=80.0)
    assert combined([BEHIND, WorkerLoad(WorkerState.OK)]) == replace(BEHIND, capacity_streams=None)
    assert combined([]) is None
