"""Measures how often a short, degraded excerpt finds its place, for Airtrace and other systems on the same bytes.

Run by `make bench-retrieval`. Settings:

    AIRTRACE_PEERS=DIR        checkouts of the other systems; missing ones are reported with how to get them
    AIRTRACE_CORPUS=DIR       unpacked packages of the whole corpus, as distractors (8 GB of cache); the default is the
                              small set of `make music`
    AIRTRACE_BENCH_CACHE=DIR  replaces the folder in the user's cache directory
"""

from __future__ import annotations

import argparse
import json
import shutil
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from monitor.demo.music import cache_folder
from monitor.detect.detector import Detector
from monitor.detect.logmel import LogMelDetector
from monitor.training.distortions.conditions import CONDITIONS
from tests.bench import queries as cached
from tests.bench.peers.airtrace import Airtrace
from tests.bench.peers.audfprint import Audfprint, AudfprintAsItComes
from tests.bench.peers.chromaprint import Chromaprint
from tests.bench.peers.olaf import Olaf, OlafOverTheAir
from tests.bench.peers.system import Answer, System
from tests.bench.queries import Query, Reference
from tests.bench.runs import Speed, bench_cache, corpus_roots, key, log, slug, timed
from tests.bench.scoring import MISSED, Score, score, share

QUERIES = 80  # per condition and length
SEED = 2027
SPEED_FILES = 20  # about 45 min of audio
MEASURES = ("exact", "near", "track")


def main() -> int:
    """Prints tables, and writes all results to a JSON file."""
    arguments = _arguments()
    cache, roots = bench_cache(), corpus_roots()
    refs = cached.references(cache, roots, arguments.distractors_s, SEED)
    asked = cached.queries(cache, roots, refs, arguments.queries, SEED)
    log(f"{len(refs)} references, {sum(r.duration_s for r in refs) / 3600:.1f} h; {len(asked)} queries")
    result = {"references": len(refs), "hours": sum(r.duration_s for r in refs) / 3600, "seed": SEED, "systems": {}}
    for system in _systems(arguments.systems):
        if (why := system.missing()) is not None:
            log(f"{system.name}: not available: {why}")
            result["systems"][system.name] = {"missing": why}
            continue
        result["systems"][system.name] = _measured(system, cache, refs, asked, arguments)
    arguments.json.write_text(json.dumps(result, indent=1))
    print("\n".join(_report(result)))
    log(f"all results are in {arguments.json}")
    return 0


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--queries", type=int, default=QUERIES, help="places to query under each condition")
    parser.add_argument("--distractors-s", type=float, default=0, help="seconds of each distractor; 0: all of it")
    parser.add_argument("--systems", default="", help="only systems whose names contain this")
    parser.add_argument("--again", action="store_true", help="repeat queries that are in the cache")
    parser.add_argument("--no-speed", dest="speed", action="store_false", help="skip measuring registration")
    parser.add_argument("--json", type=Path, default=bench_cache() / "retrieval.json", help="file for the results")
    return parser.parse_args()


def _systems(wanted: str) -> list[System]:
    all_of_them: list[System] = [
        Airtrace("Airtrace", _neural),
        Airtrace("Airtrace's log-mel baseline", LogMelDetector),
        Audfprint(),
        AudfprintAsItComes(),
        Olaf(),
        OlafOverTheAir(),
        Chromaprint(),
    ]
    return [system for system in all_of_them if wanted.lower() in system.name.lower()]


def _neural() -> Detector:
    from monitor.detect.fingerprint import NeuralDetector

    return NeuralDetector()


def _measured(
    system: System, cache: Path, refs: Sequence[Reference], asked: Sequence[Query], arguments: argparse.Namespace
) -> dict[str, object]:
    folder, registered = _indexed(system, cache, refs)
    answers = _answered(system, cache, folder, asked, again=arguments.again)
    minutes = sum(reference.duration_s for reference in refs) / 60
    speed = _speed(system) if arguments.speed else None
    return {
        "settings": system.settings,
        "bytes_per_minute": round(system.stored_bytes(folder) / minutes),
        "registering_all": str(registered) if registered else None,
        "registering": str(speed) if speed else None,
        "cells": _cells(refs, asked, answers),
    }


def _indexed(system: System, cache: Path, refs: Sequence[Reference]) -> tuple[Path, Speed | None]:
    """The folder of the index of all references, made if it does not exist, and how long making it took."""
    facts = key(system.name, system.settings, [reference.path.name for reference in refs])
    folder = cache / f"index-{slug(system.name)}-{facts}"
    done = folder / "complete.json"
    if not done.exists():
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        log(f"{system.name}: registering {len(refs)} references")
        paths, audio_s = [reference.path for reference in refs], sum(r.duration_s for r in refs)
        speed = timed(audio_s, lambda: system.index(paths, folder))
        done.write_text(json.dumps([speed.audio_s, speed.wall_s, speed.cpu_s]))
    return folder, Speed(*json.loads(done.read_text()))


