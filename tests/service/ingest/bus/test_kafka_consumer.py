"""Workers on a real Kafka share the partitions, take over from dead ones, and report problems."""

from __future__ import annotations

import asyncio
import os
import random
import signal
import socket
import sys
import uuid
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator
from contextlib import aclosing, asynccontextmanager, suppress
from pathlib import Path

import pytest
from aiokafka import TopicPartition
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType

from ingest import metrics
from ingest.bus.kafka import STOP_TIMEOUT_S, KafkaBus
from ingest.bus.kafka_client import MAX_RECORD_BYTES
from ingest.bus.port import Delivery
from ingest.errors import BusError
from ingest.settings import KafkaSettings
from ingest.wire import Window
from tests.broker import kafka_settings, running
from tests.waiting import until

DEADLINE_S = 60
SESSION_TIMEOUT_S = 6  # the minimum that brokers allow by default

# A worker in a process of its own, to be killed: commits each record, then prints it.
WORKER = """
import asyncio, sys
from ingest.bus.kafka import KafkaBus
from ingest.settings import KafkaSettings
async def main():
    async def committed(partition):
        print("asked", partition, flush=True)
    async with KafkaBus(KafkaSettings.model_validate_json(sys.argv[1])) as bus:
        async for batch in bus.deliveries(committed):
            for delivery in batch:
                await bus.commit({delivery.partition: delivery.offset + 1})
                print("took", delivery.partition, flush=True)
asyncio.run(main())
"""

# Reads and publishes, then closes when it gets a line of input, with a record still in flight.
CLOSER = """
import asyncio, contextlib, sys
from ingest.bus.kafka import KafkaBus
from ingest.settings import KafkaSettings
from ingest.wire import Gap, GapReason
async def main():
    async def committed(partition):
        return None
    async with KafkaBus(KafkaSettings.model_validate_json(sys.argv[1])) as bus:
        await bus.publish(Gap(1, 0, 1, GapReason.ENDED))
        async for batch in bus.deliveries(committed):
            break
        print("ready", flush=True)
        await asyncio.to_thread(sys.stdin.readline)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(0.5):
                await bus.publish(Gap(1, 1, 2, GapReason.ENDED))
    print("closed", flush=True)
asyncio.run(main())
"""


class Consumer:
    """A worker that keeps and commits all that it receives."""

    def __init__(self, settings: KafkaSettings) -> None:
        self.bus = KafkaBus(settings)
        self.asked: list[int] = []
        self.taken: list[Delivery] = []

    async def run(self) -> None:
        async with self.bus, aclosing(self.bus.deliveries(self._start_at)) as batches:
            async for batch in batches:
                for delivery in batch:
                    await self.bus.commit({delivery.partition: delivery.offset + 1})
                self.taken += batch

    async def _start_at(self, partition: int) -> int | None:
        self.asked.append(partition)
        return None


@asynccontextmanager
async def consuming(settings: KafkaSettings) -> AsyncIterator[Consumer]:
    consumer = Consumer(settings)
    async with asyncio.TaskGroup() as group:
        task = group.create_task(consumer.run(), name="consumer")
        yield consumer
        task.cancel()


def window(stream: int, sequence: int) -> Window:
    return Window(stream, uuid.UUID(int=stream), sequence, 0, sequence, bytes(64))


def records(consumer: Consumer) -> set[tuple[int, int]]:
    return {(each.record.stream_id, each.record.sequence) for each in consumer.taken if isinstance(each.record, Window)}


STREAMS = range(1, 20)  # enough for every partition to have some


async def test_two_workers_share_the_partitions_and_replay_after_each_rebalance(kafka: str) -> None:
    settings = kafka_settings(kafka, partitions=4, session_timeout_s=SESSION_TIMEOUT_S)
    async with KafkaBus(settings) as ingest, consuming(settings) as first:
        await until(lambda: len(first.asked) == 4)
        async with consuming(settings) as second:
            await until(lambda: len(second.asked) == 2)
            await until(lambda: len(first.asked) == 6)
            assert sorted(first.asked[4:] + second.asked) == [0, 1, 2, 3]
            for stream in STREAMS:
                await ingest.publish(window(stream, 0))
            await until(lambda: {each.partition for each in second.taken} == set(second.asked))
            await until(lambda: records(first) | records(second) == {(stream, 0) for stream in STREAMS})
            assert not records(first) & records(second)
        await until(lambda: len(first.asked) == 10)
        for stream in STREAMS:
            await ingest.publish(window(stream, 1))
        await until(lambda: records(first) >= {(stream, 1) for stream in STREAMS})


