"""While Kafka, PostgreSQL or Milvus is away, workers wait. After that, nothing is lost and nothing is duplicated."""

from __future__ import annotations

import random
import time
from collections.abc import Mapping, Sequence

import pytest

from monitor.local.servers import Server
from tests.acceptance import cluster as full
from tests.acceptance.cluster import AWAY_S, Broadcast, Found, Stage, check

pytestmark = pytest.mark.timeout(full.TIMEOUT_S)

HOW = [pytest.param("stopped", marks=pytest.mark.deep), "killed"]


@pytest.mark.parametrize("how", HOW)
def test_nothing_is_lost_while_kafka_is_away(
    stage: Stage, broadcast: Broadcast, undisturbed: Found, chance: random.Random, how: str
) -> None:
    if stage.cluster.broker is None:
        pytest.skip("the broker that AIRTRACE_TEST_KAFKA names is not ours to stop")
    _away(stage, stage.cluster.broker, broadcast, chance, how)
    check(stage.found(), broadcast, undisturbed)


@pytest.mark.parametrize("how", HOW)
def test_nothing_is_lost_while_postgresql_is_away(
    stage: Stage, broadcast: Broadcast, undisturbed: Found, chance: random.Random, how: str
) -> None:
    _away(stage, stage.cluster.postgres, broadcast, chance, how)
    assert any(worker.events("worker.retrying") for worker in stage.workers), "nothing was away"
    check(stage.found(), broadcast, undisturbed)


def test_nothing_is_lost_while_milvus_is_away(
    stage: Stage, broadcast: Broadcast, undisturbed: Found, chance: random.Random
) -> None:
    _away(stage, stage.cluster.milvus, broadcast, chance, "stopped", ({"AIRTRACE_MILVUS__SEARCH": "milvus"}, {}))
    by_milvus, in_memory = stage.workers
    assert by_milvus.events("worker.retrying"), "nothing was away"
    assert in_memory.events("search.in_memory")
    assert not in_memory.events("worker.retrying")
    check(stage.found(), broadcast, undisturbed)


def _away(
    stage: Stage,
    server: Server,
    broadcast: Broadcast,
    chance: random.Random,
    how: str,
    workers: Sequence[Mapping[str, str]] = ({}, {}),
) -> None:
    for settings in workers:
        stage.worker(**settings)
    with stage.fed(broadcast) as feed:
        feed.wait_for(chance.uniform(0.2, 0.5))
        try:
            server.kill() if how == "killed" else server.stop()
            time.sleep(AWAY_S)  # the outage itself, not a wait for something
        finally:
            server.start()
    stage.wait_until_done(broadcast)
    stage.stop()  # each must still run, and end with exit code 0
