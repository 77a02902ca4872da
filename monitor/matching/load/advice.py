"""What to say about a machine that is full or behind, and what to change. Pure text."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from monitor.matching.load.capacity import FULL_LOAD, ON_TIME_S, RETRY
from monitor.storage.records import WorkerLoad, WorkerState

BUSY_CPU = 0.9
CATCHING_UP_LOAD = 0.95  # below, a worker that is behind matches faster than audio arrives

CHEAPER_SEARCH = "Make the search cheaper with a smaller catalog or another index (deploy/README.md)"
FASTER_SERVER = {
    "write": "Give PostgreSQL a faster disk",
    "recall": "Give PostgreSQL a faster disk",
    "fetch": "Give PostgreSQL a faster disk",
    "commit": "Give the bus a faster disk",
}
STEPS = {
    "embed": "computing fingerprints",
    "search": "searching the index",
    "align": "comparing with the catalog",
    "fetch": "fetching tracks from PostgreSQL",
    "write": "writing to PostgreSQL",
    "recall": "reading from PostgreSQL",
    "commit": "committing offsets",
}
RETRYING = "A server does not answer: see worker.retrying in the log"
EMBEDDED = "Monitor fewer streams, give the machine more cores, or run the full mode on several machines"
FULL_MODE = "Start more workers, at most as many as the topic has partitions"


RANK = {WorkerState.OK: 0, WorkerState.FULL: 1, WorkerState.BEHIND: 2}


def combined(loads: Sequence[WorkerLoad]) -> WorkerLoad | None:
    """The load of all workers together, with the state and costly step of the worst; None without workers."""
    if not loads:
        return None
    worst = _worst(loads)
    capacities = [load.capacity_streams for load in loads]
    return replace(
        worst,
        streams=sum(load.streams for load in loads),
        capacity_streams=sum(known for known in capacities if known is not None) if all(capacities) else None,
        behind_streams=sum(load.behind_streams for load in loads),
        behind_s=max(load.behind_s for load in loads),
    )


def warning(loads: Sequence[WorkerLoad], *, is_embedded: bool) -> str | None:
    """What is wrong with the worker that is worst off, and what to change; None if all have room."""
    if not loads or (load := _worst(loads)).state is WorkerState.OK:
        return None
    who = "This machine" if is_embedded else "A worker"
    change = f"{_cost(load)} {next_step(load, is_embedded=is_embedded)}."
    if load.state is WorkerState.FULL:
        about = f" and can keep up with about {load.capacity_streams:.0f}" if load.capacity_streams else ""
        return f"{who} is full: it matches {_streams(load.streams)}{about}.{change}"
    if load.costly_step == RETRY:
        return f"Matching has stopped for {load.behind_s:.0f} s. {RETRYING}."
    late = f"{load.behind_streams} of {_streams(load.streams)} are {_how(load)}"
    if load.load is not None and load.load < CATCHING_UP_LOAD:
        return f"Matching is behind but catching up: {late}."
    return f"{who} cannot keep up: {late}.{change}"


def warning_at(loads: Sequence[WorkerLoad], n_streams: int, *, is_embedded: bool) -> str | None:
    """What to say to somebody who has just added a stream, so that there are now `n_streams`; None if there is room."""
    if (said := warning(loads, is_embedded=is_embedded)) is not None:
        return said
    together = combined(loads)
    if together is None or not together.capacity_streams or n_streams / together.capacity_streams < FULL_LOAD:
        return None
    who = "this machine" if is_embedded else "the workers"
    return (
        f"{_streams(n_streams)} may be too many: {who} can keep up with about {together.capacity_streams:.0f}."
        f"{_cost(together)} {next_step(together, is_embedded=is_embedded)}."
    )


def next_step(load: WorkerLoad, *, is_embedded: bool) -> str:
    """What to change, by the step that costs most. If no CPU time is free, servers are slow for that reason."""
    general = EMBEDDED if is_embedded else FULL_MODE
    step = load.costly_step or ""
    if step == RETRY:
        return RETRYING
    has_cpu = load.cpu is None or load.cpu < BUSY_CPU
    special = CHEAPER_SEARCH if step == "search" else FASTER_SERVER.get(step) if has_cpu else None
    return general if special is None else f"{special}; or {general[0].lower()}{general[1:]}"


def _how(load: WorkerLoad) -> str:
    if load.behind_s <= ON_TIME_S:  # no stream is late, so the policy is to skip
        return "left out at any time, in turns"
    return f"matched up to {load.behind_s:.0f} s late"


def _worst(loads: Sequence[WorkerLoad]) -> WorkerLoad:
    return max(loads, key=lambda load: (RANK[load.state], load.load or 0.0))


def _cost(load: WorkerLoad) -> str:
    if load.costly_step is None or load.costly_share is None:
        return ""
    cpu = f", and {load.cpu:.0%} of the CPU is in use" if load.cpu is not None else ""
    step = STEPS.get(load.costly_step, load.costly_step)
    return f" {step[0].upper()}{step[1:]} takes the most time ({load.costly_share:.0%}){cpu}."


def _streams(count: int) -> str:
    return f"{count} stream{'' if count == 1 else 's'}"
