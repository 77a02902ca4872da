"""A machine that is full or behind says so: in the table, the API, the commands, the metrics, and once in the log."""

from __future__ import annotations

import threading
import uuid
from collections.abc import Mapping
from concurrent.futures import Executor
from dataclasses import replace
from typing import Any

import httpx2
import pytest
from numpy.typing import NDArray
from prometheus_client import REGISTRY
from structlog.testing import capture_logs

from ingest.wire import SAMPLE_RATE_HZ, Window
from monitor.commands import streams as commands
from monitor.detect.detector import Embeddings
from monitor.detect.logmel import LogMelDetector
from monitor.local import home
from monitor.matching.load.backlog import BacklogMonitor
from monitor.matching.load.capacity import Capacity
from monitor.matching.load.reporter import LoadReporter, process_name
from monitor.matching.matcher import Matcher
from monitor.parts import Airtrace
from monitor.processes.http_server import serve_http
from monitor.settings import MatchingSettings
from monitor.storage.records import WorkerLoad, WorkerState
from monitor.storage.storage import Storage
from tests.fakes import MemoryBus
from tests.service.api.http import API, client_of
from tests.songs import ANCHOR, Air, Songs, seconds
from tests.waiting import until
from tests.workers import a_stream, quick_worker, working

N_STREAMS = 3
URL = "http://radio.example/a.mp3"


class SlowClock:
    """Stands still, except when a `SlowDetector` works."""

    def __init__(self) -> None:
        self.now_s = 0.0
        self._lock = threading.Lock()

    def __call__(self) -> float:
        return self.now_s

    def pass_by(self, work_s: float) -> None:
        with self._lock:
            self.now_s += work_s


class SlowDetector(LogMelDetector):
    """Takes `cost` seconds of a clock for each second of audio."""

    def __init__(self, clock: SlowClock) -> None:
        super().__init__()
        self.cost = 1.0
        self._clock = clock

    def embed(self, pcm: NDArray[Any]) -> Embeddings:
        self._clock.pass_by(len(pcm) / SAMPLE_RATE_HZ * self.cost)
        return super().embed(pcm)


def _states() -> dict[str, float | None]:
    name = "airtrace_worker_state"
    return {state.value: REGISTRY.get_sample_value(name, {"state": state.value}) for state in WorkerState}


def _audio(airs: list[Air], songs: Songs, n_s: int) -> list[Window]:
    """The windows of several streams, in the order of their time."""
    return [
        window
        for together in zip(*(air.play(songs.unknown[: seconds(n_s)]) for air in airs), strict=True)
        for window in together
    ]


async def test_a_worker_that_is_too_slow_says_so_everywhere_and_once_in_the_log(
    airtrace: Airtrace, storage: Storage, executor: Executor, songs: Songs, capsys: pytest.CaptureFixture[str]
) -> None:
    clock, passed_s = SlowClock(), [0.0]
    slow = SlowDetector(clock)
    matcher = Matcher(slow, airtrace.index, storage, executor, MatchingSettings(), slow.thresholds)
    airs = [Air(await a_stream(storage, f"radio-{number}")) for number in range(N_STREAMS)]
    bus = MemoryBus(_audio(airs, songs, 40), 2 * N_STREAMS)
    capacity = Capacity(clock)
    backlog = BacklogMonitor(now=lambda: ANCHOR / SAMPLE_RATE_HZ + clock.now_s - passed_s[0], capacity=capacity)
    reporter = LoadReporter(capacity, storage.workers, is_embedded=True, policy="catch_up", every_s=0.01)
    with capture_logs() as logs:
        async with working(quick_worker(bus, storage, matcher, backlog, None, reporter)):
            await until(lambda: bus.committed == bus.next_offset and _states()["behind"] == 1)
            await _assert_all_say_that_it_is_behind(airtrace, storage, capsys)
            slow.cost, passed_s[0] = 0.01, clock.now_s - 41.0
            for window in _audio(airs, songs, 20):
                await bus.publish(window)
            await until(lambda: bus.committed == bus.next_offset and _states()["behind"] == 0)
    assert await storage.workers.running() == [], "a worker that stops says so"
    told = [entry for entry in logs if entry["event"].startswith("worker.") and entry["event"] != "worker.full"]
    assert [entry["event"] for entry in told] == ["worker.behind", "worker.caught_up"]
    assert told[0] | {"behind_s": None, "cpu": None, "capacity_streams": None, "costly_share": None} == {
        "event": "worker.behind",
        "log_level": "warning",
        "behind_streams": N_STREAMS,
        "behind_s": None,
        "policy": "catch_up",
        "streams": N_STREAMS,
        "capacity_streams": None,
        "costly_step": "embed",
        "costly_share": None,
        "cpu": None,
        "next_step": "Monitor fewer streams, give the machine more cores, or run the full mode on several machines",
    }
    assert told[0]["capacity_streams"] == pytest.approx(1, rel=0.2)
    assert 0 < told[0]["costly_share"] <= 1


