"""Capacity: whether matching keeps up with the streams, and how many it could keep up with."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Annotated, Any

from fastapi import APIRouter, Depends
from pydantic import BaseModel, Field

from monitor import parts
from monitor.api.dependencies import App
from monitor.matching.load import advice
from monitor.parts import Airtrace
from monitor.storage import records
from monitor.storage.records import WorkerState

router = APIRouter(prefix="/capacity", tags=["capacity"])


class Load(BaseModel):
    """How well one worker, or all of them together, keep up."""

    state: WorkerState | None = Field(
        description="ok, full (further streams would fall behind) or behind; null: no worker is running."
    )
    streams: int = Field(description="Streams matched in the last minute.")
    capacity_streams: float | None = Field(description="Streams that could be kept up with; null: not known yet.")
    load: float | None = Field(description="Streams divided by the capacity.")
    costly_step: str | None = Field(description="The step that takes the most time.")
    costly_share: float | None = Field(description="The share of the time that it takes.")
    behind_streams: int = Field(description="Streams whose audio is matched late.")
    behind_s: float = Field(description="Delay of the stream that is furthest behind, in seconds.")
    cpu: float | None = Field(description="Share of the machine's CPU time in use; null: not known.")


class WorkerLoad(Load):
    """A running worker. An embedded Airtrace has one."""

    name: str = Field(description="Host and process id.")
    started_at: datetime


class Capacity(Load):
    """All workers together, and each of them."""

    warning: str | None = Field(description="What is wrong and what to change; null if there is room.")
    workers: list[WorkerLoad]


class Running:
    """What is running now: the workers, and something that reads streams."""

    def __init__(self, workers: Sequence[records.WorkerStatus], *, is_reading: bool, is_embedded: bool) -> None:
        self.workers = workers
        self.is_reading = is_reading
        self._loads = [worker.load for worker in workers]
        self._is_embedded = is_embedded

    @property
    def load(self) -> records.WorkerLoad | None:
        """All workers together; None without workers."""
        return advice.combined(self._loads)

    @property
    def is_matching(self) -> bool:
        """Whether a worker is running."""
        return bool(self.workers)

    @property
    def warning(self) -> str | None:
        """What is wrong and what to change; None if there is room, or no worker."""
        return advice.warning(self._loads, is_embedded=self._is_embedded)

    def warning_at(self, n_streams: int) -> str | None:
        """The same, for this number of streams."""
        return advice.warning_at(self._loads, n_streams, is_embedded=self._is_embedded)


async def running(airtrace: Airtrace) -> Running:
    """What is running now. Without Kafka, a worker's process also reads the streams."""
    is_embedded = parts.is_embedded_mode(airtrace.settings)
    workers = await airtrace.storage.workers.running()
    is_reading = bool(workers) if is_embedded else await airtrace.storage.workers.is_ingest_running()
    return Running(workers, is_reading=is_reading, is_embedded=is_embedded)


async def _running(airtrace: App) -> Running:
    return await running(airtrace)


Now = Annotated[Running, Depends(_running)]


@router.get("", summary="Read the capacity")
async def read(now: Now) -> Capacity:
    """Returns how many streams are matched, how many could be, and what to change if that is too few."""
    load = now.load
    figures = _figures(load) if load else {**_figures(records.WorkerLoad(WorkerState.OK)), "state": None}
    workers = [
        WorkerLoad(name=worker.name, started_at=worker.started_at, **_figures(worker.load)) for worker in now.workers
    ]
    return Capacity(warning=now.warning, workers=workers, **figures)


def _figures(load: records.WorkerLoad) -> dict[str, Any]:
    return {name: getattr(load, name) for name in Load.model_fields}
