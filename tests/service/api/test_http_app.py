"""The application as a whole: health, metrics, documentation, and every route in it."""

from __future__ import annotations

import re

import httpx2
from prometheus_client.metrics import MetricWrapperBase

from monitor import metrics
from monitor.core.tracking.play import Play
from monitor.detect.logmel import LogMelDetector
from tests.service.api.http import API

# Every route. A new one belongs here and in a test.
ROUTES = {
    ("GET", f"{API}/alerts"),
    ("GET", f"{API}/capacity"),
    ("GET", f"{API}/coverage"),
    ("GET", f"{API}/matches"),
    ("GET", f"{API}/matches/{{match_id}}"),
    ("GET", f"{API}/streams"),
    ("POST", f"{API}/streams"),
    ("GET", f"{API}/streams/{{name}}"),
    ("DELETE", f"{API}/streams/{{name}}"),
    ("GET", f"{API}/tracks"),
    ("GET", f"{API}/tracks/families"),
    ("POST", f"{API}/tracks"),
    ("POST", f"{API}/tracks/rebuild"),
    ("GET", f"{API}/tracks/{{track_id}}"),
    ("DELETE", f"{API}/tracks/{{track_id}}"),
    ("PATCH", f"{API}/tracks/{{track_id}}"),  # test_catalog.py
    ("PUT", f"{API}/tracks/{{track_id}}/audio"),
    ("PUT", f"{API}/tracks/{{track_id}}/excluded"),
    ("POST", f"{API}/tracks/{{track_id}}/retire"),
    ("POST", f"{API}/tracks/{{track_id}}/restore"),
    ("GET", f"{API}/catalog"),
    ("POST", f"{API}/catalog/verify"),
    ("POST", f"{API}/catalog/rebuild"),
    ("POST", f"{API}/catalog/prune"),
    ("GET", f"{API}/catalog/export"),
    ("POST", f"{API}/catalog/import"),
    ("POST", f"{API}/identify"),
    ("POST", f"{API}/explain"),  # tests/service/matching/test_explain.py
    ("GET", f"{API}/streams/{{name}}/explain"),
    ("POST", f"{API}/calibrate"),  # tests/service/matching/test_calibration.py
    ("GET", f"{API}/calibration"),
    ("PUT", f"{API}/calibration"),
    ("DELETE", f"{API}/calibration"),
    ("GET", f"{API}/sounds"),  # tests/service/similarity/test_sounds_api.py
    ("POST", f"{API}/sounds/search"),
    ("POST", f"{API}/sounds/enroll"),
    ("GET", f"{API}/similar"),
    ("GET", f"{API}/similar/{{similar_id}}"),
    ("PUT", f"{API}/similar/{{similar_id}}"),
    ("GET", "/healthz"),
}
PAGES = {"/", "/live"}  # tests/web


async def test_health_describes_what_is_running(
    client: httpx2.AsyncClient, detector: LogMelDetector, on_air: Play
) -> None:
    body = (await client.get("/healthz")).json()
    info = detector.info
    assert (body["status"], body["detector"], body["tracks"]) == ("ok", info.name, 1)
    assert body["model"] == f"{info.version}/{info.checksum}"
    assert body["version"]


async def test_the_metrics_are_ours_with_bounded_labels(client: httpx2.AsyncClient) -> None:
    await client.get(f"{API}/tracks/7654321")
    await client.get("/secret-path")
    await client.request("BREW", f"{API}/tracks")
    response = await client.get("/metrics")
    assert response.headers["content-type"].startswith("text/plain")
    ours = [metric.describe()[0].name for metric in vars(metrics).values() if isinstance(metric, MetricWrapperBase)]
    assert len(ours) > 8
    for name in ours:
        assert f"# HELP {name}" in response.text
    assert re.search(r'route="(/api/v1)?/tracks/\{track_id\}"', response.text)  # FastAPI leaves the prefix out, or not
    assert 'method="other"' in response.text
    for unbounded in ("7654321", "secret-path", "BREW"):
        assert unbounded not in response.text


async def test_the_documentation_loads_only_our_own_files(client: httpx2.AsyncClient) -> None:
    page = await client.get("/docs")
    assert page.status_code == 200
    files = re.findall(r'(?:src|href)="([^"]+)"', page.text)
    assert len(files) >= 3
    for name in files:
        assert name.startswith("/static/"), name
        assert (await client.get(name)).status_code == 200, name
    assert not re.search(r"https?://", page.text.replace("http://www.w3.org", ""))


async def test_the_openapi_document_has_every_route(client: httpx2.AsyncClient) -> None:
    document = (await client.get("/openapi.json")).json()
    assert document["info"]["title"] == "Airtrace"
    summaries = [route["summary"] for methods in document["paths"].values() for route in methods.values()]
    assert len(set(summaries)) == len(summaries)
    assert all(" " in summary for summary in summaries)
    there = {(method.upper(), path) for path, methods in document["paths"].items() for method in methods}
    assert {route for route in there if route[1] not in PAGES} == ROUTES
