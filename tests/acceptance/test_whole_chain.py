"""All parts as processes on a live station: an ingest and the API are killed, and plays and coverage still add up."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Iterable
from itertools import pairwise

import pytest

from ingest.wire import SAMPLE_RATE_HZ, Gap, GapReason, Record
from monitor.demo.program import Recording
from monitor.demo.station import Station
from tests.acceptance import cluster as full
from tests.acceptance.cluster import Stage
from tests.acceptance.command import PATIENCE, Running
from tests.acceptance.sound import excerpt, on_air
from tests.broker import published_records

pytestmark = pytest.mark.timeout(full.TIMEOUT_S)

STREAMS = 3
LEASE_S = 4.0
NEAR_S = 1.0
SETTINGS = {**PATIENCE, "AIRTRACE_INGEST__LEASE_S": str(LEASE_S)}


def test_every_play_is_reported_once_whichever_process_dies(
    stage: Stage, catalog: tuple[Recording, ...], unknown: Recording, chance: random.Random
) -> None:
    program = (
        excerpt(unknown, 10, 7),
        excerpt(catalog[0], 12, 16),
        excerpt(unknown, 30, 8),
        excerpt(catalog[3], 20, 14),
        excerpt(unknown, 20, 14),
    )
    with on_air(*program) as station:
        api = stage.airtrace.start("api")
        url = _address(api)
        for number in range(STREAMS):
            stage.airtrace("streams", "add", f"air-{number}", station.url)
        stage.worker()
        stage.worker()
        first, second = (stage.airtrace.start("ingest", **SETTINGS) for _ in range(2))
        first.wait_for(lambda: first.events("stream.connected"))
        second.wait_for(lambda: first.events("stream.connected") or second.events("stream.connected"))
        second.wait_for(lambda: station.elapsed_s > chance.uniform(10, 26))
        first.kill()
        api.kill()
        again = stage.airtrace.start("api")
        second.wait_for(lambda: len(_taken_over(second)) >= STREAMS)
        second.wait_for(lambda: station.over)
        second.wait_for(lambda: all(len(plays) == 2 for plays in _plays(stage)))
        second.stop()
        _wait_until_worked_off(stage)
        assert _address(again) != url, "another process, on a port of its own"
        again.stop()
        stage.stop()
    tracks = [catalog[0].path.stem, catalog[3].path.stem]
    for plays in _plays(stage):
        assert [(title, state) for title, _, _, state in plays] == [(title, "closed") for title in tracks]
        for (_, starts, ends, _), (begins_s, ends_s) in zip(plays, ((7, 23), (31, 45)), strict=True):
            # No play has time without a reader: a takeover may cost a lease's time at either end.
            assert begins_s - NEAR_S <= _heard_s(station, starts) <= begins_s + LEASE_S + full.WINDOW_S + NEAR_S
            assert ends_s + NEAR_S >= _heard_s(station, ends) >= ends_s - LEASE_S - full.WINDOW_S - NEAR_S
    published = asyncio.run(published_records(stage.kafka))
    for stream, covered in _coverage(stage).items():
        assert covered == _accounted(record for record in published if record.stream_id == stream)
        assert all(before[1] == behind[0] for before, behind in pairwise(covered)), "every second is in the ledger"


def _address(api: Running) -> str:
    (running,) = api.wait_for(lambda: api.events("api.running"))
    page: str = running["page"]
    return page


def _taken_over(ingest: Running) -> set[int]:
    return {each["stream"] for each in ingest.events("stream.connected")}


def _plays(stage: Stage) -> list[list[tuple[str, int, int, str]]]:
    """Title, start, end and state of each play, in order, for each stream."""
    found = stage.found().plays
    streams = range(full.STREAMS + 1, full.STREAMS + STREAMS + 1)
    return [[(title, starts, ends, state) for s, title, starts, ends, _, _, state in found if s == n] for n in streams]


def _coverage(stage: Stage) -> dict[int, list[tuple[int, int, str | None]]]:
    ledger: dict[int, list[tuple[int, int, str | None]]] = {}
    for stream, starts, ends, reason in stage.found().coverage:
        ledger.setdefault(stream, []).append((starts, ends, reason))
    return ledger


def _accounted(records: Iterable[Record]) -> list[tuple[int, int, str | None]]:
    """The coverage that a stream's records must give, in the order of the log; records of older epochs do not count.

    A process that takes over a stream without any processed records begins at its own present: what lies before is
    lost.
    """
    ledger: list[tuple[int, int, str | None]] = []
    epoch = 0
    for record in records:
        if record.epoch < epoch or (ledger and record.end <= ledger[-1][1]):
            continue
        epoch = record.epoch
        if ledger and record.start > ledger[-1][1]:
            ledger.append((ledger[-1][1], record.start, GapReason.LOST.value))
        start = max(record.start, ledger[-1][1]) if ledger else record.start
        reason = record.reason.value if isinstance(record, Gap) else None
        if ledger and ledger[-1][1] == start and ledger[-1][2] == reason:
            ledger[-1] = (ledger[-1][0], record.end, reason)
        else:
            ledger.append((start, record.end, reason))
    return ledger


def _wait_until_worked_off(stage: Stage) -> None:
    ends: dict[int, int] = {}
    for record in asyncio.run(published_records(stage.kafka)):
        ends[record.stream_id] = max(record.end, ends.get(record.stream_id, 0))
    stage.workers[0].wait_for(lambda: stage.positions() == ends)


def _heard_s(station: Station, clock: int) -> float:
    assert station.on_air_at is not None
    return clock / SAMPLE_RATE_HZ - station.on_air_at.timestamp()
