"""Interrupted downloads resume, and only the published file is kept."""

from __future__ import annotations

import fcntl
import hashlib
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest

from ingest.backoff import Backoff
from monitor.detect.checkpoints import Checkpoint, state
from monitor.detect.download import fetch
from monitor.errors import ModelUnavailable

CONTENT = np.random.default_rng(1).bytes(3_000_000)
PUBLISHED = Checkpoint(
    "made", "made.pth", "https://example.org/made.pth", len(CONTENT), hashlib.md5(CONTENT).hexdigest(), 32_000
)


@dataclass
class Site:
    """A server of one file.

    cuts: after how many bytes each of the first responses is cut off. statuses: sent instead of the first responses.
    asked: the Range header of each request.
    """

    content: bytes = CONTENT
    has_ranges: bool = True
    cuts: list[int] = field(default_factory=list)
    statuses: list[int] = field(default_factory=list)
    asked: list[str | None] = field(default_factory=list)
    sent: int = 0
    url: str = ""


@pytest.fixture
def site() -> Iterator[Site]:
    state = Site()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            if self.path == "/elsewhere":
                self.send_response(302)
                self.send_header("Location", "/made.pth")
                self.send_header("Content-Length", "0")
                self.end_headers()
                return
            wanted = self.headers.get("Range")
            state.asked.append(wanted)
            if state.statuses:
                self.send_response(state.statuses.pop(0))
                self.send_header("Content-Length", "0")
                self.end_headers()
                return
            first = int(wanted.removeprefix("bytes=").removesuffix("-")) if wanted and state.has_ranges else 0
            body = state.content[first:]
            self.send_response(206 if wanted and state.has_ranges else 200)
            if wanted and state.has_ranges:
                size = len(state.content)
                self.send_header("Content-Range", f"bytes {first}-{size - 1}/{size}")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            cut = state.cuts.pop(0) if state.cuts else len(body)
            self.wfile.write(body[:cut])
            state.sent += min(cut, len(body))
            self.close_connection = True

        def log_message(self, *_: object) -> None: ...

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        state.url = f"http://127.0.0.1:{server.server_port}/made.pth"
        thread = threading.Thread(target=server.serve_forever, name="site")
        thread.start()
        yield state
        server.shutdown()
        thread.join()


async def fetched(site: Site, path: Path) -> list[int]:
    """Downloads the file, and returns the reported progress in bytes."""
    progress: list[int] = []
    await fetch(PUBLISHED, path, site.url, progress.append, Backoff(0.001, 0.001))
    return progress


async def test_a_complete_download_reports_its_progress(site: Site, tmp_path: Path) -> None:
    path = tmp_path / "models" / "made.pth"
    progress = await fetched(site, path)
    assert path.read_bytes() == CONTENT
    assert progress == sorted(progress)
    assert progress[-1] == len(CONTENT)
    assert [each.name for each in path.parent.iterdir()] == ["made.pth"]
    assert state(PUBLISHED, path) == "valid"


async def test_an_interrupted_download_resumes_where_it_stopped(site: Site, tmp_path: Path) -> None:
    site.cuts = [1_000_000, 500_000]
    await fetched(site, tmp_path / "made.pth")
    assert (tmp_path / "made.pth").read_bytes() == CONTENT
    assert site.asked == [None, "bytes=1000000-", "bytes=1500000-"]
    assert site.sent == len(CONTENT)


async def test_another_run_resumes_from_the_partial_file_of_the_first(site: Site, tmp_path: Path) -> None:
    path = tmp_path / "made.pth"
    site.cuts = [700_000, *[0] * 10]
    with pytest.raises(ModelUnavailable, match=r"700,000 of 3,000,000 bytes are kept.*md5"):
        await fetched(site, path)
    assert not path.exists()
    assert (tmp_path / "made.pth.part").stat().st_size == 700_000
    site.cuts.clear()
    await fetched(site, path)
    assert path.read_bytes() == CONTENT
    assert site.asked[-1] == "bytes=700000-"


async def test_a_server_without_range_requests_sends_the_whole_file_again(site: Site, tmp_path: Path) -> None:
    site.has_ranges, site.cuts = False, [1_000_000]
    await fetched(site, tmp_path / "made.pth")
    assert (tmp_path / "made.pth").read_bytes() == CONTENT


async def test_a_busy_server_is_retried(site: Site, tmp_path: Path) -> None:
    site.statuses = [503, 429]
    await fetched(site, tmp_path / "made.pth")
    assert (tmp_path / "made.pth").read_bytes() == CONTENT


async def test_redirects_are_followed(site: Site, tmp_path: Path) -> None:
    site.url = site.url.replace("made.pth", "elsewhere")
    await fetched(site, tmp_path / "made.pth")
    assert (tmp_path / "made.pth").read_bytes() == CONTENT


async def test_a_file_with_a_wrong_checksum_is_rejected_and_deleted(site: Site, tmp_path: Path) -> None:
    site.content = bytes(len(CONTENT))
    with pytest.raises(ModelUnavailable, match=r"another file than made\.pth.*was deleted"):
        await fetched(site, tmp_path / "made.pth")
    assert list(tmp_path.iterdir()) == []


async def test_a_partial_file_of_another_download_is_discarded(site: Site, tmp_path: Path) -> None:
    (tmp_path / "made.pth.part").write_bytes(bytes(1_000_000))
    with pytest.raises(ModelUnavailable, match="was deleted"):
        await fetched(site, tmp_path / "made.pth")
    await fetched(site, tmp_path / "made.pth")
    assert (tmp_path / "made.pth").read_bytes() == CONTENT


@pytest.mark.parametrize("content", [CONTENT[:-1], CONTENT + b"x", b"<html>"], ids=["shorter", "longer", "page"])
async def test_a_file_of_another_size_is_rejected_before_it_is_downloaded(
    site: Site, tmp_path: Path, content: bytes
) -> None:
    site.content = content
    with pytest.raises(ModelUnavailable, match=r"it has [\d,]+ bytes, not 3,000,000"):
        await fetched(site, tmp_path / "made.pth")
    assert len(site.asked) == 1
    assert not (tmp_path / "made.pth").exists()


async def test_a_missing_file_is_reported_without_a_retry(site: Site, tmp_path: Path) -> None:
    site.statuses = [404]
    with pytest.raises(ModelUnavailable, match="HTTP 404"):
        await fetched(site, tmp_path / "made.pth")
    assert len(site.asked) == 1


async def test_without_a_network_the_error_explains_the_manual_download(tmp_path: Path) -> None:
    path = tmp_path / "made.pth"
    with pytest.raises(ModelUnavailable) as refused:
        await fetch(PUBLISHED, path, "http://127.0.0.1:1/made.pth", lambda _: None, Backoff(0.001, 0.001))
    for fact in (PUBLISHED.url, "3,000,000 bytes", PUBLISHED.md5, str(path)):
        assert fact in str(refused.value)


async def test_two_processes_cannot_download_the_same_file_at_once(site: Site, tmp_path: Path) -> None:
    with (tmp_path / "made.pth.part").open("ab") as other:
        fcntl.flock(other, fcntl.LOCK_EX)
        with pytest.raises(ModelUnavailable, match="another process is downloading"):
            await fetched(site, tmp_path / "made.pth")
