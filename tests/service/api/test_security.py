"""Only known hosts and our own pages are served."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import httpx2
import pytest

from monitor.parts import Airtrace
from tests.service.api.http import API, client_of, problem, settings_of


@pytest.mark.parametrize(
    "headers",
    [
        {"Host": "evil.example"},
        {"Host": "localhost.evil.example:8420"},
        {"Host": ""},
        {"Host": "127.0.0.1@evil.example"},
        {"Origin": "https://evil.example"},
        {"Origin": "http://localhost:9999"},
        {"Origin": "http://localhost.evil.example"},
        {"Origin": "null"},
        {"Origin": "http://["},
        {"Origin": ""},
    ],
)
@pytest.mark.parametrize("path", [f"{API}/tracks", "/metrics", "/", "/nothing"])
async def test_unknown_hosts_and_the_pages_of_other_sites_are_refused(
    client: httpx2.AsyncClient, headers: dict[str, str], path: str
) -> None:
    problem(await client.get(path, headers=headers), 403)


@pytest.mark.parametrize(
    "headers",
    [
        {"Host": "localhost:8420", "Origin": "http://localhost:8420"},
        {"Host": "127.0.0.1"},
        {"Host": "[::1]:8420"},
        {"Host": "LOCALHOST"},
    ],
)
async def test_this_machine_and_our_own_page_are_served(client: httpx2.AsyncClient, headers: dict[str, str]) -> None:
    assert (await client.get("/healthz", headers=headers)).status_code == 200


async def test_the_bound_address_and_the_configured_hosts_are_served(
    airtrace_without_index: Airtrace, tmp_path: Path
) -> None:
    settings = settings_of(tmp_path, host="192.0.2.7", hosts=["radio.example"])
    async with client_of(replace(airtrace_without_index, settings=settings)) as http:
        for host, status in (("192.0.2.7:8420", 200), ("radio.example", 200), ("localhost", 403)):
            assert (await http.get("/healthz", headers={"Host": host})).status_code == status
    ipv6 = replace(airtrace_without_index, settings=settings_of(tmp_path, host="fd00::5", hosts=["*.radio.example"]))
    async with client_of(ipv6) as http:
        for host, status in (("[fd00::5]:8420", 200), ("[fd00::6]:8420", 403), ("api.radio.example", 200)):
            assert (await http.get("/healthz", headers={"Host": host})).status_code == status
    every = replace(airtrace_without_index, settings=settings_of(tmp_path, hosts=["*"]))
    async with client_of(every, Host="anything.example") as http:
        assert (await http.get("/healthz")).status_code == 200
