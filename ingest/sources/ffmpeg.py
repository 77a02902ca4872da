"""Runs ffmpeg: a stream or a file in, PCM out (signed 16 bit little endian, mono, 32 kHz).

The caller that enters `open_stream` or iterates `decode` owns the process, which is ended and reaped in every case.
"""

from __future__ import annotations

import asyncio
import re
import shutil
import signal
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress
from functools import cache
from pathlib import Path

import ffmpeg

from ingest.errors import FfmpegMissing, SourceError
from ingest.redact import redact_text
from ingest.sources import urls
from ingest.sources.ffmpeg_errors import KEPT_CHARACTERS, Failure, gap_reason, printable, summarize
from ingest.wire import BYTES_PER_SAMPLE, SAMPLE_RATE_HZ, GapReason

READ_BYTES = 64 * 1024  # the capacity of a pipe
GRACE_S = 2.0  # for each step of the ladder: end on its own, SIGTERM, SIGKILL

KEPT_LINES = 20  # the last ones of stderr

QUIET = ("-hide_banner", "-nostdin", "-nostats", "-loglevel", "error")

# PCM in pieces of 0.1 s, flushed at once: low latency without a wakeup for every frame of the codec.
LIVE_OUTPUT = {"af": f"aresample={SAMPLE_RATE_HZ},asetnsamples=n={SAMPLE_RATE_HZ // 10}:p=0", "flush_packets": 1}

# Files that name other files: ffmpeg would open whatever they name.
PLAYLIST = re.compile(rb"\s*(#EXTM3U|ffconcat|(<\?xml[^>]*>\s*)?<MPD\b|\[playlist\])", re.IGNORECASE)
PLAYLIST_BYTES = 256

RAW_FORMATS = {".g722": "g722"}  # formats without a header, recognized only by the file name


@cache
def binary() -> str:
    """Path of the ffmpeg program: the one on PATH, or else that of the wheel imageio-ffmpeg.

    Raises:
        FfmpegMissing: there is neither.
    """
    if found := shutil.which("ffmpeg"):
        return found
    try:
        import imageio_ffmpeg  # the import runs its binary: only if needed

        return str(imageio_ffmpeg.get_ffmpeg_exe())
    except (ImportError, RuntimeError) as error:
        raise FfmpegMissing from error


class Process:
    """A running ffmpeg."""

    def __init__(self, process: asyncio.subprocess.Process, source: str, grace_s: float = GRACE_S) -> None:
        """`source`: what it reads, as in its arguments. `grace_s`: how long it may take to react to a signal."""
        self._process = process
        self._source = source
        self._grace_s = grace_s
        self._lines: deque[str] = deque(maxlen=KEPT_LINES)
        self._half = b""
        self._had_audio = False
        self._draining = asyncio.create_task(self._drain(), name=f"ffmpeg-stderr-{process.pid}")

    async def read(self, max_bytes: int = READ_BYTES) -> bytes:
        """The next PCM in whole samples, up to `max_bytes`; empty at the end. A cancellation loses none."""
        stdout = _stream(self._process.stdout)
        while data := await stdout.read(max_bytes):
            data = self._half + data
            whole = len(data) // BYTES_PER_SAMPLE * BYTES_PER_SAMPLE
            self._half = data[whole:]
            if whole:
                self._had_audio = True
                return data[:whole]
        return b""

    async def failure(self) -> Failure:
        """Why it ended; call it after `read` returned nothing."""
        await self._end(None, signal.SIGTERM, signal.SIGKILL)
        code = self._process.returncode
        lines = [redact_text(line.removeprefix(f"{self._source}: "), self._source) for line in self._lines]
        reason = gap_reason(code, "\n".join(lines), had_audio=self._had_audio)
        return Failure(reason, summarize(lines, code, had_audio=self._had_audio), code)

    async def close(self) -> None:
        """Ends it if it is still running; kills it at once if this call is cancelled."""
        try:
            await self._end(signal.SIGTERM, signal.SIGKILL)
        except asyncio.CancelledError:
            self.kill()
            await self._ended()
            raise

    def kill(self) -> None:
        """Kills it without waiting."""
        with suppress(ProcessLookupError):
            self._process.kill()

    async def _end(self, *ladder: signal.Signals | None) -> None:
        for step in ladder:
            if step is not None:
                with suppress(ProcessLookupError):
                    self._process.send_signal(step)
            with suppress(TimeoutError):
                async with asyncio.timeout(self._grace_s):
                    await self._ended()
                    return
        await self._ended()

    async def _ended(self) -> None:
        """Waits for its end and empties the pipe meanwhile: ffmpeg ignores signals while it waits for space there."""
        stdout = _stream(self._process.stdout)
        while await stdout.read(READ_BYTES):
            pass
        await self._process.wait()
        await asyncio.shield(self._draining)

    async def _drain(self) -> None:
        """Reads stderr all the time: ffmpeg blocks while that pipe is full."""
        stderr = _stream(self._process.stderr)
        rest = ""
        while data := await stderr.read(READ_BYTES):
            *lines, rest = re.split(r"[\r\n]+", rest + data.decode(errors="replace"))
            self._lines.extend(printable(line) for line in lines if line)
            rest = rest[:KEPT_CHARACTERS]
        if rest:
            self._lines.append(printable(rest))


