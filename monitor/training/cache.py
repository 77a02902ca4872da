"""The cache: all audio of a training set decoded once, 16 kHz mono 16 bit, memory-mapped, with copies.

A copy is an excerpt of a track that went through a codec, or whose tempo, pitch or speed was changed. Making it needs a
program and a tenth of a second; a training step has a millisecond an example: so copies are made once.

    pcm.i16      all clips behind one another
    clips.jsonl  one line a clip, appended when its samples are written; making a cache goes on where it stopped
"""

from __future__ import annotations

import json
import math
import subprocess
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import IO, Any

import numpy as np
import structlog
from numpy.typing import NDArray

from ingest.sources import ffmpeg
from monitor.audio import files as audio_files
from monitor.core.segments import SAMPLE_RATE_HZ
from monitor.detect.spectrum import DECIMATION, RATE_HZ, decimate
from monitor.training.corpus import AudioFile, read
from monitor.training.errors import TrainingError

log = structlog.get_logger(__name__)
Pcm = NDArray[np.int16]

SHORTEST_S = {"music": 5.0, "speech": 0.2, "noise": 0.1}
LONGEST_S = 900.0  # of one file: one endless recording must not fill the cache
COPY_S = 40.0
COPY_EVERY_S = 40.0  # of a track there is as much in copies as in the original
LAG_S = 0.12  # codecs delay what they carry; it is looked for this far, and set right
PROGRESS_EVERY = 200  # files

CODECS: tuple[tuple[str, str, str], ...] = (
    ("libmp3lame", "mp3", "mp3"),
    ("aac", "adts", "aac"),
    ("libopus", "ogg", "ogg"),
)
BIT_RATES_KBPS = (24, 32, 48, 64, 96, 128)
LOW_RATES_SHARE = 0.6  # of the codec copies are at 24 to 48 kb/s, where there is something to learn
STRETCH = 0.065  # tempo, pitch and speed change by up to so much


@dataclass(frozen=True, slots=True)
class Clip:
    """A stretch of the cache.

    kind: music, speech, noise or copy. start, samples: where in pcm.i16, at 16 kHz.
    of: for a copy the name of the clip it is of; sample i of it lies at source_start + i * rate of that clip.
    """

    kind: str
    name: str
    track: str
    start: int
    samples: int
    of: str = ""
    source_start: float = 0.0
    rate: float = 1.0
    how: str = ""


@dataclass(frozen=True, slots=True)
class Cache:
    """Clips and the samples they lie in."""

    clips: tuple[Clip, ...]
    pcm: Pcm

    def of_kind(self, kind: str) -> list[Clip]:
        return [clip for clip in self.clips if clip.kind == kind]


def load(folder: Path) -> Cache:
    """Opens a cache.

    Raises:
        TrainingError: there is none.
    """
    try:
        lines = (folder / "clips.jsonl").read_text().splitlines()
        pcm = np.memmap(folder / "pcm.i16", np.int16, "r")
    except (OSError, ValueError) as error:
        raise TrainingError(f"there is no cache in {folder}: run `airtrace model train` with --corpus first") from error
    clips = (Clip(**json.loads(line)) for line in lines if line.endswith("}"))
    return Cache(tuple(clip for clip in clips if clip.start + clip.samples <= len(pcm) and clip.samples), pcm)


def build(folder: Path, files: Sequence[AudioFile], *, seed: int, copies: bool = True, workers: int = 2) -> Cache:
    """Decodes what is not in the cache yet, then makes the copies of its music."""
    folder.mkdir(parents=True, exist_ok=True)
    with Writer(folder) as writer:
        _all(workers, "decoded", files, lambda file: _add(writer, file))
        if copies:
            music = [file for file in files if file.kind == "music"]
            order = np.random.default_rng(seed).permutation(len(music))
            _all(workers, "copied", [music[i] for i in order], lambda file: _copy(writer, file, seed))
    return load(folder)


