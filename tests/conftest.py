"""What tests of several folders share: one section per part. Servers are children of the session and end with it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests import broker, panns

# Kafka


@pytest.fixture(scope="session")
def any_kafka(tmp_path_factory: pytest.TempPathFactory) -> Iterator[broker.Broker]:
    """The best broker that is to be had, for what any broker can do."""
    try:
        with broker.running(tmp_path_factory.mktemp("kafka")) as found:
            yield found
    except broker.NoBroker as reason:
        pytest.skip(str(reason))


@pytest.fixture(scope="session")
def kafka(any_kafka: broker.Broker) -> str:
    """host:port of Apache Kafka itself."""
    if not any_kafka.is_real:
        pytest.skip("Tansu cannot do this: set AIRTRACE_TEST_KAFKA=host:port, or have ../shared/kafka and java")
    return any_kafka.bootstrap


# PANNs


@pytest.fixture(scope="session")
def panns_checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkpoint of the true shape and size that tells tunes from babble; made once a session."""
    pytest.importorskip("torch", reason="PANNs is not installed: pip install 'airtrace[panns]'")
    pytest.importorskip("torchlibrosa", reason="PANNs is not installed: pip install 'airtrace[panns]'")
    return panns.make(tmp_path_factory.mktemp("panns") / "Cnn14.pth")
