"""What is measured: `airtrace run`, or the parts of the full mode with their servers. Both use a copy of a home."""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from urllib.parse import quote
from urllib.request import Request, urlopen

from monitor.local import servers
from monitor.local.home import Home
from monitor.local.postgres import USER
from tests import broker
from tests.acceptance.command import Airtrace, Running
from tests.bench.live.catalogs import ROOT
from tests.bench.live.usage import Root, cores, snapshot
from tests.bench.runs import log

START_S = 1800.0  # a large catalog is loaded first
CALL_S = 60.0
IDLE_S, IDLE_CORES, QUIET_S = 5.0, 0.1, 40.0
HOST = "127.0.0.1"
THREAD_NAMES = Path(__file__).parent / "thread_names"


@dataclass(frozen=True, slots=True)
class System:
    """The running parts. roots: of all their processes. metrics: addresses that serve the steps of a worker."""

    dsn: str
    api: str
    metrics: tuple[str, ...]
    roots: tuple[Root, ...]
    facts: Mapping[str, object] = field(default_factory=dict)

    def add_stream(self, name: str, url: str) -> None:
        """Adds a stream through the API."""
        body = json.dumps({"name": name, "url": url}).encode()
        request = Request(f"{self.api}/api/v1/streams", body, {"Content-Type": "application/json"})
        with urlopen(request, timeout=CALL_S):
            pass

    def step_seconds(self) -> dict[str, float]:
        """Wall seconds that each step of the workers has taken so far; steps of different streams overlap."""
        found: dict[str, float] = {}
        for address in self.metrics:
            with urlopen(address, timeout=CALL_S) as answer:
                for step, seconds in steps(answer.read().decode()):
                    found[step] = found.get(step, 0.0) + seconds
        return found


def steps(text: str) -> Iterator[tuple[str, float]]:
    """The sums of airtrace_worker_step_seconds in a page of Prometheus metrics."""
    start = 'airtrace_worker_step_seconds_sum{step="'
    for line in text.splitlines():
        if line.startswith(start):
            step, value = line.removeprefix(start).split('"} ')
            yield step, float(value)


@contextmanager
def embedded(stocked: Path, folder: Path, settings: Mapping[str, str]) -> Iterator[System]:
    """`airtrace run` on a copy of a home, as users start it."""
    home = folder / "home"
    copy(stocked, home)
    airtrace = Airtrace(home, folder, child_environment(settings))
    begun_s = time.monotonic()
    run = airtrace.start("run", "--port", "0")
    try:
        url = _url(run, "airtrace.running")
        facts = {"start_s": round(time.monotonic() - begun_s, 1)}
        yield System(_dsn(home), url, (f"{url}/metrics",), (Root("airtrace", run.process.pid, threads=True),), facts)
    finally:
        stopped([run], airtrace)


@contextmanager
def full(stocked: Path, folder: Path, settings: Mapping[str, str], n_workers: int) -> Iterator[System]:
    """`airtrace ingest`, `worker` and `api` with Kafka, Milvus, and PostgreSQL on a copy of a home's database."""
    copy(Home(stocked).postgres, folder / "postgres")
    postgresql, dsn = servers.postgresql(folder)
    milvus, uri = servers.milvus(folder)
    with broker.running(folder) as kafka, servers.serving(postgresql, milvus):
        own = {"AIRTRACE_DATABASE__DSN": dsn, "AIRTRACE_MILVUS__URI": uri, "AIRTRACE_KAFKA__BOOTSTRAP": kafka.bootstrap}
        own |= {} if kafka.is_real else {"AIRTRACE_KAFKA__IDEMPOTENCE": "false"}
        airtrace = Airtrace(folder / "no home", folder, child_environment({**own, **settings}))
        begun_s = time.monotonic()
        log("starting the parts; the first one fills the Milvus server")
        with _parts(airtrace, n_workers) as (url, metrics, roots):
            facts = {"workers": n_workers, "start_s": round(time.monotonic() - begun_s, 1)}
            processes = (("kafka", kafka.server), ("milvus", milvus), ("postgres", postgresql))
            found = tuple(Root(name, each.process.pid) for name, each in processes if each and each.process)
            _wait_until_idle([root for root in found if root.name == "milvus"])
            yield System(dsn, url, metrics, (*roots, *found), facts)


@contextmanager
def _parts(airtrace: Airtrace, n_workers: int) -> Iterator[tuple[str, tuple[str, ...], tuple[Root, ...]]]:
    """Starts the parts of the full mode; yields the API's address, the workers' metrics and the processes."""
    started: list[Running] = []
    try:
        api = airtrace.start("api", AIRTRACE_API__PORT="0")
        started.append(api)
        url = _url(api, "api.running")
        ports = servers.free_ports(n_workers)
        workers = [airtrace.start("worker", AIRTRACE_METRICS__PORT=str(port)) for port in ports]
        started += workers
        for worker in workers:
            worker.wait_for(partial(worker.events, "kafka.assigned"), START_S)
        ingest = airtrace.start("ingest", AIRTRACE_METRICS__PORT="0")
        started.insert(0, ingest)
        ingest.wait_for(lambda: ingest.events("ingest.running"), START_S)
        roots = [Root("ingest", ingest.process.pid, threads=True), Root("api", api.process.pid)]
        roots += [Root("worker", worker.process.pid, threads=True) for worker in workers]
        yield url, tuple(f"http://{HOST}:{port}/metrics" for port in ports), tuple(roots)
    finally:
        stopped(started, airtrace)


def _wait_until_idle(roots: Sequence[Root]) -> None:
    """Waits until Milvus, which builds and merges its index in the background with pauses, stops using the CPU."""
    quiet_since_s = time.monotonic()
    deadline_s = quiet_since_s + START_S
    before = snapshot(roots)
    while (now_s := time.monotonic()) < deadline_s and now_s - quiet_since_s < QUIET_S:
        time.sleep(IDLE_S)
        after = snapshot(roots)
        if sum(cores(before, after, IDLE_S).values()) >= IDLE_CORES:
            quiet_since_s = time.monotonic()
        before = after


def _url(run: Running, event: str) -> str:
    """The address that a process serves, once it logs this event."""
    (running,) = run.wait_for(lambda: run.events(event), START_S)
    return str(running["page"])


def child_environment(settings: Mapping[str, str]) -> dict[str, str]:
    """Settings with which a child runs this checkout's program, and its threads have names."""
    return {"PYTHONPATH": f"{THREAD_NAMES}:{ROOT}", **settings}


def copy(source: Path, target: Path) -> None:
    """Copies a folder with the owners of its files: PostgreSQL does not run as root."""
    shutil.copytree(source, target)
    for original in [source, *source.rglob("*")]:
        known = original.stat()
        shutil.chown(target / original.relative_to(source), known.st_uid, known.st_gid)


def stopped(runs: Sequence[Running], airtrace: Airtrace) -> None:
    """Stops processes and whatever they left; reports what did not end well, because the figures are still good."""
    for run in runs:
        try:
            run.stop()
        except AssertionError as error:
            log(f"not a clean end: {str(error)[:500]}")
    try:
        airtrace.end()
    except AssertionError as error:
        log(str(error)[:500])


def _dsn(home: Path) -> str:
    """Of the PostgreSQL that runs in a home."""
    where = Home(home).postgres
    port = (where / "data" / "postmaster.pid").read_text().splitlines()[3]
    password = quote((where / "password").read_text())
    return f"postgresql://{USER}:{password}@{HOST}:{port}/postgres"
