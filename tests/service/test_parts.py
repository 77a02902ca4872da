"""The settings alone decide which bus, database and index are opened. Parts are complete when they are built."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from ingest.bus.kafka_history import KafkaHistory
from ingest.bus.spool import Spool
from ingest.bus.spool_history import SpoolHistory
from ingest.leases.assignment import AllStreams
from ingest.leases.postgres import LeasedStreams
from monitor import parts
from monitor.detect.logmel import LogMelDetector
from monitor.errors import SettingsError
from monitor.local.home import Home
from monitor.settings import Settings
from monitor.storage.records import Calibration
from monitor.storage.storage import Storage

KAFKA = {"bootstrap": "127.0.0.1:9"}


@pytest.fixture
def settings(dsn: str, tmp_path: Path) -> Settings:
    return Settings(home=tmp_path, database={"dsn": dsn}, milvus={"uri": str(tmp_path / "milvus.db")})


async def test_speech_that_the_tagger_names_is_not_searched(settings: Settings) -> None:
    async with parts.open_parts(settings, None, load_detector=LogMelDetector) as airtrace:
        assert airtrace.tagger is not None
        assert airtrace.matcher._needs_search == airtrace.tagger.needs_search


async def test_a_calibration_is_in_force_after_a_restart(settings: Settings, storage: Storage) -> None:
    info, default = LogMelDetector().info, LogMelDetector().thresholds
    calibration = Calibration(2 * default.open_llr, 1.0, 0.5, 2.0, 1.0, 3600.0, 100, 20, 1.0, 1.0, 1)
    await storage.calibrations.add(calibration, info)
    async with parts.open_parts(settings, None, load_detector=LogMelDetector) as airtrace:
        assert airtrace.matcher.thresholds.open_llr == 2 * default.open_llr


async def test_without_brokers_windows_go_through_the_spool_and_events_nowhere(
    settings: Settings, storage: Storage, tmp_path: Path
) -> None:
    async with parts.open_bus(settings, Home(tmp_path)) as bus:
        assert isinstance(bus, Spool)
        async with asyncio.timeout(10):
            await parts.publish_events(settings, bus, storage)
    assert isinstance(parts.window_history(settings), SpoolHistory)
    assert isinstance(parts.stream_assignment(settings, "postgresql://host/db"), AllStreams)


def test_with_brokers_windows_come_from_kafka_and_streams_are_leased(settings: Settings) -> None:
    full = Settings(home=settings.home, kafka=KAFKA)
    assert isinstance(parts.window_history(full), KafkaHistory)
    assert isinstance(parts.stream_assignment(full, "postgresql://host/db"), LeasedStreams)


@pytest.mark.parametrize("opening", [parts.open_database, parts.open_bus, parts.open_parts])
async def test_a_server_that_is_not_named_needs_a_home(opening: Callable[..., Any]) -> None:
    with pytest.raises(SettingsError, match="AIRTRACE_HOME"):
        async with opening(Settings(), None):
            pass
