"""`airtrace topics` creates the topics, reports what is wrong with them, and has the documented exit codes."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest
from aiokafka.admin import AIOKafkaAdminClient, NewTopic

from ingest.settings import KafkaSettings
from tests.acceptance.command import Airtrace
from tests.broker import kafka_settings

NAMES = ("bootstrap", "windows_topic", "rejected_topic", "matches_topic", "group")


@pytest.fixture
def topics(kafka: str) -> KafkaSettings:
    return kafka_settings(kafka)


@pytest.fixture
def full(tmp_path: Path, topics: KafkaSettings) -> Iterator[Airtrace]:
    settings = {f"AIRTRACE_KAFKA__{name.upper()}": getattr(topics, name) for name in NAMES}
    command = Airtrace(tmp_path / "no home", tmp_path, settings)
    yield command
    command.end()


async def _make(settings: KafkaSettings, **config: str) -> None:
    admin = AIOKafkaAdminClient(bootstrap_servers=settings.bootstrap)
    await admin.start()
    try:
        named = {key.replace("_", "."): value for key, value in config.items()}
        await admin.create_topics([NewTopic(settings.windows_topic, 8, 1, topic_configs=named)])
    finally:
        await admin.close()


def test_topics_are_missing_then_created_then_present(full: Airtrace, topics: KafkaSettings) -> None:
    missing = full("topics", "check", exits=None)
    assert missing.code == 3
    assert missing.out.count("missing") == 3
    assert f"airtrace: topic {topics.windows_topic}: the topic is missing" in missing.err
    made = full("topics", "create", "--json")
    assert [topic["created"] for topic in made.json["topics"]] == [True, True, True]
    assert made.json["problems"] == []
    again = full("topics", "create", "--json")
    assert [topic["created"] for topic in again.json["topics"]] == [False, False, False]
    windows = full("topics", "check", "--json").json["topics"][0]
    assert windows["name"] == topics.windows_topic
    assert windows["found"]["partitions"] == windows["wanted"]["partitions"] == 8
    assert windows["found"]["retention.ms"] == "86400000"
    assert "24 h" in full("topics", "check").out
    assert not full.home.exists()


def test_a_limit_that_would_lose_windows_is_named_and_ingest_refuses_to_start(
    full: Airtrace, topics: KafkaSettings
) -> None:
    asyncio.run(_make(topics, max_message_bytes="100000"))
    told = full("topics", "create", exits=None)
    assert told.code == 3
    limit = f"airtrace: topic {topics.windows_topic}: max.message.bytes is 100000, must be 134656 or more: "
    assert limit in told.err
    (problem,) = full("topics", "check", "--json", exits=None).json["problems"]
    assert problem["limit"] == "max.message.bytes"
    assert problem["loses_data"]
    full.settings["AIRTRACE_DATABASE__DSN"] = "postgresql://nobody@127.0.0.1:1/none"
    full.settings["AIRTRACE_METRICS__PORT"] = "0"
    full("ingest", exits=None).complains(
        "would lose windows", "max.message.bytes is 100000", "airtrace topics check", code=3
    )
    full("topics", "check", AIRTRACE_INGEST__WINDOW_S="1")  # shorter windows fit


def test_differences_from_the_settings_are_reported(full: Airtrace) -> None:
    full("topics", "create")
    told = full("topics", "check", exits=None, AIRTRACE_KAFKA__PARTITIONS="16", AIRTRACE_KAFKA__RETENTION_H="48")
    assert told.code == 3
    assert "airtrace: differs: topic" in told.err
    assert "partitions is 8, must be 16 or more" in told.err
    assert "retention.ms is 86400000, must be 172800000 or more" in told.err


def test_no_broker_and_no_address_have_different_exit_codes(full: Airtrace) -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))  # bound but not listening: refuses connections
        address = f"127.0.0.1:{unused.getsockname()[1]}"
        done = full("topics", "check", exits=None, AIRTRACE_KAFKA__BOOTSTRAP=address)
    assert done.code == 4
    assert f"airtrace: Kafka at {address} cannot be reached" in done.err
    full.settings.pop("AIRTRACE_KAFKA__BOOTSTRAP")
    full("topics", "check", exits=None).complains("AIRTRACE_KAFKA__BOOTSTRAP", code=3)
