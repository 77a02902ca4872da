"""Measures registering, scanning and startup through the installed command. Run by `make bench`.

Absolute times depend on the machine and its load. The figure to compare is the ratio to ffmpeg's decoding of the same
files in the same run.
"""

from __future__ import annotations

import asyncio
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from ingest.sources.ffmpeg import binary
from monitor.demo.music import cache_folder, fetch

AIRTRACE = Path(sys.executable).with_name("airtrace")
RUNS = 5
SCANNED_FILES = 10


def main() -> int:
    """Prints one JSON object and returns the exit code."""
    files = [piece.path for piece in asyncio.run(fetch(cache_folder(), print)).music]
    with tempfile.TemporaryDirectory(prefix="airtrace-bench-") as folder:
        home = Path(folder)
        first_s = _timed(home, "tracks", "list")
        decode_s = _decode_s(files)
        register_s = _timed(home, "tracks", "add", *map(str, files)) - _median(home, "tracks", "list")
        audio_s = _audio_s(home)
        scanned = files[:SCANNED_FILES]
        scan_s = _timed(home, "scan", *map(str, scanned)) - _median(home, "tracks", "list")
        result = {
            "cores": os.cpu_count(),
            "tracks": len(files),
            "audio_s": round(audio_s),
            "register_x_realtime": round(audio_s / register_s),
            "ffmpeg_decoding_x_realtime": round(audio_s / decode_s),
            "register_time_over_ffmpeg_time": round(register_s / decode_s, 2),
            "scan_x_realtime": round(_audio_s(home, {str(path) for path in scanned}) / scan_s),
            "help_s": round(_median(home, "--help"), 3),
            "first_start_s": round(first_s, 2),
            "warm_start_to_answer_s": round(_median(home, "tracks", "list"), 2),
        }
    print(json.dumps(result, indent=2))
    return 0


def _timed(home: Path, *arguments: str) -> float:
    begun = time.perf_counter()
    subprocess.run(
        [AIRTRACE, "--home", home, *arguments], check=False, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    return time.perf_counter() - begun


def _median(home: Path, *arguments: str) -> float:
    return statistics.median(_timed(home, *arguments) for _ in range(RUNS))


def _decode_s(files: Sequence[Path]) -> float:
    """The time to only decode the files, one per core at once: a lower bound for any fingerprinter with ffmpeg."""
    begun = time.perf_counter()
    running: list[subprocess.Popen[bytes]] = []
    for path in files:
        if len(running) >= (os.cpu_count() or 1):
            running.pop(0).wait()
        raw = ["-f", "g722"] if path.suffix == ".g722" else []
        pcm = ["-ac", "1", "-ar", "32000", "-f", "s16le", "-y", os.devnull]
        running.append(
            subprocess.Popen([binary(), "-v", "quiet", *raw, "-i", str(path), *pcm], stdin=subprocess.DEVNULL)
        )
    for process in running:
        process.wait()
    return time.perf_counter() - begun


def _audio_s(home: Path, sources: set[str] | None = None) -> float:
    listed = subprocess.run([AIRTRACE, "--home", home, "tracks", "list", "--json"], check=True, capture_output=True)
    tracks = json.loads(listed.stdout)
    return sum(track["duration_s"] for track in tracks if sources is None or track["source"] in sources)


if __name__ == "__main__":
    sys.exit(main())
