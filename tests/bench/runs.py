"""Shared by the benchmarks: folders, names of cached results, and timing."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

import platformdirs

from monitor.demo.music import cache_folder


@dataclass(frozen=True, slots=True)
class Speed:
    """The wall time and the CPU time of all processes that some audio took."""

    audio_s: float
    wall_s: float
    cpu_s: float

    def __str__(self) -> str:
        rate, per_core = self.audio_s / self.wall_s, self.audio_s / self.cpu_s
        return f"{rate:.0f} ({self.cpu_s / self.wall_s:.1f} cores busy; {per_core:.0f} per core)"


def bench_cache() -> Path:
    """AIRTRACE_BENCH_CACHE, or a folder in the user's cache directory."""
    chosen = os.environ.get("AIRTRACE_BENCH_CACHE")
    return Path(chosen).expanduser() if chosen else Path(platformdirs.user_cache_dir("airtrace")) / "bench"


def corpus_roots() -> list[Path]:
    """Folders of unpacked packages: that of `make music`, and AIRTRACE_CORPUS if it is set."""
    chosen = os.environ.get("AIRTRACE_CORPUS")
    return [cache_folder(), *([Path(chosen).expanduser()] if chosen else [])]


def key(*facts: object) -> str:
    """A short name for facts, by which results made from the same facts are found in the cache."""
    return hashlib.sha256(repr(facts).encode()).hexdigest()[:10]


def slug(name: str) -> str:
    return "".join(character for character in name.lower() if character.isalnum())


def log(line: str) -> None:
    print(f"{time.strftime('%H:%M:%S')} {line}", file=sys.stderr, flush=True)


def timed(audio_s: float, work: Callable[[], object]) -> Speed:
    before, begun = os.times(), time.perf_counter()
    work()
    wall_s, after = time.perf_counter() - begun, os.times()
    return Speed(audio_s, wall_s, sum(after[:4]) - sum(before[:4]))


def once(folder: Path, audio_s: float, work: Callable[[], object]) -> Speed:
    """Fills an empty folder, unless that was done before; returns how long it took."""
    done = folder / "complete.json"
    if not done.exists():
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        speed = timed(audio_s, work)
        done.write_text(json.dumps(asdict(speed)))
    return Speed(**json.loads(done.read_text()))
