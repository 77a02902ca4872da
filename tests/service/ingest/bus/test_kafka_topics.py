"""Topics on a real Kafka: created as the settings say, checked, and refused if they would lose windows."""

from __future__ import annotations

import uuid
from pathlib import Path

import pytest
from aiokafka.admin import AIOKafkaAdminClient, NewTopic

from ingest.bus import kafka_topics
from ingest.bus.kafka import KafkaBus
from ingest.bus.kafka_limits import Topic, data_loss_problems
from ingest.errors import UnfitBroker
from ingest.settings import KafkaSettings
from ingest.wire import Window
from tests.broker import kafka_settings, running

WINDOW_S = 10


async def make_topic(settings: KafkaSettings, name: str, **config: str) -> None:
    admin = AIOKafkaAdminClient(bootstrap_servers=settings.bootstrap)
    await admin.start()
    try:
        named = {key.replace("_", "."): value for key, value in config.items()}
        answer = await admin.create_topics([NewTopic(name, 8, 1, topic_configs=named)])
        assert [code for _, code, *_ in answer.topic_errors] == [0]
    finally:
        await admin.close()


async def test_topics_are_created_once_and_as_they_must_be(kafka: str) -> None:
    settings = kafka_settings(kafka, partitions=3, retention_h=2, events_retention_h=50)
    others = [Topic("other-topic", 3, 180_000_000, 1000, 1000)]
    names = [settings.windows_topic, settings.rejected_topic, "other-topic"]
    assert sorted(await kafka_topics.create_missing(settings, WINDOW_S, others)) == sorted(names)
    assert await kafka_topics.create_missing(settings, WINDOW_S, others) == []
    survey = await kafka_topics.survey(settings, WINDOW_S, others)
    assert survey.problems == ()
    found = [survey.found[name] for name in names]
    assert [each.partitions for each in found if each] == [3, 1, 3]
    assert [each.config["retention.ms"] for each in found if each] == ["7200000", "180000000", "180000000"]
    assert {each.config["cleanup.policy"] for each in found if each} == {"delete"}


async def test_a_survey_creates_nothing(kafka: str) -> None:
    settings = kafka_settings(kafka)
    for _ in range(2):
        survey = await kafka_topics.survey(settings, WINDOW_S)
        assert list(survey.found.values()) == [None, None]
        assert [problem.limit for problem in data_loss_problems(survey.problems)] == ["the topic"] * 2


@pytest.mark.parametrize(
    "config",
    [
        {"max_message_bytes": "300000"},
        {"cleanup_policy": "compact"},
        {"compression_type": "zstd"},
        {"min_insync_replicas": "2"},
        {"retention_ms": "30000"},
        {"retention_bytes": "5000000"},
    ],
)
async def test_a_topic_that_would_lose_windows_is_refused_and_its_limit_named(
    kafka: str, config: dict[str, str]
) -> None:
    settings = kafka_settings(kafka)
    await make_topic(settings, settings.windows_topic, **config)
    ((name, value),) = config.items()
    limit = name.replace("_", ".")
    with pytest.raises(UnfitBroker, match=rf"would lose windows: topic {settings.windows_topic}: {limit} is {value}, "):
        async with KafkaBus(settings):
            raise AssertionError("it must not open")
    (problem,) = data_loss_problems((await kafka_topics.survey(settings, WINDOW_S)).problems)
    assert problem.limit == limit


async def test_the_limit_depends_on_the_window_length_in_the_settings(kafka: str) -> None:
    """300 KB are too few for windows of 10 s but enough for windows of 2 s, which then fit."""
    settings = kafka_settings(kafka)
    await make_topic(settings, settings.windows_topic, max_message_bytes="300000")
    assert data_loss_problems((await kafka_topics.survey(settings, 10)).problems)
    noise = uuid.uuid4().bytes * (2 * 64_000 // 16)
    async with KafkaBus(settings, window_s=2) as bus:
        await bus.publish(Window(1, uuid.UUID(int=1), 0, 0, 0, noise))


async def test_limits_of_the_broker_itself_are_reported(tmp_path: Path) -> None:
    limits = ("socket.request.max.bytes=500000", "group.max.session.timeout.ms=6000")
    with running(tmp_path, *limits) as broker:
        if broker.pid is None or not broker.is_real:
            pytest.skip("only a broker of our own has limits that we choose")
        settings = kafka_settings(broker.bootstrap, session_timeout_s=10)
        await kafka_topics.create_missing(settings, WINDOW_S)
        survey = await kafka_topics.survey(settings, WINDOW_S)
        assert {(problem.where, problem.limit) for problem in survey.problems} == {
            ("broker 1", "socket.request.max.bytes"),
            ("broker 1", "group.max.session.timeout.ms"),
        }
        assert all(problem.loses_data for problem in survey.problems)
