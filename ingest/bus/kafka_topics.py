"""Creates topics, and reads the limits of brokers and topics. Changes nothing that exists."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType
from aiokafka.errors import KafkaError, TopicAlreadyExistsError, for_code

from ingest.bus import kafka_limits
from ingest.bus.kafka_client import CONNECT_TIMEOUT_S, addresses, connecting
from ingest.bus.kafka_limits import Problem, Topic, TopicState
from ingest.errors import BusError
from ingest.settings import KafkaSettings

TOPIC_POLL_S = 0.05


@dataclass(frozen=True, slots=True)
class Survey:
    """The topics as they should be, as they are (None: missing), and the problems of them and of the brokers."""

    wanted: tuple[Topic, ...]
    found: dict[str, TopicState | None]
    problems: tuple[Problem, ...]


async def create_missing(
    settings: KafkaSettings,
    window_s: float,
    others: Sequence[Topic] = (),
    *,
    connect_timeout_s: float = CONNECT_TIMEOUT_S,
) -> list[str]:
    """Creates the topics of the bus, and `others`, if they do not exist; returns the names of the new ones.

    `window_s`: length of the longest window that must fit.

    Raises:
        BusError: no broker can be reached, or a topic cannot be created.
    """
    brokers, wanted = addresses(settings), kafka_limits.topics(settings, window_s, others)
    async with _admin_client(brokers, connect_timeout_s) as admin:
        existing = await admin.list_topics()
        missing = [topic for topic in wanted if topic.name not in existing]
        created = await _create(admin, brokers, missing) if missing else []
        # A group that forms before the brokers know the partitions would get none assigned.
        names = [topic.name for topic in missing]  # also those that another process has just created
        while names and not await _have_leaders(admin, names):  # noqa: ASYNC110 - Kafka has no event for it
            await asyncio.sleep(TOPIC_POLL_S)
    return created


async def survey(
    settings: KafkaSettings,
    window_s: float,
    others: Sequence[Topic] = (),
    *,
    connect_timeout_s: float = CONNECT_TIMEOUT_S,
) -> Survey:
    """Reads the limits of the brokers, of the topics of the bus, and of `others`. `window_s`: as above.

    Raises:
        BusError: no broker can be reached.
    """
    wanted = kafka_limits.topics(settings, window_s, others)
    async with _admin_client(addresses(settings), connect_timeout_s) as admin:
        found = await _found(admin, wanted)
        configs = await _configs(admin, ConfigResourceType.BROKER, await _brokers(admin))
    problems = [problem for topic in wanted for problem in kafka_limits.topic_problems(topic, found[topic.name])]
    for broker, config in configs.items():
        problems += kafka_limits.broker_problems(broker, config, settings, window_s)
    return Survey(wanted, found, tuple(problems))


async def _create(admin: AIOKafkaAdminClient, brokers: str, topics: Sequence[Topic]) -> list[str]:
    created = []
    # -1: the cluster's default replication, which NewTopic only allows together with an assignment.
    answer = await admin.create_topics([NewTopic(each.name, each.partitions, -1, {}, each.config) for each in topics])
    for name, code, *reason in answer.topic_errors:
        if code == 0:
            created.append(name)
        elif for_code(code) is not TopicAlreadyExistsError:  # another process was faster
            raise BusError(
                f"Kafka at {brokers} does not create the topic {name} ({for_code(code).__name__}: "
                f"{''.join(filter(None, reason))}): grant the permission, or create the topic yourself"
            )
    return created


async def _have_leaders(admin: AIOKafkaAdminClient, names: Sequence[str]) -> bool:
    topics = [topic["partitions"] for topic in await admin.describe_topics(list(names))]
    return all(partitions and all(each["leader"] >= 0 for each in partitions) for partitions in topics)


async def _found(admin: AIOKafkaAdminClient, wanted: Sequence[Topic]) -> dict[str, TopicState | None]:
    existing = await admin.list_topics()
    names = [topic.name for topic in wanted if topic.name in existing]
    configs = await _configs(admin, ConfigResourceType.TOPIC, names)
    found: dict[str, TopicState | None] = {topic.name: None for topic in wanted}
    for described in await admin.describe_topics(names) if names else ():
        partitions = described["partitions"]
        replicas = min((len(each["replicas"]) for each in partitions), default=0)
        leaderless = sum(each["leader"] < 0 for each in partitions)
        name = described["topic"]
        found[name] = TopicState(len(partitions), replicas, leaderless, configs.get(name, {}))
    return found


async def _brokers(admin: AIOKafkaAdminClient) -> list[str]:
    """The ids of all brokers; none if the broker does not report them."""
    try:
        cluster = await admin.describe_cluster()
    except KafkaError:
        return []
    return sorted(str(broker["node_id"]) for broker in cluster["brokers"])


async def _configs(admin: AIOKafkaAdminClient, kind: ConfigResourceType, names: Sequence[str]) -> dict[str, Any]:
    """Configurations by name; empty if the broker does not report them, or we may not read them."""
    configs: dict[str, dict[str, str]] = {name: {} for name in names}
    if names:
        try:
            answers = await admin.describe_configs([ConfigResource(kind, name) for name in names])
        except KafkaError:
            return configs
        for answer in answers:
            for _, _, _, name, entries in answer.resources:
                configs[name] = {entry[0]: entry[1] for entry in entries if entry[1] is not None}
    return configs


@asynccontextmanager
async def _admin_client(brokers: str, timeout_s: float) -> AsyncIterator[AIOKafkaAdminClient]:
    async with connecting(brokers, timeout_s):
        admin = AIOKafkaAdminClient(bootstrap_servers=brokers)
        try:
            await admin.start()
            yield admin
        finally:
            await admin.close()
