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
from contextlib import asynccontextmanager, closing, suppress
from functools import cache
from pathlib import Path

import ffmpeg

from ingest.errors import FfmpegMissing, SourceError
from ingest.lifecycle import is_set_within
from ingest.redact import redact_text
from ingest.sources import urls
from ingest.sources.ffmpeg_errors import KEPT_CHARACTERS, Failure, gap_reason, printable, summarize
from ingest.sources.pipe import Pipe
from ingest.wire import BYTES_PER_SAMPLE, SAMPLE_RATE_HZ, GapReason

READ_BYTES = 64 * 1024
PCM_PIPE_BYTES = 128 * 1024  # 2 s. Linux lets the pipes of one user hold 64 MB in all: enough for 300 streams
MESSAGES_PIPE_BYTES = 16 * 1024
GRACE_S = 2.0  # for each step of the ladder: end on its own, SIGTERM, SIGKILL

KEPT_LINES = 20  # the last ones of stderr

QUIET = ("-hide_banner", "-nostdin", "-nostats", "-loglevel", "error")

# PCM in pieces, flushed at once: low latency without a write for every frame of the codec. Pieces of 0.1 s take 5 %
# more CPU, pieces of 0.5 s no less.
LIVE_PIECE = SAMPLE_RATE_HZ // 4
LIVE_OUTPUT = {"af": f"aresample={SAMPLE_RATE_HZ},asetnsamples=n={LIVE_PIECE}:p=0", "flush_packets": 1}

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

    def __init__(
        self, process: asyncio.subprocess.Process, pcm: Pipe, messages: Pipe, source: str, grace_s: float = GRACE_S
    ) -> None:
        """`pcm` and `messages`: its stdout and stderr. `source`: what it reads, as in its arguments.

        `grace_s`: how long it may take to react to a signal.
        """
        self._process = process
        self._pcm = pcm
        self._messages = messages
        self._wake = asyncio.Event()
        self._source = source
        self._grace_s = grace_s
        self._lines: deque[str] = deque(maxlen=KEPT_LINES)
        self._half = b""
        self._had_audio = False
        self._draining = asyncio.create_task(self._drain(), name=f"ffmpeg-stderr-{process.pid}")
        self._draining.add_done_callback(lambda _: self._wake.set())

    @property
    def max_ahead(self) -> int:
        """How many samples it can write before it waits for us."""
        return self._pcm.capacity // BYTES_PER_SAMPLE

    async def read(self, max_bytes: int = READ_BYTES) -> bytes:
        """The next PCM in whole samples, up to `max_bytes`; empty at the end. A cancellation loses none."""
        while data := await self._pcm.read(max_bytes):
            if pcm := self._whole(data):
                return pcm
        return b""

    def read_now(self, max_bytes: int = READ_BYTES) -> bytes | None:
        """Same as `read`, but None if there is nothing now."""
        while data := self._pcm.read_now(max_bytes):
            if pcm := self._whole(data):
                return pcm
        return data

    async def wait(self, timeout_s: float, *, for_pcm: bool) -> None:
        """Waits for `timeout_s`, or until it ends, `interrupt` is called, or (`for_pcm`) there is something to read."""
        if for_pcm:
            self._pcm.watch(self._wake.set)
        try:
            await is_set_within(self._wake, timeout_s)
        finally:
            if for_pcm:
                self._pcm.unwatch()
            self._wake.clear()

    def interrupt(self) -> None:
        """Ends the present `wait`, or else the next one."""
        self._wake.set()

    def _whole(self, data: bytes) -> bytes:
        """The whole samples in what was read so far; keeps half a sample for the next time."""
        data = self._half + data if self._half else data
        if n_half := len(data) % BYTES_PER_SAMPLE:
            self._half = data[-n_half:]
            data = data[:-n_half]
        else:
            self._half = b""
        self._had_audio = self._had_audio or bool(data)
        return data

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
        while await self._pcm.read(READ_BYTES):
            pass
        await self._process.wait()
        await asyncio.shield(self._draining)

    async def _drain(self) -> None:
        """Reads stderr all the time: ffmpeg blocks while that pipe is full."""
        rest = ""
        while data := await self._messages.read(READ_BYTES):
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
    with closing(Pipe(PCM_PIPE_BYTES)) as pcm, closing(Pipe(MESSAGES_PIPE_BYTES)) as messages:
        started = await asyncio.create_subprocess_exec(
            *command,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=pcm.write_end,
            stderr=messages.write_end,
            start_new_session=True,  # a terminal's Ctrl-C is meant for us; we end ffmpeg when we are done
        )
        pcm.close_write_end()
        messages.close_write_end()
        process = Process(started, pcm, messages, source, grace_s)
        try:
            yield process
        finally:
            ending = asyncio.create_task(process.close(), name=f"ffmpeg-close-{started.pid}")
            try:
                await asyncio.shield(ending)
            except asyncio.CancelledError:  # a second time: the loop may end, and the close with it
                process.kill()
                await asyncio.wait([ending])
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