class Writer:
    """Appends clips to a cache; safe to use from several threads."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._lock = threading.Lock()
        self.names: set[str] = set()

    def __enter__(self) -> Writer:
        index = self._folder / "clips.jsonl"
        lines = index.read_text().splitlines() if index.exists() else []
        whole = [line for line in lines if line.endswith("}")]
        index.write_text("".join(f"{line}\n" for line in whole))
        self.names = {json.loads(line)["name"] for line in whole}
        self._index: IO[str] = index.open("a")
        self._pcm: IO[bytes] = (self._folder / "pcm.i16").open("ab")
        return self

    def __exit__(self, *_: object) -> None:
        self._index.close()
        self._pcm.close()

    def add(self, pcm: Pcm, **facts: Any) -> None:
        with self._lock:
            if facts["name"] in self.names:
                return
            clip = Clip(start=self._pcm.tell() // 2, samples=len(pcm), **facts)
            self._pcm.write(pcm.astype("<i2").tobytes())
            self._pcm.flush()
            self._index.write(json.dumps(asdict(clip)) + "\n")
            self._index.flush()
            self.names.add(clip.name)


def clip_name(file: AudioFile) -> str:
    return f"{file.path}!{file.member}" if file.member else str(file.path)


def _add(writer: Writer, file: AudioFile) -> None:
    """Decodes one file; one that cannot be read, or is too short, becomes a clip of no samples."""
    if clip_name(file) in writer.names:
        return
    sound = decimate(decode(file))
    pcm = np.round(np.clip(sound * 32768, -32768, 32767)).astype(np.int16)
    if len(pcm) < SHORTEST_S[file.kind] * RATE_HZ or not pcm.any():
        log.debug("cache.skipped", file=file.name, samples=len(pcm))
        pcm = pcm[:0]
    writer.add(pcm, kind=file.kind, name=clip_name(file), track=file.track)


def decode(file: AudioFile, seconds: float = LONGEST_S) -> Pcm:
    """The file as 32 kHz mono PCM; empty if ffmpeg and libsndfile cannot read it."""
    fast = _through_sndfile(file) if file.kind != "music" else None
    if fast is not None:
        return fast
    form = ["-f", "g722"] if file.is_g722 else []
    given = b"" if not file.member else read(file)
    source = "pipe:0" if file.member else str(file.path)
    pcm = run_ffmpeg([*form, "-i", source, "-t", str(seconds)], given)
    if len(pcm) == 0 and file.kind == "music":
        slow = _through_sndfile(file)
        return pcm if slow is None else slow
    return pcm


def run_ffmpeg(arguments: Sequence[str], given: bytes = b"") -> Pcm:
    """32 kHz mono PCM of what ffmpeg makes of its arguments."""
    # ffmpeg is the one this package always uses; its arguments are paths and numbers of ours.
    command = [ffmpeg.binary(), "-v", "error", "-threads", "1", *arguments]
    command += ["-vn", "-ac", "1", "-ar", str(SAMPLE_RATE_HZ), "-f", "s16le", "-"]
    done = subprocess.run(command, input=given, capture_output=True, check=False)  # noqa: S603
    return np.frombuffer(done.stdout[: len(done.stdout) // 2 * 2], "<i2")


def _through_sndfile(file: AudioFile) -> Pcm | None:
    """Short files without starting a program: a fiftieth of the time."""
    try:
        found = audio_files.read(read(file))
    except (RuntimeError, OSError):  # an encrypted zip is a RuntimeError
        return None
    if found is None:
        return None
    sound, rate = found
    sound = sound[: int(LONGEST_S * rate)].mean(axis=1)
    return np.round(np.clip(resample(sound, rate, SAMPLE_RATE_HZ) * 32767, -32768, 32767)).astype(np.int16)


def resample(sound: NDArray[np.float32], rate_hz: int, to_hz: int) -> NDArray[np.float32]:
    """Sound at another rate, through its whole spectrum; padded so that its ends do not meet."""
    if rate_hz == to_hz or len(sound) == 0:
        return sound
    unit = rate_hz // math.gcd(rate_hz, to_hz)  # this many samples become a whole number of samples
    n_units = _smooth((len(sound) + rate_hz // 50) // unit + 1)
    spectrum = np.fft.rfft(sound, n_units * unit)
    n_out = n_units * unit * to_hz // rate_hz
    out = np.fft.irfft(spectrum[: n_out // 2 + 1], n_out) * (to_hz / rate_hz)
    resampled: NDArray[np.float32] = out[: len(sound) * to_hz // rate_hz].astype(np.float32)
    return resampled


def _smooth(n: int) -> int:
    """The next number that is a power of two times 1, 3 or 5: transforms of other lengths can be slow."""
    return min(factor << max(0, (-(-n // factor) - 1).bit_length()) for factor in (1, 3, 5))


def _copy(writer: Writer, file: AudioFile, seed: int) -> None:
    name = clip_name(file)
    if f"{name}#0" in writer.names:
        return
    rng = np.random.default_rng([seed, *name.encode()])
    pcm = decode(file)
    length = int(COPY_S * SAMPLE_RATE_HZ)
    for i in range(max(2, round(len(pcm) / SAMPLE_RATE_HZ / COPY_EVERY_S))):
        start = int(rng.integers(0, max(1, len(pcm) - length)))
        start -= start % DECIMATION
        excerpt = pcm[start : start + length]
        how, rate, made = _changed(excerpt, rng)
        if len(made) < SAMPLE_RATE_HZ:
            continue
        sound = np.round(np.clip(decimate(made) * 32768, -32768, 32767)).astype(np.int16)
        facts = {"of": name, "source_start": start / DECIMATION, "rate": rate, "how": how}
        writer.add(sound, kind="copy", name=f"{name}#{i}", track=file.track, **facts)


def _changed(excerpt: Pcm, rng: np.random.Generator) -> tuple[str, float, Pcm]:
    """How, samples of the original a sample, and the changed sound."""
    choice = rng.choice(["codec", "tempo", "pitch", "both"], p=[0.4, 0.2, 0.25, 0.15])
    factor = float(np.exp(rng.uniform(-STRETCH, STRETCH)))
    if choice == "codec":
        how, made = _coded(excerpt, rng)
        return how, 1.0, made
    if choice == "pitch":
        return f"pitch {factor:.3f}", 1.0, filtered(excerpt, _pitch(factor, rng))
    if choice == "tempo":
        return f"tempo {factor:.3f}", factor, filtered(excerpt, _tempo(factor, rng))
    pitch = float(np.exp(rng.uniform(-STRETCH, STRETCH)))
    how, made = _coded(filtered(excerpt, f"{_pitch(pitch, rng)},{_tempo(factor, rng)}"), rng)
    return f"tempo {factor:.3f} pitch {pitch:.3f} {how}", factor, made


def _tempo(factor: float, rng: np.random.Generator) -> str:
    return f"atempo={factor:.5f}" if rng.random() < 0.5 else f"rubberband=tempo={factor:.5f}"


def _pitch(factor: float, rng: np.random.Generator) -> str:
    if rng.random() < 0.5:
        return f"rubberband=pitch={factor:.5f}"
    return f"asetrate={round(SAMPLE_RATE_HZ * factor)},aresample={SAMPLE_RATE_HZ},atempo={1 / factor:.5f}"


def filtered(excerpt: Pcm, filters: str) -> Pcm:
    """32 kHz mono PCM through filters of ffmpeg."""
    return run_ffmpeg([*_RAW, "-i", "pipe:0", "-af", filters], excerpt.tobytes())


def _coded(excerpt: Pcm, rng: np.random.Generator) -> tuple[str, Pcm]:
    codec, form, ending = CODECS[int(rng.integers(len(CODECS)))]
    low = rng.random() < LOW_RATES_SHARE
    kbps = int(rng.choice(BIT_RATES_KBPS[:3] if low else BIT_RATES_KBPS[3:]))
    return f"{ending} {kbps}", through_codec(excerpt, codec, form, kbps)


def through_codec(pcm: Pcm, codec: str, form: str, kbps: int) -> Pcm:
    """32 kHz mono PCM encoded and decoded again, without the codec's delay."""
    rate = "48000" if codec == "libopus" else str(SAMPLE_RATE_HZ)
    command = [ffmpeg.binary(), "-v", "error", "-threads", "1", *_RAW, "-i", "pipe:0", "-ar", rate, "-c:a", codec]
    command += ["-b:a", f"{kbps}k", "-f", form, "-"]
    encoded = subprocess.run(command, input=pcm.tobytes(), capture_output=True, check=False).stdout  # noqa: S603
    made = run_ffmpeg(["-i", "pipe:0"], encoded)
    lag = _lag(made, pcm)
    return made[lag:] if lag >= 0 else np.concatenate([np.zeros(-lag, np.int16), made])


