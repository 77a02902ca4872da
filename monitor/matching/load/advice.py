"""What to say about a machine that is full or behind, and what to change. Pure text."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

from monitor.matching.load.capacity import FULL_LOAD, LATE_SHARE, ON_TIME_S, RETRY
from monitor.storage.records import WorkerLoad, WorkerState

BUSY_CPU = 0.9
CATCHING_UP_LOAD = 0.95  # below, a worker that is behind matches faster than audio arrives

CHEAPER_SEARCH = "Make the search cheaper with a smaller catalog"
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


@dataclass(frozen=True, slots=True)
class Streams:
    """All monitored streams, as their rows show them now. behind_s: delay of the one that is furthest behind."""

    total: int = 0
    behind: int = 0
    behind_s: float = 0.0


NO_STREAMS = Streams()


def combined(loads: Sequence[WorkerLoad], streams: Streams = NO_STREAMS) -> WorkerLoad | None:
    """The load of all workers together, with the state and costly step of the worst; None without workers.

    The rows of streams that are behind replace what the workers said about them up to one report earlier.
    """
    if not loads:
        return None
    worst = _worst(loads)
    capacities = [load.capacity_streams for load in loads]
    together = replace(
        worst,
        streams=sum(load.streams for load in loads),
        capacity_streams=sum(known for known in capacities if known is not None) if all(capacities) else None,
        behind_streams=sum(load.behind_streams for load in loads),
        behind_s=max(load.behind_s for load in loads),
    )
    if streams.behind_s <= ON_TIME_S:  # none is late, so the policy is to skip, or none was matched yet
        return together
    return replace(together, behind_streams=streams.behind, behind_s=streams.behind_s)


def warning(loads: Sequence[WorkerLoad], streams: Streams = NO_STREAMS, *, is_embedded: bool) -> str | None:
    """What is wrong with the worker that is worst off, and what to change; None if all have room."""
    together = combined(loads, streams)
    if together is None:
        return None
    worst = _worst(loads)
    total = streams.total or together.streams
    late = f"{min(together.behind_streams, total)} of {_streams(total)} {_are(total)} {_how(together)}"
    if worst.state is WorkerState.OK:  # a few streams are late by themselves: they send past audio on connect
        return f"Matching is behind: {late}." if streams.behind > LATE_SHARE * total else None
    if worst.state is WorkerState.FULL and not streams.behind:
        return _about_full(worst, streams, is_embedded=is_embedded)
    if worst.costly_step == RETRY:
        return f"Matching has stopped for {worst.behind_s:.0f} s. {RETRYING}."
    if worst.load is not None and worst.load < CATCHING_UP_LOAD:
        return f"Matching is behind but catching up: {late}."
    who = "This machine" if is_embedded else "A worker"
    return f"{who} cannot keep up: {late}.{_change(worst, is_embedded=is_embedded)}"


def warning_at(loads: Sequence[WorkerLoad], streams: Streams, *, is_embedded: bool) -> str | None:
    """What to say to somebody who has just added one of these streams; None if there is room."""
    together = combined(loads, streams)
    is_stopped = together is not None and together.state is WorkerState.BEHIND and together.costly_step == RETRY
    if together is None or is_stopped or not together.capacity_streams:
        return warning(loads, streams, is_embedded=is_embedded)
    if streams.total / together.capacity_streams < FULL_LOAD:
        return warning(loads, streams, is_embedded=is_embedded)
    there_are = "There is" if streams.total == 1 else "There are"
    who = "this machine keeps" if is_embedded else "the workers keep"
    return (
        f"{there_are} now {_streams(streams.total)}; {who} up with about {_able(together.capacity_streams)}."
        f"{_change(together, is_embedded=is_embedded)}"
    )


def _about_full(load: WorkerLoad, streams: Streams, *, is_embedded: bool) -> str:
    who = "This machine" if is_embedded else "A worker"
    change = _change(load, is_embedded=is_embedded)
    n_streams = max(load.streams, streams.total) if is_embedded else load.streams
    if load.capacity_streams and n_streams > load.capacity_streams:
        able = _able(load.capacity_streams)
        possible = f": about {able} {_are(able)} possible" if able < n_streams else ""
        return f"{who} cannot keep up with {_streams(n_streams)}{possible}.{change}"
    about = f" and can keep up with about {_able(load.capacity_streams)}" if load.capacity_streams else ""
    return f"{who} is full: it matches {_streams(n_streams)}{about}.{change}"


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


def _change(load: WorkerLoad, *, is_embedded: bool) -> str:
    return f"{_cost(load)} {next_step(load, is_embedded=is_embedded)}."


def _able(capacity_streams: float) -> int:
    """Rounded down, so that no sentence says that a number of streams is both possible and too many."""
    return max(1, math.floor(capacity_streams))


def _are(count: int) -> str:
    return "is" if count == 1 else "are"


def _cost(load: WorkerLoad) -> str:
    if load.costly_step is None or load.costly_share is None:
        return ""
    cpu = f", and {load.cpu:.0%} of the CPU is in use" if load.cpu is not None else ""
    step = STEPS.get(load.costly_step, load.costly_step)
    return f" {step[0].upper()}{step[1:]} takes the most time ({load.costly_share:.0%}){cpu}."


def _streams(count: int) -> str:
    return f"{count} stream{'' if count == 1 else 's'}"
