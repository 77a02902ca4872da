"""Every error is an RFC 9457 problem that says what is wrong and nothing secret."""

from __future__ import annotations

import uuid
from dataclasses import replace
from typing import Any, cast

import httpx2
import pytest
from structlog.testing import capture_logs

from monitor.parts import Airtrace
from monitor.storage.storage import Storage
from monitor.storage.tables.matches import MatchTable
from tests.service.api.http import API, LISTS, client_of, n_requests, problem


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/nothing"),
        ("GET", f"{API}/tracks/1"),
        ("DELETE", f"{API}/tracks/1"),
        ("GET", f"{API}/tracks/{2**63 - 1}"),
        ("GET", f"{API}/matches/{uuid.UUID(int=1)}"),
        ("GET", f"{API}/streams/none"),
        ("DELETE", f"{API}/streams/none"),
        ("DELETE", f"{API}/streams/%00"),
        ("GET", f"{API}/streams/%ff%fe"),
        ("GET", "/static/../live.py"),
        ("GET", "/static/%2e%2e/live.py"),
        ("GET", "/static/none.js"),
    ],
)
async def test_what_does_not_exist_is_a_problem(client: httpx2.AsyncClient, method: str, path: str) -> None:
    problem(await client.request(method, path), 404)


@pytest.mark.parametrize(
    ("path", "named"),
    [
        (f"{API}/tracks/x", "track_id"),
        (f"{API}/tracks/0", "track_id"),
        (f"{API}/tracks/{2**63}", "track_id"),
        (f"{API}/tracks?limit=0", "limit"),
        (f"{API}/tracks?limit=100000", "limit"),
        (f"{API}/tracks?offset=-1", "offset"),
        (f"{API}/tracks?query=a%00b", "query"),
        (f"{API}/matches/7", "match_id"),
        (f"{API}/matches?state=maybe", "state"),
        (f"{API}/matches?since=2026-01-01T00:00:00", "since"),
        (f"{API}/matches?stream=a%00b", "stream"),
        (f"{API}/coverage?since=yesterday", "since"),
        (f"{API}/alerts?state=none", "state"),
    ],
)
async def test_a_request_that_is_not_valid_names_what_is_wrong(
    client: httpx2.AsyncClient, path: str, named: str
) -> None:
    assert named in problem(await client.get(path), 422)["detail"]


@pytest.mark.parametrize(
    ("path", "sent", "named"),
    [
        ("tracks", {}, "file"),
        ("tracks", {"files": {"other": ("a.wav", b"x")}}, "file"),
        ("tracks", {"files": {"file": ("a.wav", b"x")}, "data": {"isrc": "wrong"}}, "isrc"),
        ("tracks", {"files": {"file": ("a.wav", b"x")}, "data": {"title": "x" * 501}}, "title"),
        ("tracks", {"files": {"file": ("a.wav", b"x")}, "data": {"artist": "a\x00b"}}, "artist"),
        ("identify", {}, "file"),
        ("streams", {"json": {"name": "radio-one"}}, "url"),
        ("streams", {"json": ["radio-one"]}, "body"),
        ("streams", {"content": b"{", "headers": {"Content-Type": "application/json"}}, "JSON"),
    ],
)
async def test_a_body_that_is_not_valid_names_what_is_wrong(
    client: httpx2.AsyncClient, path: str, sent: dict[str, Any], named: str
) -> None:
    assert named in problem(await client.post(f"{API}/{path}", **sent), 422)["detail"]


async def test_an_unsupported_method_is_answered_with_the_supported_ones(client: httpx2.AsyncClient) -> None:
    response = await client.put(f"{API}/tracks")
    problem(response, 405)
    assert set(response.headers["allow"].split(", ")) <= {"GET", "POST", "HEAD"}


class BrokenMatches:
    """A table with a bug."""

    async def list(self, *_: object) -> None:
        raise RuntimeError("postgresql://someone:hunter2@db/x")


async def test_a_bug_is_logged_and_not_shown(airtrace_without_index: Airtrace) -> None:
    storage = replace(airtrace_without_index.storage, matches=cast("MatchTable", BrokenMatches()))
    broken = replace(airtrace_without_index, storage=storage)
    before = n_requests(500)
    with capture_logs() as logs:
        async with client_of(broken) as http:
            response = await http.get(f"{API}/matches")
    problem(response, 500)
    assert "hunter2" not in response.text
    assert [(entry["event"], entry["path"]) for entry in logs] == [("api.bug", f"{API}/matches")]
    assert n_requests(500) == before + 1


@pytest.mark.parametrize("path", [*LISTS, "/healthz", "/live", f"{API}/tracks/1"])
async def test_a_database_that_does_not_answer_is_a_problem_of_its_own(
    client: httpx2.AsyncClient, storage: Storage, path: str
) -> None:
    await storage.database.close()
    with capture_logs():
        assert problem(await client.get(path), 503)["detail"] == "PostgreSQL does not answer"
