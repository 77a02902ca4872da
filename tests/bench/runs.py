"""What the benchmarks share: where their files lie, names of what is cached, and how long a system works."""

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
    """How long some audio took: wall seconds, and processor seconds of all processes."""

    audio_s: float
    wall_s: float
    cpu_s: float

    def __str__(self) -> str:
        rate, per_core = self.audio_s / self.wall_s, self.audio_s / self.cpu_s
        return f"{rate:.0f} ({self.cpu_s / self.wall_s:.1f} cores busy; {per_core:.0f} a core)"


def bench_cache() -> Path:
    """AIRTRACE_BENCH_CACHE, or a folder of the user's cache directory."""
    chosen = os.environ.get("AIRTRACE_BENCH_CACHE")
    return Path(chosen).expanduser() if chosen else Path(platformdirs.user_cache_dir("airtrace")) / "bench"


def corpus_roots() -> list[Path]:
    """Folders of unpacked packages: the small set of `make music`, and AIRTRACE_CORPUS if it is set."""
    chosen = os.environ.get("AIRTRACE_CORPUS")
    return [cache_folder(), *([Path(chosen).expanduser()] if chosen else [])]


def key(*facts: object) -> str:
    """A short name of facts: what was made of the same ones is taken from the cache."""
    return hashlib.sha256(repr(facts).encode()).hexdigest()[:10]


def slug(name: str) -> str:
    return "".join(character for character in name.lower() if character.isalnum())


def tell(line: str) -> None:
    print(f"{time.strftime('%H:%M:%S')} {line}", file=sys.stderr, flush=True)


def timed(audio_s: float, work: Callable[[], object]) -> Speed:
    before, begun = os.times(), time.perf_counter()
    work()
    wall_s, after = time.perf_counter() - begun, os.times()
    return Speed(audio_s, wall_s, sum(after[:4]) - sum(before[:4]))


def once(folder: Path, audio_s: float, work: Callable[[], object]) -> Speed:
    """Fills an empty folder, unless that was done before; how long it took then."""
    done = folder / "complete.json"
    if not done.exists():
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        speed = timed(audio_s, work)
        done.write_text(json.dumps(asdict(speed)))
    return Speed(**json.loads(done.read_text()))
