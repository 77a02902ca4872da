"""What tests of several folders share, and how a run is split among pytest-xdist's workers."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from xdist.scheduler import LoadScopeScheduling

from tests import broker, panns, shared

# A busy machine is slow, not wrong: pytest's own timeout bounds a test that hangs.
settings.register_profile("airtrace", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("airtrace")

# Acceptance tests that share servers or a long preparation. What takes longest starts first, so that no worker is left
# with it at the end.
GROUPS = {
    "acceptance/test_worker_deaths.py": "cluster",
    "acceptance/test_events.py": "cluster",
    "acceptance/test_servers_away.py": "cluster-outages",
    "acceptance/test_whole_chain.py": "cluster-outages",
    "acceptance/test_demo.py": "demo",
}
ORDER = ("cluster", "cluster-outages", "demo", "acceptance", "service")

# Work units


class Units(LoadScopeScheduling):
    """A unit stays on one worker: a file, or a group. Each other acceptance test may go to any worker."""

    def _split_scope(self, nodeid: str) -> str:
        file = nodeid.partition("::")[0].removeprefix("tests/")
        return GROUPS.get(file) or (nodeid if file.startswith("acceptance/") else file)


# Instead of the mark xdist_group, which pytest-xdist 3.8 stores in an attribute that pytest 9.2 does not have.
@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Units:
    return Units(config, log)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    items.sort(key=_place)


def _place(item: pytest.Item) -> int:
    file = item.path.relative_to(Path(__file__).parent)
    names = (GROUPS.get(file.as_posix(), ""), file.parts[0])
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