async def _assert_all_say_that_it_is_behind(
    airtrace: Airtrace, storage: Storage, capsys: pytest.CaptureFixture[str]
) -> None:
    assert REGISTRY.get_sample_value("airtrace_worker_load_ratio") == pytest.approx(N_STREAMS, rel=0.2)
    assert REGISTRY.get_sample_value("airtrace_worker_capacity_streams") == pytest.approx(1, rel=0.2)
    assert REGISTRY.get_sample_value("airtrace_worker_behind_streams") == N_STREAMS
    [worker] = await storage.workers.running()
    assert (worker.load.state, worker.load.costly_step) == (WorkerState.BEHIND, "embed")
    with home.held(airtrace.settings.home) as held:
        async with serve_http(airtrace, "127.0.0.1", 0) as url, httpx2.AsyncClient(base_url=url) as http:
            answer = (await http.get(f"{API}/capacity")).json()
            assert (answer["state"], answer["streams"], answer["costly_step"]) == ("behind", N_STREAMS, "embed")
            assert answer["warning"].startswith("This machine cannot keep up: 3 of 3 streams are matched up to ")
            assert [each["name"] for each in answer["workers"]] == [worker.name]
            assert {each["state"] for each in (await http.get(f"{API}/streams")).json()} == {"behind"}
            assert answer["warning"][:60] in (await http.get("/")).text
            with held.announced(url):
                await commands.list_(airtrace.settings, as_json=False)
                shown = capsys.readouterr()
                assert shown.out.count(" behind ") >= N_STREAMS
                assert shown.err.startswith("warning: This machine cannot keep up: 3 of 3 streams ")
                await commands.add(airtrace.settings, "one-more", URL)
                added, warned = capsys.readouterr().err.splitlines()
                assert added.startswith("added one-more")
                assert warned.startswith("warning: There are now 4 streams; this machine keeps up with about 1.")
                await commands.remove(airtrace.settings, "one-more")


async def _add(client: httpx2.AsyncClient, name: str) -> str | None:
    response = await client.post(f"{API}/streams", json={"name": name, "url": URL})
    assert response.status_code == 201
    warning: str | None = response.json()["warning"]
    return warning


async def test_a_stream_for_which_there_is_no_room_is_added_with_a_warning(
    client: httpx2.AsyncClient, storage: Storage
) -> None:
    worker = uuid.uuid4()
    room = WorkerLoad(WorkerState.OK, 1, 3.6, "embed", 0.5)
    await storage.workers.write(worker, process_name(), room)
    assert [await _add(client, name) for name in ("a", "b", "c")] == [None, None, None]
    warning = await _add(client, "d")
    assert warning is not None
    assert warning.startswith("There are now 4 streams; this machine keeps up with about 3.")
    await storage.workers.write(worker, process_name(), replace(room, state=WorkerState.FULL, streams=4))
    warning = await _add(client, "e")
    assert warning is not None
    assert warning.startswith("There are now 5 streams; this machine keeps up with about 3.")
    assert len(await storage.streams.list()) == 5


async def test_without_a_worker_nothing_is_known_and_nothing_warned_of(client: httpx2.AsyncClient) -> None:
    answer: Mapping[str, Any] = (await client.get(f"{API}/capacity")).json()
    assert (answer["state"], answer["workers"], answer["warning"]) == (None, [], None)
    assert await _add(client, "a") is None


async def test_in_embedded_mode_the_row_of_a_killed_monitor_counts_for_nothing(
    client: httpx2.AsyncClient, storage: Storage
) -> None:
    stream = await a_stream(storage, "radio-one")
    killed = WorkerLoad(WorkerState.BEHIND, 60, 30, "write", 0.6, 60, 31.0, 0.4)
    await storage.workers.write(uuid.uuid4(), "host/1", killed)
    answer = (await client.get(f"{API}/capacity")).json()
    assert (answer["state"], answer["workers"], answer["warning"], answer["next_step"]) == (None, [], None, None)
    [shown] = (await client.get(f"{API}/streams")).json()
    assert (shown["id"], shown["state"]) == (stream, "not_running")


async def test_several_workers_count_together(airtrace_without_index: Airtrace, storage: Storage) -> None:
    settings = airtrace_without_index.settings
    kafka = settings.kafka.model_copy(update={"bootstrap": "kafka.example:9092"})
    full_mode = replace(airtrace_without_index, settings=settings.model_copy(update={"kafka": kafka}))
    await storage.workers.write(uuid.uuid4(), "host/1", WorkerLoad(WorkerState.OK, 40, 100.0123, "embed", 0.4))
    await storage.workers.write(
        uuid.uuid4(), "host/2", WorkerLoad(WorkerState.BEHIND, 60, 30, "write", 0.6, 60, 31.0, 0.4)
    )
    async with client_of(full_mode) as client:
        answer = (await client.get(f"{API}/capacity")).json()
    assert answer["next_step"].startswith("Give PostgreSQL a faster disk; or start more workers")
    assert (answer["state"], answer["streams"], answer["capacity_streams"]) == ("behind", 100, 130)
    assert [each["load"] for each in answer["workers"]] == [0.4, 2], "figures are rounded"
    assert (answer["behind_streams"], answer["behind_s"], answer["costly_step"]) == (60, 31, "write")
