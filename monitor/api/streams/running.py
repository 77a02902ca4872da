"""What is running now: the workers, and something that reads streams."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

from fastapi import Depends

from monitor import parts
from monitor.api.dependencies import App
from monitor.matching.load import advice
from monitor.matching.load.advice import Streams
from monitor.matching.load.reporter import process_name
from monitor.parts import Airtrace
from monitor.storage import records


class Running:
    """The workers, and how well they keep up with the streams."""

    def __init__(self, workers: Sequence[records.WorkerStatus], *, is_reading: bool, is_embedded: bool) -> None:
        self.workers = workers
        self.is_reading = is_reading
        self._loads = [worker.load for worker in workers]
        self._is_embedded = is_embedded

    @property
    def load(self) -> records.WorkerLoad | None:
        """All workers together; None without workers."""
        return self.load_at(advice.NO_STREAMS)

    @property
    def is_matching(self) -> bool:
        """Whether a worker is running."""
        return bool(self.workers)

    @property
    def is_behind(self) -> bool:
        """Whether a worker is behind."""
        return self.load is not None and self.load.state is records.WorkerState.BEHIND

    def load_at(self, streams: Streams) -> records.WorkerLoad | None:
        """All workers together, with the delays of these streams; None without workers."""
        return advice.combined(self._loads, streams)

    def warning(self, streams: Streams) -> str | None:
        """What is wrong and what to change; None if there is room, or no worker."""
        return advice.warning(self._loads, streams, is_embedded=self._is_embedded)

    def warning_at(self, streams: Streams) -> str | None:
        """The same, for somebody who has just added one of these streams."""
        return advice.warning_at(self._loads, streams, is_embedded=self._is_embedded)

    def next_step(self, streams: Streams) -> str | None:
        """What to change; None if there is room, or no worker."""
        load = self.load
        if load is None or self.warning(streams) is None:
            return None
        return advice.next_step(load, is_embedded=self._is_embedded)


async def running(airtrace: Airtrace) -> Running:
    """What is running now.

    Without Kafka, one process reads, matches and serves the API. A command that serves the API itself therefore knows
    that nothing runs, even right after a monitor was killed whose row still looks fresh.
    """
    is_embedded = parts.is_embedded_mode(airtrace.settings)
    workers = await airtrace.storage.workers.running()
    if is_embedded:
        workers = [worker for worker in workers if worker.name == process_name()][-1:]
        return Running(workers, is_reading=bool(workers), is_embedded=True)
    return Running(workers, is_reading=await airtrace.storage.workers.is_ingest_running(), is_embedded=False)


async def _running(airtrace: App) -> Running:
    return await running(airtrace)


Now = Annotated[Running, Depends(_running)]
