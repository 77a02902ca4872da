"""The API as a server: its address, and a port that is taken."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import httpx2
import pytest

from monitor.errors import DependencyError
from monitor.parts import Airtrace
from monitor.processes.http_server import serve_http
from tests.service.api.http import settings_of


async def test_a_port_in_use_is_an_error_with_the_way_out(airtrace_without_index: Airtrace) -> None:
    async with serve_http(airtrace_without_index, "127.0.0.1", 0) as url:
        port = int(url.rpartition(":")[2])
        with pytest.raises(DependencyError, match="--port or AIRTRACE_API__PORT"):
            async with serve_http(airtrace_without_index, "127.0.0.1", port):
                pass


@pytest.mark.parametrize(("host", "shown"), [("0.0.0.0", "http://127.0.0.1:"), ("::", "http://[::1]:")])
async def test_a_server_on_all_addresses_announces_one_that_reaches_it(
    airtrace_without_index: Airtrace, tmp_path: Path, host: str, shown: str
) -> None:
    everywhere = replace(airtrace_without_index, settings=settings_of(tmp_path, host=host))
    async with serve_http(everywhere, host, 0) as url, httpx2.AsyncClient(base_url=url, trust_env=False) as http:
        assert url.startswith(shown)
        assert (await http.get("/healthz")).status_code == 200
