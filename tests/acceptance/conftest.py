"""The installed `airtrace` as real processes: a home for each test, and no process outlives its test."""

from __future__ import annotations

import asyncio
import random
import signal
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from monitor.demo.errors import DemoError
from monitor.demo.music import cache_folder, fetch
from monitor.demo.program import Recording
from monitor.local import servers
from tests import broker, shared
from tests.acceptance import cluster as full
from tests.acceptance.command import Airtrace

# About a minute long, registered in seconds, and without repeats: every position in them is unique.
TRACKS = ("highscoremusic", "Dystopic-Mayhem", "track13", "track22", "track7")
UNKNOWN = "track4"


@pytest.fixture(scope="session", autouse=True)
def _ctrl_c() -> None:
    """A shell starts background jobs with SIGINT ignored, and so would the commands that tests interrupt."""
    if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="session")
def music() -> dict[str, Recording]:
    """Real recordings by file name; `make music` has downloaded them."""
    try:
        sounds = asyncio.run(fetch(cache_folder(), lambda step: None))
    except DemoError as error:
        pytest.skip(f"no music to test with: {error}")
    found = {recording.path.stem: recording for recording in sounds.music}
    if missing := {*TRACKS, UNKNOWN} - found.keys():
        pytest.skip(f"this system's packages lack recordings that the tests use: {sorted(missing)}")
    return found


@pytest.fixture(scope="session")
def catalog(music: dict[str, Recording]) -> tuple[Recording, ...]:
    """The recordings that are tracks in the stocked home."""
    return tuple(music[name] for name in TRACKS)


@pytest.fixture(scope="session")
def unknown(music: dict[str, Recording]) -> Recording:
    """A recording that is not in the catalog."""
    return music[UNKNOWN]


@pytest.fixture
def airtrace(tmp_path: Path) -> Iterator[Airtrace]:
    """The command, with a home that does not exist yet."""
    command = Airtrace(tmp_path / "home", tmp_path)
    yield command
    command.end()


@pytest.fixture(scope="session")
def stock(tmp_path_factory: pytest.TempPathFactory, catalog: tuple[Recording, ...]) -> Path:
    """A home with the catalog, to be copied; created once per run."""

    def make(folder: Path) -> None:
        folder.mkdir()
        command = Airtrace(folder / "home", folder)
        try:
            done = command("tracks", "add", *(track.path for track in catalog))
            assert f"{len(catalog)} added" in done.out
        finally:
            command.end()

    return shared.made_once(shared.run_folder(tmp_path_factory) / "stock", make) / "home"


@pytest.fixture
def stocked(airtrace: Airtrace, stock: Path) -> Airtrace:
    """The command, with a home that has the catalog."""
    subprocess.run(["cp", "-a", stock, airtrace.home], check=True)  # with file owners, which PostgreSQL checks
    return airtrace


# The full mode


@pytest.fixture(scope="session")
def cluster(catalog: tuple[Recording, ...], tmp_path_factory: pytest.TempPathFactory) -> Iterator[full.Cluster]:
    """Apache Kafka, a Milvus server and PostgreSQL, with the catalog in them. Tests may stop them."""
    if not servers.has_milvus():
        pytest.skip("no Milvus server to test with (Milvus Lite is for one process): pip install milvus==2.3.5")
    folder = tmp_path_factory.mktemp("cluster")
    with ExitStack() as stack:
        try:
            kafka = stack.enter_context(broker.running(folder))
        except broker.NoBroker as reason:
            pytest.skip(str(reason))
        if not kafka.is_real:
            pytest.skip("Tansu forgets what it held when it stops: set AIRTRACE_TEST_KAFKA=host:port")
        tracks = [track.path for track in catalog]
        yield stack.enter_context(full.raised(folder, kafka.bootstrap, kafka.server, tracks))


@pytest.fixture
def stage(cluster: full.Cluster, tmp_path: Path) -> Iterator[full.Stage]:
    """A database and topics for one test; no process outlives it."""
    made = cluster.stage(tmp_path, full.STREAMS)
    yield made
    made.airtrace.end()


@pytest.fixture
def chance(request: pytest.FixtureRequest) -> random.Random:
    """Chooses the moments of a kill, the same in each run."""
    return random.Random(f"{full.SEED}/{request.node.name}")


@pytest.fixture(scope="session")
def broadcast(catalog: tuple[Recording, ...], unknown: Recording) -> full.Broadcast:
    """What the kill tests broadcast."""
    known, (strange,) = full.decoded(catalog), full.decoded([unknown]).values()
    return full.broadcast(known, strange, full.STREAMS, full.LENGTH_S, full.SEED)


@pytest.fixture(scope="session")
def undisturbed(
    cluster: full.Cluster, broadcast: full.Broadcast, tmp_path_factory: pytest.TempPathFactory
) -> full.Found:
    """What one worker finds in the broadcast if nothing is killed."""
    stage = cluster.stage(tmp_path_factory.mktemp("undisturbed"), full.STREAMS)
    try:
        stage.worker()
        with stage.fed(broadcast):
            pass
        stage.wait_until_done(broadcast)
        stage.stop()
        return stage.found()
    finally:
        stage.airtrace.end()