async def test_the_partitions_of_a_killed_worker_move_to_the_other(kafka: str) -> None:
    settings = kafka_settings(kafka, partitions=2, session_timeout_s=SESSION_TIMEOUT_S)
    async with asyncio.timeout(DEADLINE_S), KafkaBus(settings) as ingest, _program(WORKER, settings) as process:
        await _says(process, "asked 0")
        async with consuming(settings) as survivor:
            await until(lambda: survivor.asked)
            own = survivor.asked[0]
            for stream in STREAMS:
                await ingest.publish(window(stream, 0))
            await _says(process, f"took {1 - own}")
            process.kill()
            for stream in STREAMS:
                await ingest.publish(window(stream, 1))
            await until(lambda: records(survivor) >= {(stream, 1) for stream in STREAMS})
            assert survivor.asked[0] == own
            assert sorted(survivor.asked[1:]) == [0, 1]


@pytest.mark.parametrize("is_finished", [True, False])
async def test_a_batch_is_finished_before_its_partitions_are_revoked_unless_that_takes_too_long(
    kafka: str, is_finished: bool
) -> None:
    settings = kafka_settings(kafka, partitions=2, session_timeout_s=SESSION_TIMEOUT_S)
    async with asyncio.timeout(DEADLINE_S), KafkaBus(settings) as bus, KafkaBus(settings) as ingest:
        for stream in STREAMS:
            await ingest.publish(window(stream, 0))
        async with aclosing(bus.deliveries(at_committed)) as batches:
            taken = list(await anext(batches))
            while len(taken) < len(STREAMS):
                taken += await anext(batches)
            ends = {each.partition: each.offset + 1 for each in taken}
            revoking = revocation(bus)
            async with consuming(settings) as other:
                await revoking.wait()
                assert bus.holds(0)
                assert bus.holds(1)
                assert not other.asked
                if is_finished:
                    await bus.commit(ends)
                else:
                    await until(lambda: other.asked)
                    assert not bus.holds(0)
                    assert not bus.holds(1)
                    await bus.commit(ends)
                seen: set[tuple[int, int]] = set()
                going_on = asyncio.create_task(collected(batches, seen), name="going-on")
                await until(lambda: other.asked)
                for stream in STREAMS:
                    await ingest.publish(window(stream, 1))
                await until(lambda: {(stream, 1) for stream in STREAMS} <= records(other) | seen)
                going_on.cancel()
                with suppress(asyncio.CancelledError):
                    await going_on
                again = {key for key in records(other) | seen if key[1] == 0}
    assert again == (set() if is_finished else {(stream, 0) for stream in STREAMS})


async def test_a_batch_that_takes_very_long_keeps_its_partitions_and_no_more_records_come_in(
    kafka: str,
) -> None:
    max_poll_s = 2.0
    settings = kafka_settings(kafka, partitions=1, session_timeout_s=SESSION_TIMEOUT_S)
    async with asyncio.timeout(DEADLINE_S), KafkaBus(settings, hold_s=0.3, max_poll_s=max_poll_s) as bus:
        await bus.publish(window(1, 0))
        async with aclosing(bus.deliveries(at_committed)) as batches:
            (first,) = await anext(batches)
            revoking = revocation(bus)
            await bus.publish(window(1, 1))
            await until(lambda: metrics.PAUSED._value.get() == 1)
            with suppress(TimeoutError):  # longer than two heartbeats, after which it would have left the group
                await asyncio.wait_for(revoking.wait(), max_poll_s + SESSION_TIMEOUT_S)
            assert not revoking.is_set()
            assert bus.holds(0)
            await bus.commit({0: first.offset + 1})
            assert [each.record for each in await anext(batches)] == [window(1, 1)]
            assert metrics.PAUSED._value.get() == 0


async def test_records_that_come_soon_after_one_another_form_one_batch(kafka: str) -> None:
    settings = kafka_settings(kafka, partitions=4, batch_records=len(STREAMS) - 2, batch_wait_s=3)
    async with asyncio.timeout(DEADLINE_S), KafkaBus(settings) as bus:
        batches = bus.deliveries(at_committed)
        for stream in STREAMS:
            await bus.publish(window(stream, 0))
        sizes = [len(await anext(batches)), len(await anext(batches))]
        await batches.aclose()
    assert sizes == [len(STREAMS) - 2, 2]


