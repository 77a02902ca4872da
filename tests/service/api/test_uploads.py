"""Uploads: any file name is accepted, and what is no audio or too large is refused."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx2
import numpy as np
import pytest

from monitor.demo.music import cache_folder
from monitor.parts import Airtrace
from monitor.processes.http_server import serve_http
from monitor.storage.storage import Storage
from tests import ffmpegs
from tests.service.api.http import API, client_of, file, problem, settings_of
from tests.songs import Songs, seconds
from tests.waiting import until

MP3 = cache_folder() / "asc-music/usr/share/games/asc/music/frontiers.mp3"


@pytest.mark.parametrize(
    ("content", "reason"),
    [(b"", "empty"), (b"just text " * 50, "not_audio"), (b"#EXTM3U\nhttp://127.0.0.1/x\n", "not_audio")],
)
async def test_a_file_without_audio_is_a_problem_with_its_name_and_reason(
    client: httpx2.AsyncClient, storage: Storage, content: bytes, reason: str
) -> None:
    for path in (f"{API}/tracks", f"{API}/identify"):
        body = problem(await client.post(path, files={"file": ("notes.mp3", content)}), 422)
        assert body["reason"] == reason
        assert "notes.mp3" in body["detail"]
        assert "/tmp" not in body["detail"]
    assert await storage.tracks.list() == []


@pytest.mark.parametrize(
    ("sent", "title"),
    [
        ("../../etc/passwd.wav", "passwd"),
        ("C:\\music\\song.wav", "song"),
        ('a "b" c.wav', 'a "b" c'),
        ("-i.wav", "-i"),
        ("http:a.wav", "http:a"),
        ("Ünï 🎵 日本.wav", "Ünï 🎵 日本"),
        ("x" * 300 + ".wav", "x" * 200),
        ("x" * 300 + "." + "🎵" * 60, "x" * 200),
        ("..", "upload"),
        (".wav", ".wav"),
        ("a\nb.wav", "a b"),
    ],
)
async def test_any_file_name_is_accepted(client: httpx2.AsyncClient, storage: Storage, sent: str, title: str) -> None:
    """It reaches the decoder, whose answer contains the name."""
    sound = written_bytes(np.zeros(seconds(2), np.int16))
    body = problem(await client.post(f"{API}/tracks", files={"file": (sent, sound)}), 422)
    assert body["reason"] == "silent"
    assert body["detail"].startswith(title)


def written_bytes(pcm: np.ndarray) -> bytes:
    samples = pcm.astype("<i2").tobytes()
    size = len(samples)
    head = b"RIFF" + (36 + size).to_bytes(4, "little") + b"WAVEfmt " + (16).to_bytes(4, "little")
    form = (1).to_bytes(2, "little") * 2 + (32000).to_bytes(4, "little") + (64000).to_bytes(4, "little")
    return head + form + b"\x02\x00\x10\x00data" + size.to_bytes(4, "little") + samples


@pytest.mark.parametrize("announced", [True, False])
@pytest.mark.parametrize("path", ["tracks", "identify"])
async def test_an_upload_that_is_too_large_is_refused(
    airtrace_without_index: Airtrace, tmp_path: Path, path: str, announced: bool
) -> None:
    async with client_of(replace(airtrace_without_index, settings=settings_of(tmp_path, max_upload_mb=1))) as http:
        response = await http.post(f"{API}/{path}", **upload(1_200_000, announced=announced))
        assert "max_upload_mb" in problem(response, 413)["detail"]
        problem(await http.post(f"{API}/{path}", **upload(900_000, announced=announced)), 422)  # no audio


def upload(size: int, *, announced: bool) -> dict[str, Any]:
    body = b'--x\r\nContent-Disposition: form-data; name="file"; filename="a.wav"\r\n\r\n%b\r\n--x--\r\n' % bytes(size)
    headers = {"Content-Type": "multipart/form-data; boundary=x"}
    return {"content": body if announced else chunks(body), "headers": headers}


async def chunks(body: bytes) -> AsyncIterator[bytes]:
    for first in range(0, len(body), 65_536):
        yield body[first : first + 65_536]


async def test_an_upload_that_is_too_large_gets_its_answer_over_a_socket(
    airtrace_without_index: Airtrace, tmp_path: Path
) -> None:
    small = replace(airtrace_without_index, settings=settings_of(tmp_path, max_upload_mb=1))
    async with serve_http(small, "127.0.0.1", 0) as url, httpx2.AsyncClient(base_url=url, trust_env=False) as http:
        for announced in (True, False):
            response = await http.post(f"{API}/tracks", **upload(30_000_000, announced=announced))
            problem(response, 413)


async def test_a_client_that_disconnects_ends_its_scan(airtrace: Airtrace, songs: Songs) -> None:
    accept = {"Accept": "application/x-ndjson"}
    before = ffmpegs.running()
    async with serve_http(airtrace, "127.0.0.1", 0) as url, httpx2.AsyncClient(base_url=url, trust_env=False) as http:
        async with http.stream("POST", f"{API}/identify", files=file(MP3), headers=accept, timeout=60) as response:
            async for _ in response.aiter_lines():
                break
            assert ffmpegs.running() - before
        await until(lambda: not ffmpegs.running() - before)
        assert (await http.get("/healthz")).status_code == 200


async def test_a_damaged_upload_is_a_problem(client: httpx2.AsyncClient) -> None:
    headers = {"Content-Type": "multipart/form-data; boundary=x"}
    problem(await client.post(f"{API}/tracks", content=b"nonsense", headers=headers), 400)
