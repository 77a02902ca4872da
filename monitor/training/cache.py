"""The training cache: the audio of a training set, decoded once to memory-mapped 16 kHz mono 16-bit PCM, with copies.

A copy is an excerpt of a track that went through a codec, or whose tempo, pitch or speed was changed. Copies are made
in advance: making one runs ffmpeg for a tenth of a second, while a training step has a millisecond per example.

    pcm.i16      the samples of all clips, concatenated
    clips.jsonl  one line per clip, appended after its samples are written, so that an interrupted build can resume
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

MIN_CLIP_S = {"music": 5.0, "speech": 0.2, "noise": 0.1}
MAX_CLIP_S = 900.0  # per file: one very long recording must not fill the cache
COPY_S = 40.0
COPY_EVERY_S = 40.0  # one copy per 40 s of a track: as much audio in copies as in the original
MAX_LAG_S = 0.12  # the longest codec delay that is detected and removed
PROGRESS_EVERY = 200  # files

CODECS: tuple[tuple[str, str, str], ...] = (
    ("libmp3lame", "mp3", "mp3"),
    ("aac", "adts", "aac"),
    ("libopus", "ogg", "ogg"),
)
BIT_RATES_KBPS = (24, 32, 48, 64, 96, 128)
LOW_RATES_SHARE = 0.6  # of the codec copies use 24 to 48 kb/s, where artifacts are strong enough to learn from
MAX_STRETCH = 0.065  # the largest change of tempo, pitch and speed


@dataclass(frozen=True, slots=True)
class Clip:
    """A range of samples in the cache.

    kind: music, speech, noise or copy.
    start, samples: the position and length in pcm.i16, in samples at 16 kHz.
    of: the name of the clip that a copy was made from; sample i of the copy is sample source_start + i * rate of it.
    how: the processing of a copy.
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
    """All clips, and the samples of pcm.i16, int16 (n_samples,)."""

    clips: tuple[Clip, ...]
    pcm: Pcm

    def of_kind(self, kind: str) -> list[Clip]:
        """The clips of one kind."""
        return [clip for clip in self.clips if clip.kind == kind]


def load(folder: Path) -> Cache:
    """Opens a cache.

    Raises:
        TrainingError: the folder has no cache.
    """
    try:
        lines = (folder / "clips.jsonl").read_text().splitlines()
        pcm = np.memmap(folder / "pcm.i16", np.int16, "r")
    except (OSError, ValueError) as error:
        raise TrainingError(f"there is no cache in {folder}: run `airtrace model train` with --corpus first") from error
    clips = (Clip(**json.loads(line)) for line in lines if line.endswith("}"))
    return Cache(tuple(clip for clip in clips if clip.start + clip.samples <= len(pcm) and clip.samples), pcm)


def build(folder: Path, files: Sequence[AudioFile], *, seed: int, copies: bool = True, workers: int = 2) -> Cache:
    """Decodes the files that are not in the cache yet, then makes copies of the music."""
    folder.mkdir(parents=True, exist_ok=True)
    with Writer(folder) as writer:
        _all(workers, "decoded", files, lambda file: _add(writer, file))
        if copies:
            music = [file for file in files if file.kind == "music"]
            order = np.random.default_rng(seed).permutation(len(music))
            _all(workers, "copied", [music[i] for i in order], lambda file: _copy(writer, file, seed))
    return load(folder)


class Writer:
    """Appends clips to a cache. Thread-safe."""

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
        """Appends a clip with its samples, int16 (n,) at 16 kHz, unless the cache has one of that name.

        facts: the other fields of Clip.
        """
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
    """The name of a file's clip: its path, and the member if it is in a zip."""
    return f"{file.path}!{file.member}" if file.member else str(file.path)


def _add(writer: Writer, file: AudioFile) -> None:
    """Decodes one file. A file that is unreadable or too short becomes a clip without samples."""
    if clip_name(file) in writer.names:
        return
    sound = decimate(decode(file))
    pcm = np.round(np.clip(sound * 32768, -32768, 32767)).astype(np.int16)
    if len(pcm) < MIN_CLIP_S[file.kind] * RATE_HZ or not pcm.any():
        log.debug("cache.skipped", file=file.name, samples=len(pcm))
        pcm = pcm[:0]
    writer.add(pcm, kind=file.kind, name=clip_name(file), track=file.track)