def revocation(bus: KafkaBus) -> asyncio.Event:
    """An event that is set when partitions are about to be revoked."""
    begun, ours = asyncio.Event(), bus._consumer._assignment
    original = ours.on_partitions_revoked

    async def noted(revoked) -> None:  # type: ignore[no-untyped-def]
        begun.set()
        await original(revoked)

    ours.on_partitions_revoked = noted
    return begun


async def at_committed(_: int) -> int | None:
    return None


async def collected(batches, seen: set[tuple[int, int]]) -> None:  # type: ignore[no-untyped-def]
    """Keeps reading."""
    async for batch in batches:
        seen |= {(each.record.stream_id, each.record.sequence) for each in batch}


async def test_no_record_is_delivered_before_the_start_of_the_replay_is_known(kafka: str) -> None:
    settings = kafka_settings(kafka, partitions=1)
    async with KafkaBus(settings) as bus:
        for sequence in range(3):
            await bus.publish(window(1, sequence))
        answer: asyncio.Future[int | None] = asyncio.get_running_loop().create_future()
        asked = asyncio.Event()

        async def slowly(_: int) -> int | None:
            asked.set()
            return await answer

        async with asyncio.TaskGroup() as group, aclosing(bus.deliveries(slowly)) as batches:
            first = group.create_task(anext(batches), name="first-batch")
            await asked.wait()
            await bus.publish(window(1, 3))
            assert not first.done()
            answer.set_result(None)
            assert (await first)[0].record == window(1, 0)


async def test_a_failing_start_at_ends_the_deliveries_and_is_called_again(kafka: str) -> None:
    settings = kafka_settings(kafka, partitions=1)

    async def broken(_: int) -> int | None:
        raise ConnectionError("no database")

    async def committed(_: int) -> int | None:
        return None

    async with KafkaBus(settings) as bus:
        await bus.publish(window(1, 0))
        with pytest.raises(ConnectionError):
            async with aclosing(bus.deliveries(broken)) as batches:
                await anext(batches)
        async with aclosing(bus.deliveries(committed)) as batches:
            assert [each.record for each in await anext(batches)] == [window(1, 0)]


async def test_a_commit_for_a_partition_that_moved_is_ignored(kafka: str) -> None:
    settings = kafka_settings(kafka, partitions=2)
    async with consuming(settings) as other:
        await until(lambda: len(other.asked) == 2)
        async with KafkaBus(settings) as bus:
            await bus.commit({0: 100, 1: 100})
        async with KafkaBus(settings) as ingest:
            for stream in STREAMS:
                await ingest.publish(window(stream, 0))
        await until(lambda: len(records(other)) == len(STREAMS))
    async with consuming(settings) as later:
        await until(lambda: len(later.asked) == 2)
        async with KafkaBus(settings) as ingest:
            await ingest.publish(window(1, 1))
        await until(lambda: later.taken)
        assert records(later) == {(1, 1)}


async def test_a_process_that_only_publishes_joins_no_group(kafka: str) -> None:
    settings = kafka_settings(kafka)
    async with KafkaBus(settings) as bus, admin(kafka) as client:
        await bus.publish(window(1, 0))
        assert settings.group not in {name for name, *_ in await client.list_consumer_groups()}


async def test_topics_are_created_as_the_settings_say_and_never_changed_later(kafka: str) -> None:
    settings = kafka_settings(kafka, partitions=3, retention_h=0.5)
    async with KafkaBus(settings):
        pass
    async with KafkaBus(settings.model_copy(update={"partitions": 5, "retention_h": 1})), admin(kafka) as client:
        described = await client.describe_topics([settings.windows_topic, settings.rejected_topic])
        assert {each["topic"]: len(each["partitions"]) for each in described} == {
            settings.windows_topic: 3,
            settings.rejected_topic: 1,
        }
        config = await config_of(client, settings.windows_topic)
    assert config["retention.ms"] == "1800000"
    assert config["max.message.bytes"] == str(MAX_RECORD_BYTES)


async def test_many_processes_may_create_the_topics_at_once(kafka: str) -> None:
    settings = kafka_settings(kafka)
    async with asyncio.TaskGroup() as group:
        for number in range(4):
            group.create_task(_opened_once(settings), name=f"bus-{number}")


async def test_a_topic_that_cannot_be_created_is_named(kafka: str) -> None:
    settings = kafka_settings(kafka, windows_topic="no spaces in topics")
    with pytest.raises(BusError, match=r"does not create the topic no spaces in topics .*create the topic yourself"):
        await _opened_once(settings)


