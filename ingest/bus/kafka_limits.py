"""The limits that brokers and topics must allow so that no window is lost. Pure: configurations in, problems out.

Kafka reports each effective limit of a topic, whether the topic or the broker sets it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from ingest.bus.kafka_client import MAX_HEADERS_BYTES, MAX_RECORD_BYTES
from ingest.settings import KafkaSettings
from ingest.wire import BYTES_PER_SAMPLE, SAMPLE_RATE_HZ

PCM_BYTES_PER_S = SAMPLE_RATE_HZ * BYTES_PER_SAMPLE
# FLAC of noise is slightly larger than its PCM. Records have headers, and so does the request around a record.
MAX_FLAC, RECORD_OVERHEAD_BYTES = 1.02, 4096
HOUR_MS = 3_600_000
# A worker that takes over reads the last minute again, and a restart of everything takes longer.
MIN_RETENTION_MS = 300_000
READABLE = ("producer", "uncompressed", "gzip")  # those that all our readers support without further packages

Config = Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Topic:
    """A topic to create: `min_bytes` is the size that must fit, `max_bytes` the limit that it gets."""

    name: str
    partitions: int
    retention_ms: int
    min_bytes: int
    max_bytes: int
    is_windows: bool = False

    @property
    def config(self) -> dict[str, str]:
        """The configuration that it is created with."""
        return {
            "cleanup.policy": "delete",
            "compression.type": "producer",  # windows are FLAC: compressing them again gains nothing
            "max.message.bytes": str(self.max_bytes),
            "retention.ms": str(self.retention_ms),
        }


@dataclass(frozen=True, slots=True)
class TopicState:
    """An existing topic.

    replicas: of the partition with the fewest. leaderless: how many partitions have no leader at present.
    """

    partitions: int
    replicas: int
    leaderless: int
    config: Config


@dataclass(frozen=True, slots=True)
class Problem:
    """A limit with a wrong value.

    loses_data: windows or events would be lost; otherwise it only differs from the settings.
    """

    where: str
    limit: str
    found: str
    needed: str
    why: str
    loses_data: bool = True

    def __str__(self) -> str:
        return f"{self.where}: {self.limit} is {self.found}, must be {self.needed}: {self.why}"


def window_bytes(window_s: float) -> int:
    """The largest possible size, in bytes, of a record with a window of `window_s` seconds."""
    return round(window_s * PCM_BYTES_PER_S * MAX_FLAC) + RECORD_OVERHEAD_BYTES


def topics(settings: KafkaSettings, window_s: float, others: Sequence[Topic] = ()) -> tuple[Topic, ...]:
    """The topics for windows and dead letters that the settings ask for, and `others`."""
    windows_ms, events_ms = round(settings.retention_h * HOUR_MS), round(settings.events_retention_h * HOUR_MS)
    window = window_bytes(window_s)
    letter = MAX_RECORD_BYTES + MAX_HEADERS_BYTES
    windows = (settings.windows_topic, settings.partitions, windows_ms, window, MAX_RECORD_BYTES)
    return (
        Topic(*windows, is_windows=True),
        Topic(settings.rejected_topic, 1, events_ms, window + MAX_HEADERS_BYTES, letter),
        *others,
    )


def topic_problems(topic: Topic, found: TopicState | None) -> Iterator[Problem]:
    """The problems of an existing topic, or of a missing one (None)."""
    where = f"topic {topic.name}"
    if found is None:
        yield Problem(where, "the topic", "missing", "created", "run airtrace topics create")
        return
    if found.leaderless:
        partitions = f"{found.leaderless} of {found.partitions}"
        why = "they take no records until they have one"
        yield Problem(where, "partitions without a leader", partitions, "none", why, loses_data=False)
    if found.partitions < topic.partitions:
        why = "additional workers would have nothing to do; adding partitions later moves streams between them"
        yield Problem(where, "partitions", str(found.partitions), f"{topic.partitions} or more", why, loses_data=False)
    sizes = {
        "max.message.bytes": "the longest record would be refused",
        "segment.bytes": "the longest record would not fit into a segment",
    }
    for limit, why in sizes.items():
        yield from _at_least(where, limit, found.config, topic.min_bytes, why)
    yield from _durability_problems(where, found)
    yield from _retention_problems(where, topic, found.config)


def broker_problems(broker: str, config: Config, settings: KafkaSettings, window_s: float) -> Iterator[Problem]:
    """The problems of a broker, apart from limits that topics can override."""
    where = f"broker {broker}"
    why = "a request with the longest window would be refused"
    yield from _at_least(where, "socket.request.max.bytes", config, window_bytes(window_s) + MAX_HEADERS_BYTES, why)
    session_ms = round(settings.session_timeout_s * 1000)
    why = "workers with the present AIRTRACE_KAFKA__SESSION_TIMEOUT_S cannot join, and nobody reads windows"
    yield from _at_least(where, "group.max.session.timeout.ms", config, session_ms, why)
    limit = "group.min.session.timeout.ms"
    if (minimum := _number(config, limit)) is not None and minimum > session_ms:
        yield Problem(where, limit, str(minimum), f"{session_ms} or less", why)


def _durability_problems(where: str, found: TopicState) -> Iterator[Problem]:
    config = found.config
    policy = config.get("cleanup.policy", "delete")
    if policy != "delete":
        why = "the key is the stream, so only the newest record of each stream would be kept"
        yield Problem(where, "cleanup.policy", policy, "delete", why)
    compression = config.get("compression.type", "producer")
    if compression not in READABLE:
        why = "Airtrace cannot read this compression without further packages"
        yield Problem(where, "compression.type", compression, " or ".join(READABLE), why)
    limit = "min.insync.replicas"
    if (insync := _number(config, limit)) is not None and insync > found.replicas:
        why = f"a partition with only {found.replicas} takes no records"
        yield Problem(where, limit, str(insync), f"{found.replicas} or less", why)
    limit = "unclean.leader.election.enable"
    if config.get(limit) == "true":
        why = "the failure of a broker may lose records that it had confirmed"
        yield Problem(where, limit, "true", "false", why, loses_data=False)


def _retention_problems(where: str, topic: Topic, config: Config) -> Iterator[Problem]:
    limit = "retention.ms"
    kept_ms = _number(config, limit)
    if kept_ms is not None and 0 <= kept_ms < topic.retention_ms:
        loses = topic.is_windows and kept_ms < MIN_RETENTION_MS
        why = "workers that were down, or take over, would miss windows" if loses else "as the settings say"
        min_ms = MIN_RETENTION_MS if loses else topic.retention_ms
        yield Problem(where, limit, str(kept_ms), f"{min_ms} or more, or -1", why, loses_data=loses)
    limit = "retention.bytes"
    maximum = _number(config, limit)
    if topic.is_windows and maximum is not None and 0 <= maximum < topic.retention_ms * PCM_BYTES_PER_S // 1000:
        kept_s = maximum // PCM_BYTES_PER_S
        why = f"a partition with one stream may keep only {kept_s} s of it"
        needed = f"{topic.retention_ms * PCM_BYTES_PER_S // 1000} for each stream, or -1"
        yield Problem(where, limit, str(maximum), needed, why, loses_data=kept_s * 1000 < MIN_RETENTION_MS)


def _at_least(where: str, limit: str, config: Config, minimum: int, why: str) -> Iterator[Problem]:
    if (found := _number(config, limit)) is not None and found < minimum:
        yield Problem(where, limit, str(found), f"{minimum} or more", why)


def _number(config: Config, name: str) -> int | None:
    """None if the broker does not report it: some have no such limit."""
    try:
        return int(config[name])
    except (KeyError, ValueError, TypeError):
        return None


def data_loss_problems(problems: Sequence[Problem]) -> list[Problem]:
    """The problems that would lose windows or events."""
    return [problem for problem in problems if problem.loses_data]
