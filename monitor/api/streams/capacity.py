"""Capacity: whether matching keeps up with the streams, and how many it could keep up with."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from fastapi import APIRouter
from pydantic import BaseModel, Field

from monitor.api.dependencies import App
from monitor.api.streams import schemas
from monitor.api.streams.running import Now
from monitor.storage import records
from monitor.storage.records import WorkerState

router = APIRouter(prefix="/capacity", tags=["capacity"])

DIGITS = {"capacity_streams": 1, "behind_s": 1}  # after the point; others are shares


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
    next_step: str | None = Field(description="What to change; null if there is room.")
    workers: list[WorkerLoad]


@router.get("", summary="Read the capacity")
async def read(airtrace: App, now: Now) -> Capacity:
    """Returns how many streams are matched, how many could be, and what to change if that is too few."""
    instant = schemas.utc_now()
    rows = [schemas.Stream.of(stream, instant, now) for stream in await airtrace.storage.streams.list()]
    streams = schemas.summary(rows)
    load = now.load_at(streams)
    figures = _figures(load) if load else {**_figures(records.WorkerLoad(WorkerState.OK)), "state": None}
    workers = [
        WorkerLoad(name=worker.name, started_at=worker.started_at, **_figures(worker.load)) for worker in now.workers
    ]
    return Capacity(warning=now.warning(streams), next_step=now.next_step(streams), workers=workers, **figures)


def _figures(load: records.WorkerLoad) -> dict[str, Any]:
    figures = {name: getattr(load, name) for name in Load.model_fields}
    return {name: _rounded(name, figure) for name, figure in figures.items()}


def _rounded(name: str, figure: Any) -> Any:
    return round(figure, DIGITS.get(name, 2)) if isinstance(figure, float) else figure
