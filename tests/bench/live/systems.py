"""What is measured: the program of the embedded mode, as a child process on a copy of a prepared home."""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import quote
from urllib.request import Request, urlopen

from monitor.local.home import Home
from monitor.local.postgres import USER
from tests.acceptance.command import Airtrace, Running
from tests.bench.live.catalogs import ROOT
from tests.bench.live.usage import Root
from tests.bench.runs import log

START_S = 1800.0  # a large catalog is loaded first
CALL_S = 60.0
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
def embedded(stocked: Path, folder: Path) -> Iterator[System]:
    """`airtrace run` on a copy of a home, as users start it."""
    home = folder / "home"
    shutil.copytree(stocked, home, copy_function=shutil.copy2)
    _keep_owners(stocked, home)
    airtrace = Airtrace(home, folder, child_environment())
    begun_s = time.monotonic()
    run = airtrace.start("run", "--port", "0")
    try:
        run.wait_for(lambda: run.events("airtrace.running"), START_S)
        url = json.loads((home / "run.json").read_text())["url"]
        pid = run.process.pid
        facts = {"start_s": round(time.monotonic() - begun_s, 1)}
        yield System(_dsn(home), url, (f"{url}/metrics",), (Root("airtrace", pid, threads=True),), facts)
    finally:
        stopped([run], airtrace)


def child_environment() -> dict[str, str]:
    """Settings with which a child runs this checkout's program, and its threads have names."""
    return {"PYTHONPATH": f"{THREAD_NAMES}:{ROOT}"}


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


def _keep_owners(stocked: Path, home: Path) -> None:
    """Gives copied files the owners of the originals: PostgreSQL does not run as root."""
    for original in [stocked, *stocked.rglob("*")]:
        known = original.stat()
        shutil.chown(home / original.relative_to(stocked), known.st_uid, known.st_gid)


def _dsn(home: Path) -> str:
    """Of the PostgreSQL that runs in a home."""
    where = Home(home).postgres
    port = (where / "data" / "postmaster.pid").read_text().splitlines()[3]
    password = quote((where / "password").read_text())
    return f"postgresql://{USER}:{password}@{HOST}:{port}/postgres"