@asynccontextmanager
async def open_stream(url: str, *, program: str | None = None, grace_s: float = GRACE_S) -> AsyncIterator[Process]:
    """Receives a stream.

    program: path of ffmpeg; None: see `binary`. grace_s: how long it may take to react to a signal.

    Raises:
        UnsupportedUrl: the URL is of a kind that Airtrace does not open.
        FfmpegMissing: there is no ffmpeg.
    """
    source = urls.check(url)
    if program is None:
        program = await asyncio.to_thread(binary)
    command = _command(program, source.url, source.options, LIVE_OUTPUT)
    async with _running(command, source.url, grace_s) as process:
        yield process


async def decode(path: Path) -> AsyncGenerator[bytes, None]:
    """A file's audio as PCM in pieces of at most 64 KiB; of a truncated file, as much as there is.

    Raises:
        SourceError: it has no audio (`not_audio`), or decoding failed, possibly after some audio (`decode_error`).
        FfmpegMissing: there is no ffmpeg.
    """
    if await asyncio.to_thread(_is_playlist, path):
        raise SourceError("a playlist, not a recording: add the files that it names", GapReason.NOT_AUDIO)
    options = {"protocol_whitelist": "file"}
    if raw := RAW_FORMATS.get(path.suffix.lower()):
        options["format"] = raw
    has_audio = False
    # "file:" keeps a name like "-x.wav" or "a:b.wav" from being read as anything but a name.
    source = f"file:{path}"
    async with _running(_command(await asyncio.to_thread(binary), source, options, {}), source) as process:
        while pcm := await process.read():
            has_audio = True
            yield pcm
        failure = await process.failure()
    if not has_audio and failure.reason is GapReason.NOT_AUDIO:
        raise SourceError(failure.text, GapReason.NOT_AUDIO)
    if failure.exit_code != 0:
        raise SourceError(failure.text, GapReason.DECODE_ERROR)


@asynccontextmanager
async def _running(command: list[str], source: str, grace_s: float = GRACE_S) -> AsyncIterator[Process]:
    started = await asyncio.create_subprocess_exec(
        *command,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        start_new_session=True,  # a terminal's Ctrl-C is meant for us; we end ffmpeg when we are done
    )
    process = Process(started, source, grace_s)
    try:
        yield process
    finally:
        closing = asyncio.create_task(process.close(), name=f"ffmpeg-close-{started.pid}")
        try:
            await asyncio.shield(closing)
        except asyncio.CancelledError:  # a second time: the loop may end, and the close with it
            process.kill()
            await asyncio.wait([closing])
            raise


def _command(program: str, source: str, options: Mapping[str, str], output: Mapping[str, object]) -> list[str]:
    audio_only = {"vn": None, "sn": None, "dn": None}
    pcm = {"format": "s16le", "acodec": "pcm_s16le", "ac": 1, "ar": SAMPLE_RATE_HZ}
    built = ffmpeg.input(source, **options).output("pipe:", **audio_only, **pcm, **output).global_args(*QUIET)
    command: list[str] = built.compile(program)
    return command


def _is_playlist(path: Path) -> bool:
    try:
        with path.open("rb") as file:
            return PLAYLIST.match(file.read(PLAYLIST_BYTES).removeprefix(b"\xef\xbb\xbf")) is not None
    except OSError as error:
        raise SourceError(f"the file cannot be read: {error.strerror}", GapReason.DECODE_ERROR) from error


def _stream(stream: asyncio.StreamReader | None) -> asyncio.StreamReader:
    assert stream is not None  # noqa: S101 - both are pipes
    return stream
