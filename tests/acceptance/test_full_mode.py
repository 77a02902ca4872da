"""`airtrace ingest`, `worker` and `api` as separate processes over Kafka report what `airtrace run` reports."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx2
import pytest
from anyio.from_thread import start_blocking_portal

from monitor.demo.program import Recording
from monitor.local import postgres
from tests.acceptance.command import PATIENCE, Airtrace
from tests.acceptance.sound import at_s, excerpt, on_air

SAME_S = 0.5  # the two readers have separate clocks, which agree within the jitter of their connections
NEAR_S = 1.0


@pytest.fixture
def servers(tmp_path: Path, kafka: str) -> Iterator[dict[str, str]]:
    """Settings of a PostgreSQL, a Milvus and Kafka topics for this test alone."""
    own = uuid.uuid4().hex[:12]
    with (
        start_blocking_portal() as portal,
        portal.wrap_async_context_manager(postgres.embedded(tmp_path / "postgres")) as dsn,
    ):
        yield {
            "AIRTRACE_DATABASE__DSN": dsn,
            "AIRTRACE_MILVUS__URI": str(tmp_path / "milvus.db"),  # Milvus Lite: for one process at a time
            "AIRTRACE_KAFKA__BOOTSTRAP": kafka,
            "AIRTRACE_KAFKA__WINDOWS_TOPIC": f"windows-{own}",
            "AIRTRACE_KAFKA__REJECTED_TOPIC": f"rejected-{own}",
            "AIRTRACE_KAFKA__MATCHES_TOPIC": f"matches-{own}",
            "AIRTRACE_KAFKA__GROUP": f"workers-{own}",
            "AIRTRACE_METRICS__PORT": "0",
            "AIRTRACE_API__PORT": "0",
        }


def test_full_mode_gives_the_same_matches_as_airtrace_run(
    stocked: Airtrace, servers: dict[str, str], catalog: tuple[Recording, ...], unknown: Recording, tmp_path: Path
) -> None:
    full = Airtrace(tmp_path / "no home", tmp_path, {**PATIENCE, **servers})
    assert f"{len(catalog)} added" in full("tracks", "add", *(track.path for track in catalog)).out
    # The unknown music goes first: one of the two connects later, and may hear less of it.
    program = (excerpt(unknown, 10, 6), excerpt(catalog[0], 20, 10), excerpt(catalog[3], 30, 10))
    with on_air(*program) as station, stocked.running() as run:
        full("streams", "add", "radio", station.url)
        worker = full.start("worker")
        worker.wait_for(lambda: worker.events("kafka.assigned"))
        ingest = full.start("ingest")
        stocked("streams", "add", "radio", station.url)
        run.wait_for(lambda: len(run.get("matches", state="closed")) == 2)
        worker.wait_for(lambda: len(worker.events("match.closed")) == 2)
        ingest.stop()
        worker.stop()
        embedded = stocked.json("matches")
    assert not full.home.exists(), "the full mode needs no home"

    api = full.start("api")
    (event,) = api.wait_for(lambda: api.events("api.running"))
    distributed = httpx2.get(f"{event['page']}/api/v1/matches").json()
    api.stop()
    assert full.json("matches") == distributed

    assert [match["track"]["title"] for match in embedded] == [catalog[3].path.stem, catalog[0].path.stem]
    for one, other in zip(embedded, distributed, strict=True):
        assert one["track"]["title"] == other["track"]["title"]
        for end in ("start", "end"):
            assert at_s(station, one[end]) == pytest.approx(at_s(station, other[end]), abs=SAME_S)
        assert _offset_s(one, at_s(station, one["start"])) == pytest.approx(
            _offset_s(other, at_s(station, other["start"])), abs=SAME_S
        )
    for match, begins_s, position_s in zip(distributed, (16, 6), (30, 20), strict=True):
        assert at_s(station, match["start"]) == pytest.approx(begins_s, abs=NEAR_S)
        assert _offset_s(match, at_s(station, match["start"])) == pytest.approx(position_s - begins_s, abs=NEAR_S)


def _offset_s(match: dict[str, Any], begins_s: float) -> float:
    """Position in the track at second 0 of the broadcast, which does not depend on where the match begins."""
    offset_s: float = match["track_start_s"] - begins_s
    return offset_s
