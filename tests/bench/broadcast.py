"""Measures which plays each system reports in hours of programs, for Airtrace and other systems on the same files.

Run by `make bench-broadcast`. Results are scored by monitor/evaluation, as in `airtrace evaluate`. Settings:

    AIRTRACE_PEERS=DIR        checkouts of the other systems; missing ones are reported with how to get them
    AIRTRACE_CORPUS=DIR       unpacked packages of the whole corpus; the default is the small set of `make music`
    AIRTRACE_BENCH_CACHE=DIR  keeps programs, catalogs and results, instead of the user's cache directory
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import soundfile

from monitor.core.segments import SAMPLE_RATE_HZ
from monitor.detect.detector import Detector
from monitor.detect.logmel import LogMelDetector
from monitor.evaluation.files import read_results, read_truth, write_results, write_truth
from monitor.evaluation.plays import Truth
from monitor.evaluation.report import Deviation, Latency, Report, as_json, as_text
from monitor.evaluation.score import score
from monitor.training.cache import decode
from monitor.training.distortions import conditions
from tests.bench import items, programs, sources
from tests.bench.peers.listeners import (
    AudfprintAsItComesListener,
    AudfprintListener,
    ChromaprintListener,
    Listener,
    OlafListener,
    OlafOverTheAirListener,
)
from tests.bench.peers.monitor import AirtraceListener
from tests.bench.runs import Speed, bench_cache, corpus_roots, key, log, once, slug
from tests.bench.sources import UNKNOWN_SHARE, Catalog, Reference, split_catalog

HOURS = 3.0
SEED = 2027
INTRO_S = 10.0  # skipped if only a part of a distractor is taken


@dataclass(frozen=True, slots=True)
class Broadcast:
    """The input of every system: recordings, their truth, and the files of the catalog."""

    recordings: tuple[Path, ...]
    truth: tuple[Truth, ...]
    references: tuple[Path, ...]
    families: dict[str, str]

    @property
    def durations_s(self) -> dict[str, float]:
        return {path.name: _duration_s(path) for path in self.recordings}


def main() -> int:
    """Prints tables, and writes all results to a JSON file."""
    arguments = parsed_arguments()
    cache = arguments.cache
    broadcast = prepared(cache, arguments)
    heard_s, registered_s = sum(broadcast.durations_s.values()), sum(map(_duration_s, broadcast.references))
    log(f"{heard_s / 3600:.2f} h of programs, {len(broadcast.truth)} plays")
    log(f"{len(broadcast.references)} references, {registered_s / 3600:.1f} h")
    result: dict[str, object] = {
        "split": arguments.split,
        "seed": arguments.seed,
        "hours": heard_s / 3600,
        "plays": len(broadcast.truth),
        "references": len(broadcast.references),
        "reference_hours": registered_s / 3600,
    }
    measured: dict[str, Measured] = {}
    missing: dict[str, str] = {}
    for system in _systems(arguments.systems):
        if (why := system.missing()) is not None:
            log(f"{system.name}: not available: {why}")
            missing[system.name] = why
            continue
        measured[system.name] = _measured(system, cache, broadcast, registered_s, heard_s, again=arguments.again)
        log(f"{system.name}:\n{as_text(measured[system.name].report)}")
    result["missing"] = missing
    result["systems"] = {name: of.as_json() for name, of in measured.items()}
    arguments.json.write_text(json.dumps(result, indent=1))
    print("\n".join(tables(measured, missing)))
    log(f"all results are in {arguments.json}")
    return 0


@dataclass(frozen=True, slots=True)
class Measured:
    """A system's report, and its speed of registering and listening."""

    settings: str
    registering: Speed
    listening: Speed
    report: Report

    def as_json(self) -> dict[str, object]:
        speeds = {"registering": str(self.registering), "listening": str(self.listening)}
        return {"settings": self.settings, **speeds, **as_json(self.report)}