async def test_a_record_that_is_too_large_for_the_topic_is_a_bus_error(kafka: str) -> None:
    settings = kafka_settings(kafka)
    noise = random.Random(1).randbytes(MAX_RECORD_BYTES)  # FLAC makes it no smaller
    too_large = Window(1, uuid.UUID(int=1), 0, 0, 0, noise)
    async with KafkaBus(settings) as bus:
        with pytest.raises(BusError, match=r"does not accept a record of 2\d{6} bytes"):
            await bus.publish(too_large)
        await bus.publish(window(1, 0))


async def test_a_producer_with_broken_sequence_numbers_is_replaced(kafka: str) -> None:
    """A batch that was given up while brokers were away leaves a hole in an idempotent producer's numbers."""
    settings = kafka_settings(kafka, partitions=1)
    async with asyncio.timeout(DEADLINE_S), KafkaBus(settings) as bus:
        await bus.publish(window(1, 0))
        broken = bus._producer
        assert broken is not None
        broken._txn_manager.increment_sequence_number(TopicPartition(settings.windows_topic, 0), 3)
        with pytest.raises(BusError, match="OutOfOrderSequenceNumber"):
            await bus.publish(window(1, 1))
        for sequence in (1, 2):
            await bus.publish(window(1, sequence))
        assert bus._producer is not broken
        async with consuming(settings) as worker:
            await until(lambda: records(worker) == {(1, 0), (1, 1), (1, 2)})


@pytest.mark.parametrize("prefix", ["", "user:secret@"])
async def test_brokers_that_cannot_be_reached_are_named_without_credentials(
    prefix: str, caplog: pytest.LogCaptureFixture, capsys: pytest.CaptureFixture[str]
) -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))  # bound but not listening: refuses
        address = f"127.0.0.1:{unused.getsockname()[1]}"
        with pytest.raises(
            BusError, match=f"^Kafka at {address} cannot be reached: .*AIRTRACE_KAFKA__BOOTSTRAP"
        ) as failed:
            await _opened_once(kafka_settings(prefix + address))
    assert "secret" not in f"{failed.value!r} {caplog.text} {capsys.readouterr()}"


async def test_a_broker_that_never_answers_is_abandoned() -> None:
    hung_up = asyncio.Event()

    async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()
        writer.close()
        await writer.wait_closed()
        hung_up.set()

    async with await asyncio.start_server(silent, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        with pytest.raises(BusError, match="no broker answers"):
            async with KafkaBus(kafka_settings(f"127.0.0.1:{port}"), connect_timeout_s=0.5):
                pass
        async with asyncio.timeout(DEADLINE_S):
            await hung_up.wait()


async def test_a_bus_closes_in_time_while_its_brokers_are_away(kafka: str, tmp_path: Path) -> None:
    with running(tmp_path) as own:
        if own.pid is None:
            pytest.skip("the broker that AIRTRACE_TEST_KAFKA names is not ours to kill")
        async with asyncio.timeout(DEADLINE_S), _program(CLOSER, kafka_settings(own.bootstrap)) as process:
            await _says(process, "ready")
            os.kill(own.pid, signal.SIGKILL)
            assert process.stdin is not None
            process.stdin.write(b"\n")
            async with asyncio.timeout(4 * STOP_TIMEOUT_S):
                await _says(process, "closed")
            assert await process.wait() == 0


async def _opened_once(settings: KafkaSettings) -> None:
    async with KafkaBus(settings):
        pass


@asynccontextmanager
async def _program(text: str, settings: KafkaSettings) -> AsyncIterator[Process]:
    arguments = ("-c", text, settings.model_dump_json())
    process = await asyncio.create_subprocess_exec(sys.executable, *arguments, stdin=PIPE, stdout=PIPE)
    try:
        yield process
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()


async def _says(process: Process, line: str) -> None:
    assert process.stdout is not None
    while said := (await process.stdout.readline()).decode():
        if said.strip() == line:
            return
    raise AssertionError(f"it ended without: {line}")


@asynccontextmanager
async def admin(bootstrap: str) -> AsyncIterator[AIOKafkaAdminClient]:
    client = AIOKafkaAdminClient(bootstrap_servers=bootstrap)
    await client.start()
    try:
        yield client
    finally:
        await client.close()


async def config_of(client: AIOKafkaAdminClient, topic: str) -> dict[str, str]:
    (answer,) = await client.describe_configs([ConfigResource(ConfigResourceType.TOPIC, topic)])
    (resource,) = answer.resources
    return {entry[0]: entry[1] for entry in resource[4]}