def decode(file: AudioFile, seconds: float = MAX_CLIP_S) -> Pcm:
    """Decodes up to `seconds` of a file to 32 kHz mono PCM, int16 (n_samples,).

    Empty if neither ffmpeg nor libsndfile can read the file.
    """
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
    """Runs ffmpeg with these input arguments and bytes; the output as 32 kHz mono PCM, int16 (n_samples,)."""
    # The same ffmpeg as everywhere in this package; the arguments are our own paths and numbers.
    command = [ffmpeg.binary(), "-v", "error", "-threads", "1", *arguments]
    command += ["-vn", "-ac", "1", "-ar", str(SAMPLE_RATE_HZ), "-f", "s16le", "-"]
    done = subprocess.run(command, input=given, capture_output=True, check=False)  # noqa: S603
    return np.frombuffer(done.stdout[: len(done.stdout) // 2 * 2], "<i2")


def _through_sndfile(file: AudioFile) -> Pcm | None:
    """Decodes a short file without starting a process, in a fiftieth of the time."""
    try:
        found = audio_files.read(read(file))
    except (RuntimeError, OSError):  # an encrypted zip is a RuntimeError
        return None
    if found is None:
        return None
    sound, rate = found
    sound = sound[: int(MAX_CLIP_S * rate)].mean(axis=1)
    return np.round(np.clip(resample(sound, rate, SAMPLE_RATE_HZ) * 32767, -32768, 32767)).astype(np.int16)


def resample(sound: NDArray[np.float32], rate_hz: int, to_hz: int) -> NDArray[np.float32]:
    """Resamples sound, float32 (n_samples,), with one FFT, padded to avoid wraparound at the ends."""
    if rate_hz == to_hz or len(sound) == 0:
        return sound
    unit = rate_hz // math.gcd(rate_hz, to_hz)  # the smallest block that maps to whole samples
    n_units = _smooth((len(sound) + rate_hz // 50) // unit + 1)
    spectrum = np.fft.rfft(sound, n_units * unit)
    n_out = n_units * unit * to_hz // rate_hz
    out = np.fft.irfft(spectrum[: n_out // 2 + 1], n_out) * (to_hz / rate_hz)
    resampled: NDArray[np.float32] = out[: len(sound) * to_hz // rate_hz].astype(np.float32)
    return resampled


def _smooth(n: int) -> int:
    """The smallest power of two times 1, 3 or 5 that is at least `n`; FFTs of other lengths can be slow."""
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
    """A randomly processed excerpt: a description, original samples per sample, and the PCM."""
    choice = rng.choice(["codec", "tempo", "pitch", "both"], p=[0.4, 0.2, 0.25, 0.15])
    factor = float(np.exp(rng.uniform(-MAX_STRETCH, MAX_STRETCH)))
    if choice == "codec":
        how, made = _coded(excerpt, rng)
        return how, 1.0, made
    if choice == "pitch":
        return f"pitch {factor:.3f}", 1.0, filtered(excerpt, _pitch(factor, rng))
    if choice == "tempo":
        return f"tempo {factor:.3f}", factor, filtered(excerpt, _tempo(factor, rng))
    pitch = float(np.exp(rng.uniform(-MAX_STRETCH, MAX_STRETCH)))
    how, made = _coded(filtered(excerpt, f"{_pitch(pitch, rng)},{_tempo(factor, rng)}"), rng)
    return f"tempo {factor:.3f} pitch {pitch:.3f} {how}", factor, made


def _tempo(factor: float, rng: np.random.Generator) -> str:
    return f"atempo={factor:.5f}" if rng.random() < 0.5 else f"rubberband=tempo={factor:.5f}"


def _pitch(factor: float, rng: np.random.Generator) -> str:
    if rng.random() < 0.5:
        return f"rubberband=pitch={factor:.5f}"
    return f"asetrate={round(SAMPLE_RATE_HZ * factor)},aresample={SAMPLE_RATE_HZ},atempo={1 / factor:.5f}"


def filtered(excerpt: Pcm, filters: str) -> Pcm:
    """Applies ffmpeg's filters to 32 kHz mono PCM."""
    return run_ffmpeg([*_RAW, "-i", "pipe:0", "-af", filters], excerpt.tobytes())


def _coded(excerpt: Pcm, rng: np.random.Generator) -> tuple[str, Pcm]:
    codec, form, ending = CODECS[int(rng.integers(len(CODECS)))]
    low = rng.random() < LOW_RATES_SHARE
    kbps = int(rng.choice(BIT_RATES_KBPS[:3] if low else BIT_RATES_KBPS[3:]))
    return f"{ending} {kbps}", through_codec(excerpt, codec, form, kbps)


def through_codec(pcm: Pcm, codec: str, form: str, kbps: int) -> Pcm:
    """Encodes 32 kHz mono PCM and decodes it again, without the codec's delay."""
    rate = "48000" if codec == "libopus" else str(SAMPLE_RATE_HZ)
    command = [ffmpeg.binary(), "-v", "error", "-threads", "1", *_RAW, "-i", "pipe:0", "-ar", rate, "-c:a", codec]
    command += ["-b:a", f"{kbps}k", "-f", form, "-"]
    encoded = subprocess.run(command, input=pcm.tobytes(), capture_output=True, check=False).stdout  # noqa: S603
    made = run_ffmpeg(["-i", "pipe:0"], encoded)
    lag = _lag(made, pcm)
    return made[lag:] if lag >= 0 else np.concatenate([np.zeros(-lag, np.int16), made])


_RAW = ("-f", "s16le", "-ar", str(SAMPLE_RATE_HZ), "-ac", "1")


def _lag(made: Pcm, original: Pcm) -> int:
    """The delay of `made` against `original` in samples; 0 if they are too different to tell."""
    length, reach = 8 * SAMPLE_RATE_HZ, int(MAX_LAG_S * SAMPLE_RATE_HZ)
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
