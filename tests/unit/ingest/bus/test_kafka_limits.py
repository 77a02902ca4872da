"""Every limit that would lose windows is reported, with its value and what it must be; harmless ones are not."""

from __future__ import annotations

import uuid
from dataclasses import replace

import numpy as np
import pytest

from ingest import flac
from ingest.bus.kafka_limits import (
    MIN_RETENTION_MS,
    Topic,
    TopicState,
    broker_problems,
    data_loss_problems,
    topic_problems,
    topics,
    window_bytes,
)
from ingest.settings import KafkaSettings
from ingest.wire import SAMPLE_RATE_HZ, Codec, Window, encode

SETTINGS = KafkaSettings(bootstrap="127.0.0.1:9092")
OTHER = Topic("other", 8, 3_600_000, 1000, 1000)
WINDOWS, REJECTED, _ = topics(SETTINGS, 10, [OTHER])


def as_wanted(topic: Topic, replicas: int = 1, **config: str) -> TopicState:
    changed = {name.replace("_", "."): value for name, value in config.items()}
    return TopicState(topic.partitions, replicas, 0, {**topic.config, "min.insync.replicas": "1", **changed})


@pytest.mark.parametrize("topic", [WINDOWS, REJECTED, OTHER])
def test_a_topic_as_we_create_it_has_no_problems(topic: Topic) -> None:
    assert list(topic_problems(topic, as_wanted(topic))) == []


@pytest.mark.parametrize(
    ("config", "limit", "needed"),
    [
        ({"max_message_bytes": "600000"}, "max.message.bytes", f"{WINDOWS.min_bytes} or more"),
        ({"segment_bytes": "14"}, "segment.bytes", f"{WINDOWS.min_bytes} or more"),
        ({"cleanup_policy": "compact"}, "cleanup.policy", "delete"),
        ({"cleanup_policy": "compact,delete"}, "cleanup.policy", "delete"),
        ({"compression_type": "zstd"}, "compression.type", "producer or uncompressed or gzip"),
        ({"min_insync_replicas": "2"}, "min.insync.replicas", "1 or less"),
        ({"retention_ms": "60000"}, "retention.ms", f"{MIN_RETENTION_MS} or more, or -1"),
        ({"retention_bytes": "1000000"}, "retention.bytes", "5529600000 for each stream, or -1"),
    ],
)
def test_a_limit_that_loses_windows_is_reported_with_what_it_must_be(
    config: dict[str, str], limit: str, needed: str
) -> None:
    (problem,) = topic_problems(WINDOWS, as_wanted(WINDOWS, **config))
    (found,) = config.values()
    assert (problem.where, problem.limit, problem.found, problem.needed) == (
        *("topic airtrace.windows.v1", limit, found),
        needed,
    )
    assert problem.loses_data
    assert f"{limit} is {found}, must be {needed}: " in str(problem)


@pytest.mark.parametrize(
    "config",
    [
        {"retention_ms": "43200000"},
        {"retention_bytes": "1000000000"},
        {"unclean_leader_election_enable": "true"},
    ],
)
def test_a_limit_that_only_differs_from_the_settings_is_reported_but_does_not_count_as_loss(
    config: dict[str, str],
) -> None:
    problems = list(topic_problems(WINDOWS, as_wanted(WINDOWS, **config)))
    assert len(problems) == 1
    assert data_loss_problems(problems) == []


@pytest.mark.parametrize(
    "config",
    [
        {"retention_ms": "-1"},
        {"retention_ms": "864000000"},
        {"retention_bytes": "-1"},
        {"max_message_bytes": "10000000"},
        {"compression_type": "gzip"},
        {"segment_bytes": "1073741824"},
    ],
)
def test_a_limit_above_the_minimum_is_no_problem(config: dict[str, str]) -> None:
    assert list(topic_problems(WINDOWS, as_wanted(WINDOWS, **config))) == []


def test_a_broker_that_reports_no_limits_is_trusted() -> None:
    assert list(topic_problems(WINDOWS, TopicState(8, 1, 0, {}))) == []
    assert list(broker_problems("1", {}, SETTINGS, 10)) == []


def test_a_missing_topic_a_missing_leader_and_too_few_partitions_are_distinguished() -> None:
    (missing,) = topic_problems(WINDOWS, None)
    assert "airtrace topics create" in str(missing)
    (leaderless,) = topic_problems(WINDOWS, replace(as_wanted(WINDOWS), leaderless=2))
    assert not leaderless.loses_data, "an election passes; records wait for it"
    assert "2 of 8" in str(leaderless)
    (few,) = topic_problems(WINDOWS, replace(as_wanted(WINDOWS), partitions=3))
    assert not few.loses_data
    assert list(topic_problems(WINDOWS, replace(as_wanted(WINDOWS), partitions=9))) == []


@pytest.mark.parametrize(
    ("config", "limit"),
    [
        ({"socket.request.max.bytes": "100000"}, "socket.request.max.bytes"),
        ({"group.max.session.timeout.ms": "5000"}, "group.max.session.timeout.ms"),
        ({"group.min.session.timeout.ms": "60000"}, "group.min.session.timeout.ms"),
    ],
)
def test_limits_of_a_broker_are_reported(config: dict[str, str], limit: str) -> None:
    (problem,) = broker_problems("3", config, SETTINGS, 10)
    assert (problem.where, problem.limit, problem.loses_data) == ("broker 3", limit, True)


@pytest.mark.parametrize("window_s", [0.5, 2, 10])
def test_the_largest_window_fits_its_limit_even_as_noise(window_s: float) -> None:
    noise = np.random.default_rng(1).integers(-(2**15), 2**15, round(window_s * SAMPLE_RATE_HZ), dtype="<i2").tobytes()
    assert len(flac.encode(noise, SAMPLE_RATE_HZ)) > len(noise), "noise does not become smaller"
    encoded = encode(Window(2**62, uuid.UUID(int=1), 2**40, 2**60, 2**60, noise, 2**62, True, "t" * 55), Codec.FLAC)
    size = len(encoded.key) + len(encoded.value) + sum(len(name) + len(value) for name, value in encoded.headers)
    assert size < window_bytes(window_s)
