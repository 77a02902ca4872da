"""Measures live monitoring: N real streams and a catalog of T tracks. Run by `make bench-live`.

A station in a process of its own sends N streams over HTTP (MP3, AAC and Opus), each another program of real music. The
program `airtrace run` (with --full: `airtrace ingest`, `worker` and `api` on their servers) monitors them in real time.
Measured are

    delay         from the end of a window's sound to its commit in PostgreSQL. A stream keeps up if 95 % of its
                  windows are stored within 2 s, and the delay does not grow
    air to match  from a play's first sound on the air to its match; plays found, of those on the air for 10 s or more
    cores         CPU in use by part: ffmpeg, PostgreSQL, each kind of thread of the program
    steps         wall seconds per second that the steps of the worker take, of all streams together
    memory        resident and proportional

Results are one JSON object per line on standard output; progress and a table at the end go to standard error.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ingest.settings import IngestSettings
from monitor.demo.music import cache_folder, fetch
from monitor.demo.program import Recording
from monitor.detect.fingerprint import NeuralDetector
from tests.bench.live import catalogs, programs, report, station, usage
from tests.bench.live.programs import Feed, Program
from tests.bench.live.systems import System, embedded, full
from tests.bench.live.usage import Root
from tests.bench.live.watching import Watched, stream_name, until_up, watch
from tests.bench.runs import log

UP_S, UP_PER_STREAM_S = 60.0, 1.0  # how long streams may take until their first audio is stored
STOP_S = 20.0
ENGINE = frozenset({"airtrace", "ingest", "worker", "ffmpeg"})


@dataclass(frozen=True)
class Broadcast:
    """A station on the air."""

    programs: Sequence[Program]
    feeds: Sequence[Feed]
    laps_s: Sequence[float]  # length of each program
    process: subprocess.Popen[bytes]
    port: int
    on_air_s: float

    def url(self, stream: int) -> str:
        program = self.programs[self.feeds[stream].program]
        return f"http://{station.HOST}:{self.port}{station.path(program, stream)}"

    def plays(self, until_s: float) -> dict[int, list[programs.Play]]:
        """What each stream plays from the catalog until a time."""
        return {
            stream: programs.plays(
                self.programs[feed.program].items, self.laps_s[feed.program], feed.offset_s, self.on_air_s, until_s
            )
            for stream, feed in enumerate(self.feeds)
        }


def main() -> int:
    """Measures each cell of the matrix, or searches the largest number of streams for each number of tracks."""
    arguments = _arguments()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.default_int_handler)
    known, unknown = programs.split(asyncio.run(fetch(cache_folder(), lambda step: None)).music)
    made = asyncio.run(programs.prepared(known, unknown))
    cells: list[dict[str, Any]] = []
    try:
        for n_tracks in arguments.tracks:
            if arguments.search:
                cells += _searched(arguments, made, known, n_tracks)
            else:
                cells += [_cell(arguments, made, known, n_streams, n_tracks) for n_streams in arguments.streams]
    except KeyboardInterrupt:
        log("interrupted")
        return 130
    finally:
        if cells:
            print(report.table(cells), file=sys.stderr)
    return 0


def _searched(
    arguments: argparse.Namespace, made: Sequence[Program], known: Sequence[Recording], n_tracks: int
) -> list[dict[str, Any]]:
    """Doubles the number of streams until some do not keep up, then halves the distance three times."""
    cells = []
    most, too_many, n_streams = 0, None, arguments.streams[0]
    for _ in range(arguments.search):
        cells.append(_cell(arguments, made, known, n_streams, n_tracks))
        if cells[-1]["streams_keeping_up"] == n_streams:
            most = n_streams
        else:
            too_many = n_streams
        n_streams = 2 * n_streams if too_many is None else (most + too_many) // 2
        if n_streams == most or n_streams <= 0:
            break
    log(f"{most} streams keep up with {n_tracks} tracks" + (f", {too_many} do not" if too_many else ""))
    return cells


def _cell(
    arguments: argparse.Namespace, made: Sequence[Program], known: Sequence[Recording], n_streams: int, n_tracks: int
) -> dict[str, Any]:
    """One measurement, printed as JSON."""
    info = NeuralDetector().info
    stocked = catalogs.prepared(known, n_tracks, info)
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="airtrace-live-", dir=arguments.work)))
        log(f"{n_streams} streams, {n_tracks} tracks: starting")
        if arguments.full:
            system = stack.enter_context(full(stocked, folder, arguments.set, arguments.workers))
        else:
            system = stack.enter_context(embedded(stocked, folder, arguments.set))
        broadcast = stack.enter_context(_on_air(folder, made, n_streams))
        mode = "full" if arguments.full else "embedded"
        cell = {"mode": mode, "streams": n_streams, "tracks": n_tracks, "at": time.strftime("%F %T"), **arguments.set}
        cell |= system.facts | asyncio.run(_measured(arguments, system, broadcast, n_streams))
    cell["station"] |= _last_line(broadcast.process)
    print(json.dumps(cell), flush=True)
    log(report.line(cell))
    return cell


async def _measured(
    arguments: argparse.Namespace, system: System, broadcast: Broadcast, n_streams: int
) -> dict[str, Any]:
    await asyncio.to_thread(_add_streams, system, broadcast, n_streams)
    begun_s = time.monotonic()
    n_up = await until_up(system.dsn, n_streams, UP_S + UP_PER_STREAM_S * n_streams)
    log(f"{n_up} of {n_streams} streams are up after {time.monotonic() - begun_s:.0f} s; settling")
    roots = (*system.roots, Root("station", broadcast.process.pid))
    if arguments.nice is not None:
        usage.prioritize((*roots, Root("this benchmark", os.getpid())), arguments.nice)
    await asyncio.sleep(arguments.settle)
    ends = _Ends(system, roots)
    window_s = float(IngestSettings().window_s)
    watched = await watch(system.dsn, n_streams, arguments.seconds, window_s, ends.begin, ends.end)
    return {
        "streams_up": n_up,
        **report.kept_up(watched),
        **report.found(watched, broadcast.plays(watched.ended_s)),
        **ends.facts(watched),
    }


def _add_streams(system: System, broadcast: Broadcast, n_streams: int) -> None:
    for stream in range(n_streams):
        system.add_stream(stream_name(stream), broadcast.url(stream))


class _Ends:
    """CPU time and steps at the two ends of the measured time."""

    def __init__(self, system: System, roots: Sequence[Root]) -> None:
        self._system = system
        self._roots = roots
        self._taken: list[tuple[float, usage.Snapshot, float, float, dict[str, float]]] = []

    def begin(self) -> None:
        own_s = sum(os.times()[:2])
        steps = self._system.step_seconds()
        self._taken.append((time.monotonic(), usage.snapshot(self._roots), own_s, usage.busy_cores_s(), steps))

    end = begin

    def facts(self, watched: Watched) -> dict[str, Any]:
        """What was used between them, and the memory now."""
        (begun_s, before, own_s, busy_s, steps), (ended_s, after, own_after_s, busy_after_s, steps_after) = self._taken
        seconds = ended_s - begun_s
        cores = usage.cores(before, after, seconds)
        own = {"station": cores.pop("station"), "benchmark": round((own_after_s - own_s) / seconds, 3)}
        whole = sum(cores.values())
        others = (busy_after_s - busy_s) / seconds - whole - sum(own.values())
        # Of the full mode, the engine: what reads, decodes and decides, without the servers and the API.
        engine = sum(value for part, value in cores.items() if part.split()[0] in ENGINE)
        n_streams = len(watched.delays)
        per_s = {step: round((value - steps.get(step, 0.0)) / seconds, 3) for step, value in steps_after.items()}
        return {
            "seconds": round(watched.ended_s - watched.began_s, 1),
            "cores": round(whole, 3),
            "cores_by_part": cores,
            "streams_per_core": round(n_streams / whole, 1),
            "streams_per_core_without_servers_and_api": round(n_streams / engine, 1),
            "cores_of_everything_else": round(others, 2),
            "steps_wall_s_per_s": dict(sorted(per_s.items(), key=lambda item: -item[1])),
            "memory_mb": usage.memory_mb(self._system.roots),
            "station": {"cores": own["station"]},
            "benchmark_cores": own["benchmark"],
        }


@contextmanager
def _on_air(folder: Path, made: Sequence[Program], n_streams: int) -> Iterator[Broadcast]:
    laps_s = [each.encoded().duration_s for each in made]
    feeds = programs.feeds(n_streams, [(each.codec, lap_s) for each, lap_s in zip(made, laps_s, strict=True)])
    given = folder / "station.json"
    given.write_text(station.specification(made, feeds))
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.bench.live.station", str(given)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        cwd=catalogs.ROOT,
        start_new_session=True,
    )
    try:
        assert process.stdout is not None
        begun = json.loads(process.stdout.readline())
        yield Broadcast(made, feeds, laps_s, process, begun["port"], begun["on_air_s"])
    finally:
        assert process.stdin is not None
        process.stdin.close()
        with suppress(subprocess.TimeoutExpired):
            process.wait(STOP_S)
        process.kill()
        process.wait()


def _last_line(process: subprocess.Popen[bytes]) -> dict[str, Any]:
    assert process.stdout is not None
    with process.stdout:
        lines = process.stdout.read().splitlines()
    found: dict[str, Any] = json.loads(lines[-1]) if lines else {}
    return found


def _arguments() -> argparse.Namespace:
    assert __doc__ is not None
    parser = argparse.ArgumentParser(
        prog="python -m tests.bench.live", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--streams", type=_numbers, default=[10, 30, 100], help="such as 10,30,100")
    parser.add_argument("--tracks", type=_numbers, default=[300], help="size of the catalog, such as 300,5000")
    parser.add_argument("--seconds", type=float, default=120.0, help="length of a measurement: 120")
    parser.add_argument("--settle", type=float, default=20.0, help="time before it, once all streams are up: 20")
    parser.add_argument(
        "--search", type=int, default=0, metavar="STEPS", help="search the most streams that keep up, in so many steps"
    )
    parser.add_argument("--full", action="store_true", help="the full mode, with Kafka, Milvus and PostgreSQL servers")
    parser.add_argument("--workers", type=int, default=1, help="processes that match, in the full mode: 1")
    parser.add_argument(
        "--set",
        type=_setting,
        action=_Settings,
        default={},
        metavar="AIRTRACE_NAME=VALUE",
        help="a setting; repeatable",
    )
    parser.add_argument(
        "--nice", type=int, help="priority of all that is measured: -10 on a machine with other work, if you are root"
    )
    parser.add_argument("--work", type=Path, help="folder for the temporary homes, each as large as its catalog")
    return parser.parse_args()


class _Settings(argparse.Action):
    """Collects settings in a dictionary."""

    def __call__(
        self, parser: object, namespace: argparse.Namespace, values: Any, option_string: object = None
    ) -> None:
        name, value = values
        setattr(namespace, self.dest, {**getattr(namespace, self.dest), name: value})


def _setting(text: str) -> tuple[str, str]:
    name, separator, value = text.partition("=")
    if not separator:
        raise argparse.ArgumentTypeError(f"{text!r} is not NAME=VALUE")
    return name, value


def _numbers(text: str) -> list[int]:
    return [int(each) for each in text.split(",")]


if __name__ == "__main__":
    sys.exit(main())