def prepared(cache: Path, arguments: argparse.Namespace) -> Broadcast:
    """Makes the recordings and references that are not in the cache yet."""
    roots = [*arguments.corpus, *corpus_roots()]
    catalog = split_catalog(arguments.split, arguments.seed, roots, arguments.unknown_share)
    name = f"{arguments.split}-{arguments.seed}"
    made_by = [Path(module.__file__).read_bytes() for module in (programs, items, sources, conditions)]
    names = [[reference.name for reference in of] for of in (catalog.known, catalog.unknown)]
    content = (names, arguments.hours, arguments.unknown_hours, made_by)
    folder = cache / f"programs-{name}-{key(content)}"
    made = folder / "truth.csv"  # written last, so that its presence marks a complete folder
    if not made.exists():
        log("making programs")
        given = (catalog, arguments.split, roots)
        truth = programs.write(folder, programs.programs(*given, arguments.hours, arguments.seed))
        programs.write(folder, programs.unknown_programs(*given, arguments.unknown_hours, arguments.seed))
        write_truth(made, truth)
    recordings = tuple(sorted(folder.glob("*.flac")))
    references = _written(cache / "broadcast-references", catalog, arguments.distractors_s)
    return Broadcast(recordings, tuple(read_truth(made)), references, families(catalog))


def families(catalog: Catalog) -> dict[str, str]:
    """Groups tracks that are versions of one another: naming another version counts as recognizing it."""
    first: dict[str, str] = {}
    return {
        reference.name: first.setdefault(reference.group, reference.name)
        for reference in (*catalog.known, *catalog.distractors)
    }


def _written(folder: Path, catalog: Catalog, distractors_s: float) -> tuple[Path, ...]:
    """Writes the catalog's readable files: known ones in full, of a distractor `distractors_s`, or all if that is 0."""
    part = f"distractors-{distractors_s:g}s" if distractors_s else "distractors"
    for name in ("known", part):
        (folder / name).mkdir(parents=True, exist_ok=True)

    def path_of(reference: Reference, kind: str, max_s: float) -> Path:
        path = folder / kind / reference.name
        if not path.exists():
            pcm = decode(reference.file, INTRO_S + max_s) if max_s else decode(reference.file)
            pcm = pcm[-round(max_s * SAMPLE_RATE_HZ) :]  # all of it if that is 0
            unfinished = path.with_suffix(".part")
            # An empty FLAC file cannot be read.
            soundfile.write(unfinished, pcm if len(pcm) else [0.0], SAMPLE_RATE_HZ, "PCM_16", format="FLAC")
            unfinished.rename(path)
        return path

    with ThreadPoolExecutor(2) as pool:
        known = pool.map(lambda reference: path_of(reference, "known", 0), catalog.known)
        others = pool.map(lambda reference: path_of(reference, part, distractors_s), catalog.distractors)
        return tuple(path for path in (*known, *others) if _duration_s(path) >= 1)


def _measured(
    system: Listener, cache: Path, broadcast: Broadcast, registered_s: float, heard_s: float, *, again: bool
) -> Measured:
    references = [path.parent.name + path.name for path in broadcast.references]
    index = cache / f"broadcast-index-{slug(system.name)}-{key(system.settings, references)}"
    heard = broadcast.recordings[0].parent.name if broadcast.recordings else ""
    results = cache / f"broadcast-results-{slug(system.name)}-{key(index.name, system.described(), heard)}"
    if again:
        (index / "complete.json").unlink(missing_ok=True)
    if again or not system.kept:
        (results / "complete.json").unlink(missing_ok=True)
    log(f"{system.name}: registering (unless cached), then listening")
    registering = once(index, registered_s, lambda: system.index(broadcast.references, index))
    listening = once(
        results, heard_s, lambda: write_results(results / "results.csv", system.results(index, broadcast.recordings))
    )
    report = score(broadcast.truth, read_results(results / "results.csv"), broadcast.durations_s, broadcast.families)
    return Measured(system.described(), registering, listening, report)


def tables(measured: dict[str, Measured], missing: dict[str, str]) -> list[str]:
    """Markdown tables with one column per system."""
    reports = [of.report for of in measured.values()]
    lines = ["| | " + " | ".join(measured) + " |", "| --- " * (1 + len(measured)) + "|"]
    if reports:
        rows = [(name, [figure(report) for report in reports]) for name, figure in FIGURES.items()]
        for of in ("bands", "kinds"):
            names = dict.fromkeys(row.name for report in reports for row in getattr(report, of))
            rows += [
                (_row_name(reports[0], of, name), [_recall(report, of, name) for report in reports]) for name in names
            ]
        rows.append(("seconds of audio registered per second", [str(one.registering) for one in measured.values()]))
        rows.append(("seconds of audio heard per second", [str(one.listening) for one in measured.values()]))
        lines += [f"| {name} | {' | '.join(cells)} |" for name, cells in rows]
    lines += ["", *(f"{name}: {of.settings}" for name, of in measured.items())]
    return lines + [f"{name}: not available: {why}" for name, why in missing.items()]


