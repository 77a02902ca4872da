"""What the tests of the API share: its addresses, a client, and the shape of every problem."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx2
import numpy as np
from prometheus_client import REGISTRY

from ingest import timeline
from monitor.detect.logmel import LogMelDetector
from monitor.parts import Airtrace
from monitor.processes.http_app import create_app
from monitor.settings import Settings
from monitor.storage.records import Fingerprint, Metadata
from monitor.storage.storage import Storage
from tests.songs import SECOND

HOST = "http://localhost"
API = "/api/v1"
LISTS = [f"{API}/{noun}" for noun in ("tracks", "streams", "matches", "alerts", "coverage", "sounds", "similar")]
SECRET_URL = "https://someone:hunter2@radio.example:8000/live.mp3?token=s3cr3t#frag"


def settings_of(tmp_path: Path, **api: Any) -> Settings:
    return Settings(home=tmp_path, api={"max_upload_mb": 64, **api})


def client_of(airtrace: Airtrace, **headers: str) -> httpx2.AsyncClient:
    transport = httpx2.ASGITransport(app=create_app(airtrace), raise_app_exceptions=False)
    return httpx2.AsyncClient(transport=transport, base_url=HOST, headers=headers, timeout=60)


def problem(response: httpx2.Response, status: int) -> dict[str, Any]:
    """The response's problem, checked against RFC 9457."""
    assert response.status_code == status, response.text
    assert response.headers["content-type"] == "application/problem+json"
    body = response.json()
    assert {"type", "title", "status", "detail"} <= body.keys() <= {"type", "title", "status", "detail", "reason"}
    assert body["status"] == status
    assert body["type"] == "about:blank"
    assert body["title"]
    assert body["detail"]
    return body


def file(path: Path, name: str | None = None) -> dict[str, Any]:
    return {"file": (name or path.name, path.read_bytes())}


async def a_track(storage: Storage, number: int, metadata: Metadata, **info: Any) -> int:
    known = replace(LogMelDetector().info, **info)
    vectors = np.eye(8, known.dimensions, dtype=np.float32)
    track = await storage.tracks.add(bytes([number]) * 32, 5 * SECOND, metadata, Fingerprint(known, vectors))
    assert track is not None
    await storage.tracks.set_status(track, "ready")
    return track


def iso(clock: int) -> str:
    return timeline.to_utc(clock).isoformat().replace("+00:00", "Z")


def n_requests(status: int) -> float:
    """How many requests were answered with a status, by the metric."""
    samples = [sample for metric in REGISTRY.collect() for sample in metric.samples]
    name = "airtrace_http_request_seconds_count"
    return sum(sample.value for sample in samples if sample.name == name and sample.labels["status"] == str(status))
