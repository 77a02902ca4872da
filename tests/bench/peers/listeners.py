"""The other systems as monitors: whole recordings in, plays out. Each looks up overlapping windows, as its tools do.

Minimum scores: Chromaprint's is about the best of several on an hour of the `tune` programs, and that of audfprint as
it comes is near its best there. The others are guesses or the systems' own defaults.
"""

from __future__ import annotations

import json
import os
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Protocol

import numpy as np
import soundfile

from monitor.core.segments import SAMPLE_RATE_HZ
from monitor.evaluation.plays import Result
from monitor.training.cache import resample
from tests.bench import hits
from tests.bench.hits import Hit
from tests.bench.peers import chromaprint
from tests.bench.peers.audfprint import DRIVER, Audfprint, AudfprintAsItComes
from tests.bench.peers.chromaprint import STEP_S, Chromaprint, Words
from tests.bench.peers.olaf import RATE_HZ, Olaf, OlafOverTheAir
from tests.bench.peers.system import MAX_ANSWERS

NAMES = "names.json"  # of the registered files, in order


class Listener(Protocol):
    """A system that reports plays."""

    name: str
    settings: str
    kept: bool  # its results do not change, so they can be reused in the next run

    def missing(self) -> str | None:
        """How to get the system; None if it can run."""

    def index(self, references: Sequence[Path], folder: Path) -> None:
        """Registers audio files into an empty folder. The name of a file is the name of its track."""

    def results(self, folder: Path, recordings: Sequence[Path]) -> list[Result]:
        """Finds the plays in 32 kHz mono recordings."""

    def described(self) -> str:
        """Its settings, including everything that affects the results."""


class _Windows:
    """Turns hits into plays. length_s, hop_s: of the windows. minimum, bridge_s: see `hits.plays`."""

    kept = True
    settings: str
    length_s: float
    hop_s: float
    minimum: float
    bridge_s: float

    def hits(self, folder: Path, recordings: Sequence[Path]) -> list[Hit]:
        """The hits of the lookups of all windows."""
        raise NotImplementedError

    def results(self, folder: Path, recordings: Sequence[Path]) -> list[Result]:
        return hits.plays(hits.best(self.hits(folder, recordings)), self.minimum, self.bridge_s)

    def described(self) -> str:
        return (
            f"{self.settings}; the best hit of each window of {self.length_s:g} s every {self.hop_s:g} s, "
            f"with a score of at least {self.minimum:g}, joined over {self.bridge_s:g} s"
        )


class AudfprintListener(_Windows, Audfprint):
    length_s, hop_s, minimum, bridge_s = 10.0, 5.0, 20.0, 10.0

    def hits(self, folder: Path, recordings: Sequence[Path]) -> list[Hit]:
        with tempfile.TemporaryDirectory(prefix="airtrace-bench-") as work:
            asked, answers = Path(work) / "queries.txt", Path(work) / "answers.jsonl"
            asked.write_text("".join(f"{path}\n" for path in recordings))
            driver = DRIVER.with_name("audfprint_windows.py")
            paths = (driver, self._folder, folder / "table.pklz", asked, answers)
            self._run([*paths, MAX_ANSWERS, self.length_s, self.hop_s, *self.match])
            return [hit for line in answers.read_text().splitlines() for hit in _audfprints(line)]


def _audfprints(line: str) -> Iterator[Hit]:
    recording, heard_s, rows = json.loads(line)
    for track, start_s, end_s, track_start_s, n in rows:
        if end_s > start_s:
            yield Hit(Path(recording).name, Path(track).name, start_s, end_s, track_start_s, n, heard_s)


class AudfprintAsItComesListener(AudfprintListener, AudfprintAsItComes):
    name, settings = AudfprintAsItComes.name, AudfprintAsItComes.settings
    table, match = AudfprintAsItComes.table, AudfprintAsItComes.match
    minimum = 8.0


