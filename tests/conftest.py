"""What tests of several folders share, and how a run is split among pytest-xdist's workers."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests import broker, panns, shared

# What takes longest starts first, so that no worker is left with it at the end.
ORDER = ("cluster", "cluster-outages", "demo", "acceptance", "service")

# Work units


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The tests of a file stay on one worker, as does a named group; each acceptance test may go anywhere."""
    for item in items:
        file = item.path.relative_to(Path(__file__).parent).as_posix()
        if item.get_closest_marker("xdist_group") is None and not file.startswith("acceptance/"):
            item.add_marker(pytest.mark.xdist_group(file))
    items.sort(key=_place)


def _place(item: pytest.Item) -> int:
    group = item.get_closest_marker("xdist_group")
    names = (group.args[0] if group else "", item.path.relative_to(Path(__file__).parent).parts[0])
    return min(ORDER.index(name) if name in ORDER else len(ORDER) for name in names)


@pytest.hookimpl(tryfirst=True)
def pytest_sessionfinish() -> None:
    """Here and not in a fixture: a worker may wait minutes for the others, which no test's timeout allows."""
    shared.stop_servers()


# Kafka


@pytest.fixture(scope="session")
def any_kafka(tmp_path_factory: pytest.TempPathFactory) -> broker.Broker:
    """The best broker available, for what any broker can do. Other workers use it too: no test may stop it."""
    try:
        return broker.Broker(**shared.server(shared.run_folder(tmp_path_factory), "kafka", _kafka))
    except broker.NoBroker as reason:
        pytest.skip(str(reason))


@contextmanager
def _kafka(folder: Path) -> Iterator[dict[str, Any]]:
    with broker.running(folder) as found:
        yield {"bootstrap": found.bootstrap, "is_real": found.is_real}


@pytest.fixture(scope="session")
def kafka(any_kafka: broker.Broker) -> str:
    """host:port of Apache Kafka itself."""
    if not any_kafka.is_real:
        pytest.skip("Tansu cannot do this: set AIRTRACE_TEST_KAFKA=host:port, or have ../shared/kafka and java")
    return any_kafka.bootstrap


# PANNs


@pytest.fixture(scope="session")
def panns_checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkpoint of the true shape and size that tells tunes from babble, made once a run."""
    pytest.importorskip("torch", reason="PANNs is not installed: pip install 'airtrace[panns]'")
    pytest.importorskip("torchlibrosa", reason="PANNs is not installed: pip install 'airtrace[panns]'")
    return shared.made_once(shared.run_folder(tmp_path_factory) / "Cnn14.pth", panns.make)
