"""CPU time and memory of processes, their children and their threads, read from /proc."""

from __future__ import annotations

import os
import re
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

TICKS_PER_S = os.sysconf("SC_CLK_TCK")
# Children that are counted by what they are, not by who started them.
CHILDREN = {"ffmpeg": "ffmpeg", "postgres": "postgres"}


@dataclass(frozen=True, slots=True)
class Root:
    """A process, with a name for the report. `threads`: whether its threads are counted one by one."""

    name: str
    pid: int
    threads: bool = False


@dataclass(frozen=True, slots=True)
class Counted:
    """CPU seconds since the start of a process (tid 0) or of one of its threads, and what it counts as."""

    part: str
    cpu_s: float


Snapshot = Mapping[tuple[int, int], Counted]


def snapshot(roots: Sequence[Root]) -> Snapshot:
    """What all processes below the roots have used so far."""
    found: dict[tuple[int, int], Counted] = {}
    for root, pid, kind in processes(roots):
        threads = list(_threads(root, pid)) if root.threads and kind == root.name else []
        found.update({(pid, tid): counted for tid, counted in threads})
        rest = f"{kind} other threads" if threads else kind
        whole_s = _cpu_s(Path(f"/proc/{pid}/stat"))
        found[pid, 0] = Counted(rest, whole_s - sum(counted.cpu_s for _, counted in threads))
    return found


def cores(before: Snapshot, after: Snapshot, seconds: float) -> dict[str, float]:
    """Cores in use between two snapshots, by part, most first. What ended meanwhile is missing."""
    used: defaultdict[str, float] = defaultdict(float)
    for place, counted in after.items():
        used[counted.part] += counted.cpu_s - (before[place].cpu_s if place in before else 0.0)
    ordered = sorted(used.items(), key=lambda item: -item[1])
    return {part: round(max(0.0, cpu_s) / seconds, 3) for part, cpu_s in ordered}


def memory_mb(roots: Sequence[Root]) -> dict[str, dict[str, float]]:
    """Resident and proportional memory in MB by kind of process."""
    found: defaultdict[str, dict[str, float]] = defaultdict(lambda: {"processes": 0, "rss": 0.0, "pss": 0.0})
    for _, pid, kind in processes(roots):
        sizes = _memory_kb(pid)
        found[kind]["processes"] += 1
        for name in ("rss", "pss"):
            found[kind][name] = round(found[kind][name] + sizes.get(name.capitalize(), 0) / 1024, 1)
    return dict(found)


def processes(roots: Sequence[Root]) -> Iterator[tuple[Root, int, str]]:
    """The roots and all that they started: the root, the process id, and what it counts as."""
    children: defaultdict[int, list[int]] = defaultdict(list)
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and (fields := _fields(entry / "stat")):
            children[int(fields[1])].append(int(entry.name))
    for root in roots:
        yield root, root.pid, root.name
        pending = list(children[root.pid])
        while pending:
            pid = pending.pop()
            pending += children[pid]
            yield root, pid, _kind(root, pid)


def prioritize(roots: Sequence[Root], nice: int) -> None:
    """Gives all processes below the roots a nice value, which may be negative if this process may do that.

    Where Linux groups processes by session (autogroup), groups share the CPU by nice values of their own, and those of
    processes count only within a group. Each ffmpeg has a session.
    """
    for _, pid, _ in processes(roots):
        with suppress(ProcessLookupError, FileNotFoundError):
            for thread in Path(f"/proc/{pid}/task").iterdir():
                os.setpriority(os.PRIO_PROCESS, int(thread.name), nice)
            Path(f"/proc/{pid}/autogroup").write_text(str(nice))


def busy_cores_s() -> float:
    """CPU seconds that the whole machine has used since its start."""
    user, nice, system, _, _, irq, softirq, steal = map(int, Path("/proc/stat").read_text().split()[1:9])
    return (user + nice + system + irq + softirq + steal) / TICKS_PER_S


def _kind(root: Root, pid: int) -> str:
    name = _name(Path(f"/proc/{pid}/comm"))
    return next((kind for start, kind in CHILDREN.items() if name.startswith(start)), root.name)


def _threads(root: Root, pid: int) -> Iterator[tuple[int, Counted]]:
    own = _name(Path(f"/proc/{pid}/comm"))
    try:
        listed = list(Path(f"/proc/{pid}/task").iterdir())
    except OSError:
        return
    for folder in listed:
        tid, name = int(folder.name), _name(folder / "comm")
        part = "main thread" if tid == pid else "unnamed threads" if name == own else thread_part(name)
        yield tid, Counted(f"{root.name} {part}", _cpu_s(folder / "stat"))


def thread_part(name: str) -> str:
    """Threads of one pool count together: their names differ only in a number at the end."""
    return re.sub(r"[-_]\d*$", "", name)


def _name(file: Path) -> str:
    try:
        return file.read_text().strip()
    except OSError:
        return ""


def _fields(file: Path) -> list[str]:
    """The fields of a stat file after the name: the first is the state; none if it has ended."""
    try:
        return file.read_text().rpartition(")")[2].split()
    except OSError:
        return []


def _cpu_s(file: Path) -> float:
    fields = _fields(file)
    return (int(fields[11]) + int(fields[12])) / TICKS_PER_S if fields else 0.0


def _memory_kb(pid: int) -> dict[str, int]:
    try:
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()[1:]
    except OSError:
        return {}
    return {line.split(":")[0]: int(line.split()[1]) for line in lines}