_RAW = ("-f", "s16le", "-ar", str(SAMPLE_RATE_HZ), "-ac", "1")


def _lag(made: Pcm, original: Pcm) -> int:
    """By how many samples `made` comes after `original`; 0 where they are too unlike to say."""
    length, reach = 8 * SAMPLE_RATE_HZ, int(LAG_S * SAMPLE_RATE_HZ)
    middle = max(0, min(len(made), len(original)) // 2 - length // 2)
    a, b = (part[middle : middle + length].astype(np.float32) for part in (made, original))
    size = 1 << (len(a) + reach).bit_length()
    both = np.fft.irfft(np.fft.rfft(a, size) * np.conj(np.fft.rfft(b, size)), size)
    around = np.concatenate([both[-reach:], both[: reach + 1]])
    peak = int(around.argmax())
    scale = float(np.linalg.norm(a) * np.linalg.norm(b)) or 1.0
    return peak - reach if around[peak] / scale > 0.5 else 0


def _all(workers: int, done: str, files: Sequence[AudioFile], work: Callable[[AudioFile], None]) -> None:
    with ThreadPoolExecutor(workers, thread_name_prefix="cache") as pool:
        for n, _ in enumerate(pool.map(work, files), start=1):
            if n % PROGRESS_EVERY == 0 or n == len(files):
                log.info(f"cache.{done}", files=n, of=len(files))
