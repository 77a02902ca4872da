"""What brokers and topics must allow so that no window is lost. Pure: configurations in, problems out.

Kafka gives every limit of a topic as it holds, whether the topic or the broker sets it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from ingest.bus.kafka_client import MAX_HEADERS_BYTES, MAX_RECORD_BYTES
from ingest.settings import KafkaSettings
from ingest.wire import BYTES_PER_SAMPLE, SAMPLE_RATE_HZ

PCM_BYTES_PER_S = SAMPLE_RATE_HZ * BYTES_PER_SAMPLE
# Noise makes FLAC a little larger than its PCM; a record has its headers, a request with one record its own.
MAX_FLAC, RECORD_OVERHEAD_BYTES = 1.02, 4096
HOUR_MS = 3_600_000
# A worker that takes over reads its last minute again, and a restart of everything takes some more.
MIN_RETENTION_MS = 300_000
READABLE = ("producer", "uncompressed", "gzip")  # what every reader of ours can read without further packages

Config = Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Topic:
    """A topic as it is made: `least_bytes` is what must fit, `most_bytes` the limit it gets."""

    name: str
    partitions: int
    retention_ms: int
    min_bytes: int
    max_bytes: int
    is_windows: bool = False

    @property
    def config(self) -> dict[str, str]:
        """What is set when it is made."""
        return {
            "cleanup.policy": "delete",
            "compression.type": "producer",  # windows are FLAC: to compress them again gains nothing
            "max.message.bytes": str(self.max_bytes),
            "retention.ms": str(self.retention_ms),
        }


@dataclass(frozen=True, slots=True)
class TopicState:
    """A topic as it is: copies of its partition with the fewest, and how many have no leader now."""

    partitions: int
    replicas: int
    leaderless: int
    config: Config


@dataclass(frozen=True, slots=True)
class Problem:
    """A limit that is not what it must be. `loses`: windows, or events, would be lost; else it only differs."""

    where: str
    limit: str
    found: str
    needed: str
    why: str
    loses_data: bool = True

    def __str__(self) -> str:
        return f"{self.where}: {self.limit} is {self.found}, must be {self.needed}: {self.why}"


def window_bytes(window_s: float) -> int:
    """The most that a record with a window of this length takes."""
    return round(window_s * PCM_BYTES_PER_S * MAX_FLAC) + RECORD_OVERHEAD_BYTES


def topics(settings: KafkaSettings, window_s: float, others: Sequence[Topic] = ()) -> tuple[Topic, ...]:
    """The topics of windows and of dead letters as the settings ask for them, and `others`."""
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
    """What is wrong with a topic as it is; None: it is not there."""
    where = f"topic {topic.name}"
    if found is None:
        yield Problem(where, "the topic", "not there", "made", "airtrace topics create")
        return
    if found.leaderless:
        partitions = f"{found.leaderless} of {found.partitions}"
        why = "nothing goes into them until they have one"
        yield Problem(where, "partitions without a leader", partitions, "none", why, loses_data=False)
    if found.partitions < topic.partitions:
        why = "more workers than partitions have nothing to do; adding some moves streams between them"
        yield Problem(where, "partitions", str(found.partitions), f"{topic.partitions} or more", why, loses_data=False)
    sizes = {"max.message.bytes": "the longest record would be refused", "segment.bytes": "it would fit in no segment"}
    for limit, why in sizes.items():
        yield from _at_least(where, limit, found.config, topic.min_bytes, why)
    yield from _durability_problems(where, found)
    yield from _retention_problems(where, topic, found.config)


def broker_problems(broker: str, config: Config, settings: KafkaSettings, window_s: float) -> Iterator[Problem]:
    """What is wrong with a broker, besides what it leaves to the topics."""
    where = f"broker {broker}"
    why = "a request with the longest window would be refused"
    yield from _at_least(where, "socket.request.max.bytes", config, window_bytes(window_s) + MAX_HEADERS_BYTES, why)
    session_ms = round(settings.session_timeout_s * 1000)
    why = "workers with AIRTRACE_KAFKA__SESSION_TIMEOUT_S as it is cannot join, so that nobody reads windows"
    yield from _at_least(where, "group.max.session.timeout.ms", config, session_ms, why)
    limit = "group.min.session.timeout.ms"
    if (minimum := _number(config, limit)) is not None and minimum > session_ms:
        yield Problem(where, limit, str(minimum), f"{session_ms} or less", why)


def _durability_problems(where: str, found: TopicState) -> Iterator[Problem]:
    config = found.config
    policy = config.get("cleanup.policy", "delete")
    if policy != "delete":
        why = "the key is the stream: of its records only the newest would be kept"
        yield Problem(where, "cleanup.policy", policy, "delete", why)
    compression = config.get("compression.type", "producer")
    if compression not in READABLE:
        why = "the broker would write what Airtrace cannot read without further packages"
        yield Problem(where, "compression.type", compression, " or ".join(READABLE), why)
    limit = "min.insync.replicas"
    if (insync := _number(config, limit)) is not None and insync > found.replicas:
        why = f"no record is taken, as a partition has no more than {found.replicas}"
        yield Problem(where, limit, str(insync), f"{found.replicas} or less", why)
    limit = "unclean.leader.election.enable"
    if config.get(limit) == "true":
        why = "a broker that fails may take records with it that it had confirmed"
        yield Problem(where, limit, "true", "false", why, loses_data=False)


def _retention_problems(where: str, topic: Topic, config: Config) -> Iterator[Problem]:
    limit = "retention.ms"
    kept_ms = _number(config, limit)
    if kept_ms is not None and 0 <= kept_ms < topic.retention_ms:
        loses = topic.is_windows and kept_ms < MIN_RETENTION_MS
        why = "workers that were away, or take over, find windows gone" if loses else "the settings say so"
        min_ms = MIN_RETENTION_MS if loses else topic.retention_ms
        yield Problem(where, limit, str(kept_ms), f"{min_ms} or more, or -1", why, loses_data=loses)
    limit = "retention.bytes"
    maximum = _number(config, limit)
    if topic.is_windows and maximum is not None and 0 <= maximum < topic.retention_ms * PCM_BYTES_PER_S // 1000:
        kept_s = maximum // PCM_BYTES_PER_S
        why = f"a partition with one stream may keep no more than {kept_s} s of it"
        needed = f"{topic.retention_ms * PCM_BYTES_PER_S // 1000} for each stream, or -1"
        yield Problem(where, limit, str(maximum), needed, why, loses_data=kept_s * 1000 < MIN_RETENTION_MS)


def _at_least(where: str, limit: str, config: Config, minimum: int, why: str) -> Iterator[Problem]:
    if (found := _number(config, limit)) is not None and found < minimum:
        yield Problem(where, limit, str(found), f"{minimum} or more", why)


def _number(config: Config, name: str) -> int | None:
    """None where the broker does not say: some have no such limit."""
    try:
        return int(config[name])
    except (KeyError, ValueError, TypeError):
        return None


def data_loss_problems(problems: Sequence[Problem]) -> list[Problem]:
    """Those by which something would be lost."""
    return [problem for problem in problems if problem.loses_data]
