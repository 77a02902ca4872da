"""Files and streams through real ffmpeg: PCM, clear failures, and never a process left behind."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import Callable
from contextlib import aclosing
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ingest.errors import FfmpegMissing, SourceError, UnsupportedUrl
from ingest.sources import ffmpeg
from ingest.wire import SAMPLE_RATE_HZ, GapReason
from tests import ffmpegs
from tests.waiting import until

WAV = ("-f", "wav")
MP3 = ("-f", "mp3", "-b:a", "64k")


async def decoded(path: Path) -> np.ndarray:
    pcm = b"".join([chunk async for chunk in ffmpeg.decode(path)])
    return np.frombuffer(pcm, "<i2")


async def refusal(path: Path) -> SourceError:
    with pytest.raises(SourceError) as refused:
        await decoded(path)
    assert "\n" not in str(refused.value)
    assert len(str(refused.value)) < 300
    return refused.value


def is_gone(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    return False


@pytest.mark.parametrize(
    ("name", "options", "within_s"),
    [
        ("a.wav", WAV, 0),
        ("a.mp3", MP3, 0.1),
        ("a.ogg", ("-f", "ogg", "-c:a", "libvorbis"), 0.1),
        ("a.flac", ("-f", "flac"), 0),
        ("a.g722", ("-f", "g722", "-ar", "16000"), 0.01),
        ("A.G722", ("-f", "g722", "-ar", "16000"), 0.01),
        ("a b.wav", WAV, 0),
        ("-i.wav", WAV, 0),
        ("http:a.wav", WAV, 0),
        ("concat:a|b.wav", WAV, 0),
        ("ä%03d'\".wav", WAV, 0),
        ("no-extension", WAV, 0),
    ],
)
async def test_a_file_is_decoded_whatever_its_format_and_name(
    file: Callable[..., Path],
    heard_at: Callable[[np.ndarray], float],
    name: str,
    options: tuple[str, ...],
    within_s: float,
) -> None:
    pcm = await decoded(file(name, 3, *options))
    assert len(pcm) / SAMPLE_RATE_HZ == pytest.approx(3, abs=within_s)
    for second in (0.5, 1.5, 2.5):
        middle = round(second * SAMPLE_RATE_HZ)
        assert heard_at(pcm[middle - 3200 : middle + 3200]) == pytest.approx(second, abs=0.05)


async def test_a_relative_path_with_a_leading_dash_is_not_an_option(
    file: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(file("-x.wav", 1, *WAV).parent)
    assert len(await decoded(Path("-x.wav"))) == SAMPLE_RATE_HZ


async def test_stereo_of_another_rate_becomes_mono_at_32_khz(file: Callable[..., Path]) -> None:
    pcm = await decoded(file("a.wav", 2, *WAV, "-ac", "2", "-ar", "44100"))
    assert len(pcm) / SAMPLE_RATE_HZ == pytest.approx(2, abs=0.01)


@pytest.mark.parametrize(("name", "options"), [("a.wav", WAV), ("a.mp3", MP3)])
async def test_a_truncated_file_is_decoded_up_to_its_end(
    file: Callable[..., Path], name: str, options: tuple[str, ...]
) -> None:
    path = file(name, 4, *options)
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    assert len(await decoded(path)) / SAMPLE_RATE_HZ == pytest.approx(2, abs=0.1)


@pytest.mark.parametrize(
    ("name", "content", "why"),
    [
        ("notes.txt", b"These are notes, not music.\n" * 20, ""),
        ("notes.mp3", b"These are notes, not music.\n" * 20, ""),
        ("noise.mp3", np.random.default_rng(1).integers(0, 128, 100_000, "u1").tobytes(), ""),
        ("noise.bin", np.random.default_rng(2).integers(0, 128, 100_000, "u1").tobytes(), ""),
        ("empty.wav", b"", "Invalid data"),
        ("page.html", b"<!DOCTYPE html><html><body>hello</body></html>", "Invalid data"),
        ("a.m3u8", b"#EXTM3U\n#EXTINF:5,\n/etc/passwd\n", "playlist"),
        ("a.wav", b"\xef\xbb\xbf#EXTM3U\nother.wav\n", "playlist"),
        ("a.txt", b"ffconcat version 1.0\nfile other.wav\n", "playlist"),
        ("a.mpd", b'<?xml version="1.0"?>\n<MPD xmlns="x">', "playlist"),
    ],
)
async def test_a_file_without_audio_is_refused_in_one_line(tmp_path: Path, name: str, content: bytes, why: str) -> None:
    (tmp_path / name).write_bytes(content)
    refused = await refusal(tmp_path / name)
    assert why in str(refused)
    assert refused.reason == "not_audio"
    assert str(tmp_path) not in str(refused)


async def test_a_header_alone_is_not_audio(file: Callable[..., Path]) -> None:
    path = file("a.wav", 1, *WAV)
    path.write_bytes(path.read_bytes()[:78])
    assert (await refusal(path)).reason == "not_audio"


async def test_a_film_without_sound_has_no_audio(tmp_path: Path) -> None:
    path = tmp_path / "film.avi"
    command = [ffmpeg.binary(), "-v", "error", "-f", "lavfi", "-i", "testsrc=duration=1:size=64x64", "-c:v", "mjpeg"]
    process = await asyncio.create_subprocess_exec(*command, str(path))
    assert await process.wait() == 0
    refused = await refusal(path)
    assert str(refused) == "there is no audio in it"
    assert refused.reason == "not_audio"


async def test_a_missing_file_is_a_decode_error(tmp_path: Path) -> None:
    assert (await refusal(tmp_path / "none.wav")).reason == "decode_error"


async def test_abandoned_decoding_leaves_no_process(file: Callable[..., Path]) -> None:
    before = ffmpegs.running()
    chunks = ffmpeg.decode(file("a.wav", 60, *WAV))
    assert await anext(chunks)
    assert ffmpegs.running() != before
    await chunks.aclose()  # type: ignore[attr-defined]
    assert ffmpegs.running() == before


async def test_a_stream_gives_whole_samples_and_then_ends(station: Any) -> None:
    n = 0
    async with ffmpeg.open_stream(f"{station.url}/live-1") as process:
        while pcm := await process.read(4095):
            assert len(pcm) % 2 == 0
            n += len(pcm) // 2
        failure = await process.failure()
    assert n / SAMPLE_RATE_HZ == pytest.approx(station.burst_s + 1, abs=0.2)
    assert failure.reason is GapReason.ENDED


async def test_a_wait_ends_with_audio_an_interrupt_or_the_process(station: Any) -> None:
    station.burst_s = 0.5  # what it gives fits into the pipe: ffmpeg ends although nobody reads
    async with asyncio.timeout(30), ffmpeg.open_stream(f"{station.url}/live-1") as process:
        assert process.read_now() is None
        await process.wait(60, for_pcm=True)
        assert process.read_now()
        process.interrupt()
        await process.wait(60, for_pcm=False)
        await process.wait(60, for_pcm=False)  # until the stream ends
        while pcm := process.read_now():
            assert len(pcm) % 2 == 0
        assert pcm == b""


@pytest.mark.parametrize(
    ("path", "reason", "says"),
    [
        ("/page.html", GapReason.NOT_AUDIO, "Invalid data"),
        ("/nothing", GapReason.CONNECTING, "404"),
    ],
)
async def test_a_stream_without_audio_says_why(station: Any, path: str, reason: GapReason, says: str) -> None:
    station.files["/page.html"] = b"<!DOCTYPE html><html><body>" + b"<p>hello</p>" * 500 + b"</body></html>"
    async with ffmpeg.open_stream(f"{station.url}{path}") as process:
        assert await process.read() == b""
        failure = await process.failure()
    assert failure.reason is reason
    assert says in failure.text


async def test_a_refused_connection_is_reported_without_credentials() -> None:
    async with ffmpeg.open_stream("http://user:hunter22@127.0.0.1:1/live?key=topsecret") as process:
        assert await process.read() == b""
        failure = await process.failure()
    assert failure.reason is GapReason.CONNECTING
    assert "refused" in failure.text
    assert not any(secret in failure.text for secret in ("user", "hunter22", "topsecret"))


async def test_a_host_that_does_not_exist_cannot_be_reached() -> None:
    async with ffmpeg.open_stream("http://radio.invalid/live") as process:
        assert await process.read() == b""
        assert (await process.failure()).reason is GapReason.CONNECTING


async def test_a_playlist_from_the_network_cannot_open_a_file(station: Any, file: Callable[..., Path]) -> None:
    path = file("private.mp3", 3, *MP3)
    station.files["/list.m3u8"] = (
        f"#EXTM3U\n#EXT-X-TARGETDURATION:3\n#EXTINF:3,\nfile://{path}\n#EXTINF:3,\n{path}\n#EXT-X-ENDLIST\n".encode()
    )
    station.files["/list.ffconcat"] = f"ffconcat version 1.0\nfile '{path}'\nfile 'file:{path}'\n".encode()
    for name in ("list.m3u8", "list.ffconcat"):
        async with ffmpeg.open_stream(f"{station.url}/{name}") as process:
            assert await process.read() == b""


async def test_hls_is_received(station: Any, encode: Callable[..., bytes]) -> None:
    station.files["/a.ts"] = encode(3, "-f", "mpegts", "-c:a", "aac")
    station.files["/list.m3u8"] = b"#EXTM3U\n#EXT-X-TARGETDURATION:3\n#EXTINF:3,\na.ts\n#EXT-X-ENDLIST\n"
    n = 0
    async with ffmpeg.open_stream(f"{station.url}/list.m3u8") as process:
        while pcm := await process.read():
            n += len(pcm) // 2
        assert (await process.failure()).reason is GapReason.ENDED
    assert n / SAMPLE_RATE_HZ == pytest.approx(3, abs=0.2)


async def test_a_url_of_another_kind_starts_no_process() -> None:
    with pytest.raises(UnsupportedUrl):
        async with ffmpeg.open_stream("file:///etc/passwd"):
            pass


async def test_a_cancelled_listener_leaves_no_process(station: Any) -> None:
    pids: list[int] = []

    async def listen() -> None:
        async with ffmpeg.open_stream(f"{station.url}/live") as process:
            pids.append(process._process.pid)
            await process.read()
            await asyncio.Event().wait()  # reads no more: ffmpeg waits for space in the pipe

    async with asyncio.TaskGroup() as group:
        task = group.create_task(listen(), name="listen")
        await until(lambda: pids)
        task.cancel()
    assert is_gone(pids[0])


def test_decoding_that_is_cancelled_twice_leaves_no_process_when_the_loop_ends(file: Callable[..., Path]) -> None:
    path = file("a.wav", 60, *WAV)
    before = ffmpegs.running()

    async def main() -> None:
        has_begun = asyncio.Event()

        async def decode() -> None:
            async with aclosing(ffmpeg.decode(path)) as pieces:
                async for _ in pieces:
                    has_begun.set()
                    await asyncio.Event().wait()

        task = asyncio.create_task(decode(), name="decode")
        await has_begun.wait()
        await asyncio.sleep(0.3)  # the pipe fills up: then ffmpeg ignores SIGTERM
        task.cancel()
        await asyncio.sleep(0.001)  # it is being closed
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(main())
    assert ffmpegs.running() == before


async def test_a_process_that_ignores_signals_is_killed(tmp_path: Path) -> None:
    stubborn = tmp_path / "ffmpeg"
    stubborn.write_text(
        f"#!{sys.executable}\nimport signal, sys, time\nsignal.signal(signal.SIGTERM, signal.SIG_IGN)\n"
        "sys.stdout.write('ab'); sys.stdout.flush()\ntime.sleep(600)\n"
    )
    stubborn.chmod(0o755)
    async with ffmpeg.open_stream("http://127.0.0.1:1/", program=str(stubborn), grace_s=0.2) as process:
        assert await process.read() == b"ab"
        pid = process._process.pid
    assert is_gone(pid)


async def test_a_flood_of_errors_does_not_stop_the_audio(tmp_path: Path) -> None:
    noisy = tmp_path / "ffmpeg"
    noisy.write_text(
        f"#!{sys.executable}\nimport sys\n"
        "for i in range(3000): sys.stderr.write('[mp3 @ 0x1] ' + 'x' * 500 + '\\n')\n"
        "sys.stderr.write('\\r\\x1b[31mlast \\x00words'); sys.stderr.flush()\n"
        "sys.stdout.write('ab' * 1000); sys.stdout.flush()\nsys.exit(1)\n"
    )
    noisy.chmod(0o755)
    async with ffmpeg.open_stream("http://127.0.0.1:1/", program=str(noisy)) as process:
        assert await process.read() == b"ab" * 1000
        assert await process.read() == b""
        failure = await process.failure()
    assert failure.reason is GapReason.DECODE_ERROR
    assert failure.text.isprintable()
    assert len(failure.text) <= 300


def test_the_ffmpeg_on_the_path_comes_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    own = tmp_path / "ffmpeg"
    own.touch(mode=0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert ffmpeg.binary.__wrapped__() == str(own)


def test_without_one_on_the_path_the_wheel_is_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert "imageio_ffmpeg" in ffmpeg.binary.__wrapped__()


def test_without_any_the_message_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setitem(sys.modules, "imageio_ffmpeg", None)
    with pytest.raises(FfmpegMissing, match=r"apt-get install ffmpeg, or pip install 'airtrace\[embedded\]'"):
        ffmpeg.binary.__wrapped__()