def _answered(system: System, cache: Path, folder: Path, asked: Sequence[Query], *, again: bool) -> list[list[Answer]]:
    kept = cache / f"answers-{key(folder.name, asked[0].path.parent.name)}.json"
    if again or not kept.exists():
        log(f"{system.name}: answering {len(asked)} queries")
        begun = time.perf_counter()
        answers = system.answers(folder, [query.path for query in asked])
        log(f"{system.name}: took {time.perf_counter() - begun:.0f} s")
        kept.write_text(json.dumps([[(a.track, a.position_s, a.score) for a in found] for found in answers]))
    return [[Answer(*answer) for answer in found] for found in json.loads(kept.read_text())]


def _cells(
    refs: Sequence[Reference], asked: Sequence[Query], answers: Sequence[Sequence[Answer]]
) -> list[dict[str, object]]:
    """One cell per condition and length, with the share of each measure."""
    scores: dict[tuple[str, int], list[Score]] = {}
    for query, found in zip(asked, answers, strict=True):
        scores.setdefault((query.condition, query.length_s), []).append(_score(refs, query, found))
    cells: list[dict[str, object]] = []
    for (condition, length_s), of_cell in scores.items():
        cell: dict[str, object] = {"condition": condition, "length_s": length_s, "n": len(of_cell)}
        for measure in MEASURES:
            of_measure = share([getattr(one, measure) for one in of_cell])
            cell[measure] = {"hits": of_measure.hits, "low": of_measure.low, "high": of_measure.high}
        cells.append(cell)
    return cells


def _score(refs: Sequence[Reference], query: Query, found: Sequence[Answer]) -> Score:
    if not found:
        return MISSED
    same = refs[found[0].track].group == refs[query.reference].group
    return score(same, found[0].position_s, query.start_s, query.rate, query.length_s)


def _speed(system: System) -> Speed:
    """How fast a system registers the original files of the small set into an empty index."""
    files = [file for file in cached.music_files([cache_folder()]).values() if not file.is_g722][:SPEED_FILES]
    with tempfile.TemporaryDirectory(prefix="airtrace-bench-") as folder:
        audio_s = sum(cached.duration_s(file) for file in files)
        return timed(audio_s, lambda: system.index([file.path for file in files], Path(folder)))


def _report(result: dict) -> list[str]:
    """Markdown tables: percentages of queries with their 95 % confidence intervals."""
    systems = {name: of for name, of in result["systems"].items() if "cells" in of}
    lines: list[str] = []
    for measure in reversed(MEASURES):
        lines += ["", f"## {measure}: % of queries (95 % interval)", ""]
        lines += ["| condition | s | n | " + " | ".join(systems) + " |", "| --- " * (3 + len(systems)) + "|"]
        for condition, length_s in _rows(systems):
            cells = [_cell(of["cells"], condition, length_s) for of in systems.values()]
            shares = " | ".join(str(share_of(cell, measure)) for cell in cells)
            lines.append(f"| {condition} | {length_s} | {cells[0]['n']} | {shares} |")
    lines += ["", "## Registering and storage", ""]
    lines += ["| system | seconds of audio per second | bytes per minute | settings |", "| --- | --- | --- | --- |"]
    for name, of in systems.items():
        lines.append(f"| {name} | {of['registering']} | {of['bytes_per_minute']} | {of['settings']} |")
    lines += [f"\n{name}: not available: {of['missing']}" for name, of in result["systems"].items() if "missing" in of]
    return lines


def share_of(cell: dict, measure: str) -> str:
    hits, n = cell[measure]["hits"], cell["n"]
    return f"{100 * hits / n:.0f} ({100 * cell[measure]['low']:.0f}-{100 * cell[measure]['high']:.0f})"


def _rows(systems: dict) -> list[tuple[str, int]]:
    order = [condition.name for condition in CONDITIONS]
    found = {(cell["condition"], cell["length_s"]) for of in systems.values() for cell in of["cells"]}
    return sorted(found, key=lambda row: (order.index(row[0]), row[1]))


def _cell(cells: Sequence[dict], condition: str, length_s: int) -> dict:
    return next(cell for cell in cells if (cell["condition"], cell["length_s"]) == (condition, length_s))


if __name__ == "__main__":
    sys.exit(main())
