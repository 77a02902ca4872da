"""Olaf (Joren Six, C, AGPL), with the core built by `make compile_core`.

    git clone https://github.com/JorenSix/Olaf $AIRTRACE_PEERS/olaf
    make -C $AIRTRACE_PEERS/olaf compile_core

Its settings are compiled in. OlafOverTheAir links the same objects with Olaf's settings for microphones.
"""

from __future__ import annotations

import os
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import soundfile

from ingest.sources import ffmpeg
from tests.bench.peers.system import MAX_ANSWERS, Answer, checkout, size_of

RATE_HZ = 16_000
BATCH = 16  # uncompressed files on disk at a time
# Two peaks per hash instead of three, each used up to 20 times, 4 hits per match: olaf_config_esp_32().
OVER_THE_AIR = """
#include "olaf_config.h"
Olaf_Config *__real_olaf_config_default(void);
Olaf_Config *__wrap_olaf_config_default(void) {
    Olaf_Config *config = __real_olaf_config_default();
    config->numberOfEPsPerFP = 2;
    config->maxEventPointUsages = 20;
    config->minMatchCount = 4;
    return config;
}
"""


class Olaf:
    name = "Olaf"
    settings = "as it comes: three peaks per hash, at least 6 hits per match"

    def __init__(self) -> None:
        self._folder = checkout("olaf")

    def missing(self) -> str | None:
        if not (self._folder / "bin" / "olaf_core").exists():
            where = self._folder / "bin" / "olaf_core"
            return f"{where} does not exist: see {__name__.replace('.', '/')}.py, and set AIRTRACE_PEERS"
        return None

    def index(self, references: Sequence[Path], folder: Path) -> None:
        (folder / ".olaf" / "db").mkdir(parents=True)
        program = self._program(folder)
        for first in range(0, len(references), BATCH):
            batch = range(first, min(first + BATCH, len(references)))
            with tempfile.TemporaryDirectory(prefix="airtrace-bench-") as work:
                for i in batch:
                    _decode(references[i], Path(work) / f"{i}.raw")
                pairs = [word for i in batch for word in (f"{work}/{i}.raw", str(i))]
                _run(program, folder, "store", *pairs)

    def answers(self, folder: Path, queries: Sequence[Path]) -> list[list[Answer]]:
        program = self._program(folder)
        with tempfile.TemporaryDirectory(prefix="airtrace-bench-") as work:
            return [self._answers(program, folder, path, Path(work) / "query.raw") for path in queries]

    def stored_bytes(self, folder: Path) -> int:
        return size_of(folder, ".olaf/db/data.mdb")

    def _program(self, folder: Path) -> Path:
        return self._folder / "bin" / "olaf_core"

    def _answers(self, program: Path, folder: Path, path: Path, raw: Path) -> list[Answer]:
        sound, rate_hz = soundfile.read(path, dtype="float32")
        _resampled(sound, rate_hz).tofile(raw)
        return parsed(_run(program, folder, "query", str(raw), "query"))[:MAX_ANSWERS]


class OlafOverTheAir(Olaf):
    name = "Olaf, over the air"
    settings = "its settings for microphones: two peaks per hash, 20 uses of a peak, at least 4 hits per match"

    def _program(self, folder: Path) -> Path:
        program = folder / "olaf_over_the_air"
        if not program.exists():
            source = folder / "over_the_air.c"
            source.write_text(OVER_THE_AIR)
            objects = sorted(str(path) for path in self._folder.glob("*.o"))
            flags = ["-O2", "-std=gnu11", f"-I{self._folder / 'src'}", "-Wl,--wrap=olaf_config_default"]
            command = ["gcc", *flags, str(source), *objects, "-o", str(program), "-lm", "-pthread"]
            subprocess.run(command, check=True)
        return program


def parsed(printed: str) -> list[Answer]:
    """Parses Olaf's output (count, query start and stop, name, id, reference start and stop): answers, best first."""
    rows = [[word.strip() for word in line.split(",")] for line in printed.splitlines()]
    found = [
        Answer(int(row[3]), float(row[5]) - float(row[1]), float(row[0])) for row in rows if len(row) == 7 and row[3]
    ]
    return sorted(found, key=lambda answer: -answer.score)


def _decode(path: Path, raw: Path) -> None:
    command = [ffmpeg.binary(), "-v", "error", "-y", "-i", str(path), "-ac", "1", "-ar", str(RATE_HZ), "-f", "f32le"]
    subprocess.run([*command, str(raw)], check=False, stdin=subprocess.DEVNULL)
    raw.touch()  # a file that ffmpeg cannot read counts as empty


def _resampled(sound: np.ndarray, rate_hz: int) -> np.ndarray:
    """Halves the sample rate to 16 kHz with one FFT."""
    n = len(sound) // 2
    assert rate_hz == 2 * RATE_HZ
    return (np.fft.irfft(np.fft.rfft(sound[: 2 * n])[: n // 2 + 1], n) / 2).astype(np.float32)


def _run(program: Path, home: Path, *arguments: str) -> str:
    environment = {**os.environ, "HOME": str(home)}  # its database is in the home directory
    done = subprocess.run([str(program), *arguments], capture_output=True, check=True, env=environment, text=True)
    return done.stdout
