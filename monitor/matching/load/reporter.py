"""Says how well a worker keeps up: in PostgreSQL for all processes, in metrics, and in the log once per change."""

from __future__ import annotations

import asyncio
import os
import socket
import uuid
from contextlib import suppress
from math import nan

import structlog

from monitor import metrics
from monitor.errors import DependencyError, with_cause
from monitor.matching.load.advice import next_step
from monitor.matching.load.capacity import Capacity
from monitor.matching.load.cpu import CpuMeter
from monitor.storage.records import WorkerLoad, WorkerState
from monitor.storage.tables.workers import WorkerTable

log = structlog.get_logger(__name__)

EVERY_S = 10.0
STOP_S = 2.0


def process_name() -> str:
    """Names this process as a worker: its host and process id."""
    return f"{socket.gethostname()}/{os.getpid()}"


class LoadReporter:
    """Reports for one worker.

    is_embedded: whether this process is the only worker, so that no other could help. policy: for the log.
    """

    def __init__(
        self,
        capacity: Capacity,
        workers: WorkerTable,
        *,
        is_embedded: bool,
        policy: str,
        cpu: CpuMeter | None = None,
        every_s: float = EVERY_S,
    ) -> None:
        self._capacity = capacity
        self._workers = workers
        self._is_embedded = is_embedded
        self._policy = policy
        self._cpu = cpu or CpuMeter()
        self._every_s = every_s
        self._id = uuid.uuid4()
        self._name = process_name()
        self._state = WorkerState.OK

    async def run(self) -> None:
        """Reports until cancelled; then nobody takes this worker for a running one."""
        try:
            while True:
                await self._report(self._capacity.load(self._cpu.share()))
                await asyncio.sleep(self._every_s)
        finally:
            with suppress(DependencyError, TimeoutError):
                async with asyncio.timeout(STOP_S):
                    await self._workers.delete(self._id)

    async def _report(self, load: WorkerLoad) -> None:
        _set_metrics(load)
        if load.state is not self._state:
            self._log(load)
            self._state = load.state
        try:
            await self._workers.write(self._id, self._name, load)
        except DependencyError as error:  # the worker itself says what it waits for
            log.debug("worker.load_not_written", error=with_cause(error))

    def _log(self, load: WorkerLoad) -> None:
        facts = _facts(load)
        if load.state is WorkerState.BEHIND:
            late = {"behind_streams": load.behind_streams, "behind_s": round(load.behind_s, 1), "policy": self._policy}
            log.warning("worker.behind", **late, **facts, next_step=next_step(load, is_embedded=self._is_embedded))
            return
        if self._state is WorkerState.BEHIND:
            log.info("worker.caught_up", state=load.state.value, **facts)
        if load.state is WorkerState.FULL:
            if self._state is WorkerState.OK:
                log.warning("worker.full", **facts, next_step=next_step(load, is_embedded=self._is_embedded))
        elif self._state is WorkerState.FULL:
            log.info("worker.has_room", **facts)


def _facts(load: WorkerLoad) -> dict[str, object]:
    facts: dict[str, object] = {"streams": load.streams}
    if load.capacity_streams is not None:
        facts["capacity_streams"] = round(load.capacity_streams, 1)
    if load.costly_step is not None and load.costly_share is not None:
        facts["costly_step"], facts["costly_share"] = load.costly_step, round(load.costly_share, 2)
    if load.cpu is not None:
        facts["cpu"] = round(load.cpu, 2)
    return facts


def _set_metrics(load: WorkerLoad) -> None:
    metrics.WORKER_STREAMS.set(load.streams)
    metrics.WORKER_BEHIND.set(load.behind_streams)
    metrics.LOAD.set(nan if load.load is None else load.load)
    metrics.CAPACITY.set(nan if load.capacity_streams is None else load.capacity_streams)
    for state in WorkerState:
        metrics.WORKER_STATE.labels(state.value).set(state is load.state)