class OlafListener(_Windows, Olaf):
    length_s, hop_s, minimum, bridge_s = 15.0, 5.0, 6.0, 10.0

    def index(self, references: Sequence[Path], folder: Path) -> None:
        super().index(references, folder)
        _write_names(folder, references)

    def hits(self, folder: Path, recordings: Sequence[Path]) -> list[Hit]:
        names = json.loads((folder / NAMES).read_text())
        program = self._program(folder)
        environment = {**os.environ, "HOME": str(folder)}  # its database is in the home directory
        found: list[Hit] = []
        with tempfile.TemporaryDirectory(prefix="airtrace-bench-") as work:
            raw = Path(work) / "query.raw"
            for recording in recordings:
                sound = resample(soundfile.read(recording, dtype="float32")[0], SAMPLE_RATE_HZ, RATE_HZ)
                for start_s, end_s in hits.windows(len(sound) / RATE_HZ, self.length_s, self.hop_s):
                    sound[round(start_s * RATE_HZ) : round(end_s * RATE_HZ)].tofile(raw)
                    command = [str(program), "query", str(raw), "query"]
                    printed = subprocess.run(
                        command, capture_output=True, check=True, env=environment, text=True
                    ).stdout
                    found += _olafs(printed, recording.name, names, start_s, end_s)
        return found


def _olafs(printed: str, recording: str, names: Sequence[str], start_s: float, end_s: float) -> Iterator[Hit]:
    """Parses Olaf's output: count, query start and stop, name, id, reference start and stop."""
    for row in ([word.strip() for word in line.split(",")] for line in printed.splitlines()):
        if len(row) == 7 and row[3]:
            count, first_s, last_s, track_s = (float(row[i]) for i in (0, 1, 2, 5))
            if last_s > first_s:
                yield Hit(recording, names[int(row[3])], start_s + first_s, start_s + last_s, track_s, count, end_s)


class OlafOverTheAirListener(OlafListener, OlafOverTheAir):
    name, settings = OlafOverTheAir.name, OlafOverTheAir.settings
    minimum = 8.0


class ChromaprintListener(_Windows, Chromaprint):
    """The score of a hit is the number of words, in the matching stretch of a window, that agree beyond chance."""

    length_s, hop_s, minimum, bridge_s = 15.0, 5.0, 32.0, 10.0
    fits = 0.62  # share of equal bits around a word of the stretch; by chance it is 0.5
    around = 16  # words, 2 s: the duration of one word's sound

    def index(self, references: Sequence[Path], folder: Path) -> None:
        super().index(references, folder)
        _write_names(folder, references)

    def hits(self, folder: Path, recordings: Sequence[Path]) -> list[Hit]:
        names = json.loads((folder / NAMES).read_text())
        stored = np.load(folder / "words.npz")
        words, starts = stored["words"], stored["starts"]
        found: list[Hit] = []
        for recording in recordings:
            heard = chromaprint.fingerprint(recording)
            for start_s, end_s in hits.windows(len(heard) * STEP_S, self.length_s, self.hop_s):
                window = heard[round(start_s / STEP_S) : round(end_s / STEP_S)]
                for answer in chromaprint.aligned(words, starts, window):
                    first = round(answer.position_s / STEP_S)
                    track = words[starts[answer.track] + first :][: len(window)]
                    if (run := self._fitting(window, track)) is not None:
                        at, end, score = run
                        start = start_s + at * STEP_S
                        place_s = (first + at) * STEP_S
                        lasts_s = (end - at) * STEP_S
                        found.append(
                            Hit(recording.name, names[answer.track], start, start + lasts_s, place_s, score, end_s)
                        )
        return found

    def _fitting(self, window: Words, track: Words) -> tuple[int, int, float] | None:
        """The first word and the end of the longest matching stretch, and its score."""
        equal = 1 - np.bitwise_count(window ^ track) / 32
        near = np.convolve(equal, np.ones(self.around), "same") / np.convolve(
            np.ones(len(equal)), np.ones(self.around), "same"
        )
        edges = np.flatnonzero(np.diff(np.concatenate([[False], near >= self.fits, [False]]).astype(np.int8)))
        if not len(edges):
            return None
        at, end = max(zip(edges[::2], edges[1::2], strict=True), key=lambda run: run[1] - run[0])
        return int(at), int(end), float(2 * (equal[at:end] - 0.5).sum())


def _write_names(folder: Path, references: Sequence[Path]) -> None:
    (folder / NAMES).write_text(json.dumps([path.name for path in references]))