def _percent(value: float | None) -> str:
    return "-" if value is None else f"{100 * value:.1f}"


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.2f}"


def _two(of: Deviation | Latency | None) -> str:
    return "-" if of is None else f"{of.median_s:.2f} / {of.p95_s:.2f}"


def _row_name(report: Report, of: str, name: str) -> str:
    row = next(row for row in getattr(report, of) if row.name == name)
    played_s = row.seconds.tp_s + row.seconds.fn_s
    return f"recall, {'' if of == 'kinds' else 'music at '}{name}: % ({row.plays} plays, {played_s:.0f} s)"


def _recall(report: Report, of: str, name: str) -> str:
    return next((_percent(row.seconds.recall) for row in getattr(report, of) if row.name == name), "-")


FIGURES: dict[str, Callable[[Report], str]] = {
    "F1 of seconds, %": lambda report: _percent(report.seconds.f1),
    "precision of seconds, %": lambda report: _percent(report.seconds.precision),
    "recall of seconds, %": lambda report: _percent(report.seconds.recall),
    "plays found": lambda report: f"{report.all.found} of {report.all.plays}",
    "plays of 5 s or more found": lambda report: f"{report.long.found} of {report.long.plays}",
    "reports per found play": lambda report: _number(report.reports_per_found_play),
    "start error, median / 95th percentile, s": lambda report: _two(report.start),
    "end error, s": lambda report: _two(report.end),
    "position error, s": lambda report: _two(report.position),
    "first report in the clear, s": lambda report: _two(report.latency_clear),
    "first report under other sound, s": lambda report: _two(report.latency_covered),
    "false plays": lambda report: f"{len(report.false_plays)} ({report.false_play_s:.0f} s)",
    "false plays in hours of unknown audio": lambda report: (
        f"{report.unknown_false_plays} in {report.unknown_s / 3600:.1f} h"
    ),
}


def _duration_s(path: Path) -> float:
    about = soundfile.info(path)
    return float(about.frames / about.samplerate)


def parsed_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--split", choices=("test", "tune"), default="test", help="the split to take sounds from")
    parser.add_argument("--hours", type=float, default=HOURS, help="hours of programs")
    parser.add_argument("--unknown-hours", type=float, default=0, help="hours of recordings without a registered track")
    parser.add_argument(
        "--unknown-share",
        type=float,
        default=UNKNOWN_SHARE,
        help="share of music left out of the catalog",
    )
    parser.add_argument("--seed", type=int, default=SEED)
    parser.add_argument("--systems", default="", help="only systems whose names contain this")
    parser.add_argument("--distractors-s", type=float, default=0, help="seconds of each distractor; 0: all of it")
    parser.add_argument("--again", action="store_true", help="register and listen again, ignoring the cache")
    parser.add_argument("--cache", type=Path, default=bench_cache(), help="folder of cached files")
    parser.add_argument("--corpus", type=Path, action="append", default=[], help="a folder of unpacked packages")
    parser.add_argument("--json", type=Path, help="file for the results; default: broadcast.json in the cache")
    arguments = parser.parse_args()
    arguments.json = arguments.json or arguments.cache / "broadcast.json"
    return arguments


def _systems(wanted: str) -> list[Listener]:
    all_of_them: list[Listener] = [
        AirtraceListener("Airtrace", _neural),
        AirtraceListener("Airtrace's log-mel baseline", LogMelDetector),
        AudfprintListener(),
        AudfprintAsItComesListener(),
        OlafListener(),
        OlafOverTheAirListener(),
        ChromaprintListener(),
    ]
    return [system for system in all_of_them if wanted.lower() in system.name.lower()]


def _neural() -> Detector:
    from monitor.detect.fingerprint import NeuralDetector

    return NeuralDetector()


if __name__ == "__main__":
    sys.exit(main())
