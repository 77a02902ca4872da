"""The Milvus adapter does the same on Milvus Lite and on a server.

The server is that of AIRTRACE_TEST_MILVUS=http://host:port, or else one of the wheel milvus, which this module starts.
"""

from __future__ import annotations

import asyncio
import os
import socket
import subprocess
import sys
import time
import uuid
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import numpy as np
import pytest
from milvus_lite.server_manager import server_manager_instance

from monitor.core.segments import HOP_SAMPLES
from monitor.detect.detector import DetectorInfo
from monitor.errors import DependencyError
from monitor.local import servers
from monitor.storage import milvus_client, milvus_indexes
from monitor.storage.milvus import INSERT_ROWS, SEARCH_ROWS, Index, open_index

DIMENSIONS = 16
LITE, SERVER = "lite", "server"
SEEN_S = 10


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The URI of a Milvus server."""
    if named := os.environ.get("AIRTRACE_TEST_MILVUS"):
        yield named
        return
    if not servers.has_milvus():
        pytest.skip("no Milvus server: set AIRTRACE_TEST_MILVUS=http://host:port, or pip install milvus==2.3.5")
    started, uri = servers.milvus(tmp_path_factory.mktemp("milvus"))
    with servers.serving(started):
        yield uri


@pytest.fixture(params=[LITE, SERVER])
def uri(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == LITE:
        return str(tmp_path / "milvus.db")
    named: str = request.getfixturevalue("server")
    return named


@pytest.fixture
def info() -> DetectorInfo:
    """A model, and so a collection, of this test's own."""
    return DetectorInfo("fingerprint", "test", uuid.uuid4().hex[:12], DIMENSIONS)


@pytest.fixture
async def index(uri: str, info: DetectorInfo) -> AsyncIterator[Index]:
    async with open_index(uri, None, info) as opened:
        yield opened
        await opened.drop()


def vectors(n: int, seed: int = 1) -> np.ndarray:
    drawn = np.random.default_rng(seed).normal(size=(n, DIMENSIONS)).astype(np.float32)
    return drawn / np.linalg.norm(drawn, axis=1, keepdims=True)


async def best(index: Index, query: np.ndarray) -> list[tuple[int, int] | None]:
    """Track and segment of the best hit of each vector."""
    answers = await index.search(query, 3)
    return [(hits[0].track, hits[0].position // HOP_SAMPLES) if hits else None for hits in answers]


async def assert_found(index: Index, query: np.ndarray, expected: list[tuple[int, int]]) -> None:
    """The best hits are as expected soon: a server may take a moment to see new rows."""
    deadline = time.monotonic() + SEEN_S
    while (there := await best(index, query)) != expected:
        assert time.monotonic() < deadline, f"the best hits are {there}, not {expected}"
        await asyncio.sleep(0.05)


async def test_vectors_are_found_at_their_positions(index: Index) -> None:
    one, two = vectors(40, 1), vectors(40, 2)
    await index.insert(1, one)
    await index.insert(2**38, two)  # the greatest key
    await assert_found(index, two, [(2**38, i) for i in range(40)])
    await assert_found(index, one, [(1, i) for i in range(40)])
    hits = (await index.search(one[7:8], 3))[0]
    assert len(hits) == 3
    assert hits[0].score == pytest.approx(1, abs=1e-3)
    assert [hit.score for hit in hits] == sorted((hit.score for hit in hits), reverse=True)


async def test_inserting_twice_changes_nothing(index: Index) -> None:
    for _ in range(2):
        await index.insert(5, vectors(30))
    assert await index.count() == 30
    assert len({hit.position for hit in (await index.search(vectors(1), 10))[0]}) == 10


async def test_a_deleted_track_is_gone_and_the_others_stay(index: Index) -> None:
    await index.insert(1, vectors(30, 1))
    await index.insert(2, vectors(20, 2))
    await assert_found(index, vectors(30, 1)[:1], [(1, 0)])
    await index.delete(1)
    assert await index.count() == 20
    await assert_found(index, vectors(20, 2)[:1], [(2, 0)])
    deadline = time.monotonic() + SEEN_S
    while await best(index, vectors(30, 1)[:1]) == [(1, 0)]:
        assert time.monotonic() < deadline, "the server does not see what was deleted"
    assert {hit.track for hits in await index.search(vectors(30, 1), 5) for hit in hits} == {2}
    await index.delete(1)
    assert await index.count() == 20


async def test_silence_is_not_inserted(index: Index) -> None:
    with_silence = vectors(30)
    with_silence[10:20] = 0
    await index.insert(1, with_silence)
    await index.insert(2, np.zeros((5, DIMENSIONS), np.float32))
    assert await index.count() == 20
    await assert_found(index, with_silence[20:22], [(1, 20), (1, 21)])


async def test_more_rows_than_fit_in_one_message(index: Index) -> None:
    many = vectors(INSERT_ROWS + 500)
    await index.insert(3, many)
    assert await index.count() == len(many)
    places = [0, INSERT_ROWS - 1, INSERT_ROWS, len(many) - 1]
    await assert_found(index, many[places], [(3, place) for place in places])


async def test_more_queries_than_fit_in_one_message_keep_their_order(index: Index) -> None:
    known = vectors(SEARCH_ROWS + 20)
    await index.insert(1, known)
    await assert_found(index, known, [(1, i) for i in range(len(known))])


async def test_as_many_candidates_as_the_settings_allow_are_found(index: Index) -> None:
    await index.insert(1, vectors(300))
    await assert_found(index, vectors(300), [(1, i) for i in range(300)])
    assert len((await index.search(vectors(1), 100))[0]) == 100


async def test_tracks_are_left_out_and_new_rows_are_found_at_once(index: Index) -> None:
    one, two, three = vectors(30, 1), vectors(30, 2), vectors(30, 3)
    for track, own in ((1, one), (2, two), (3, three)):
        await index.insert(track, own)
    found = await index.search(three[4:6], 30, but=[1, 2])  # no waiting: this search is consistent
    assert [{hit.track for hit in hits} for hits in found] == [{3}, {3}]
    assert [hits[0].position // HOP_SAMPLES for hits in found] == [4, 5]
    assert {hit.track for hits in await index.search(three, 5, but=[3]) for hit in hits} == {1, 2}


def test_milvus_lite_flushes_rows_into_files_early() -> None:
    """Otherwise a search after many inserts takes seconds."""
    ask = "import monitor.storage.milvus, milvus_lite.constants as lite; print(lite.MEMTABLE_MEMORY_LIMIT)"
    asked = subprocess.run([sys.executable, "-c", ask], capture_output=True, text=True, timeout=60, check=True)
    assert int(asked.stdout) == 2_000_000


async def test_an_empty_index_finds_nothing(index: Index) -> None:
    assert await index.count() == 0
    assert await index.search(vectors(3), 5) == [(), (), ()]


async def test_a_new_collection_is_empty_and_usable(index: Index) -> None:
    await index.insert(1, vectors(30))
    await index.recreate()
    assert await index.count() == 0
    await index.insert(2, vectors(10))
    await assert_found(index, vectors(10)[:2], [(2, 0), (2, 1)])


async def test_inserted_vectors_are_there_when_the_index_is_opened_again(uri: str, info: DetectorInfo) -> None:
    async with open_index(uri, None, info) as first:
        await first.insert(1, vectors(30))
    async with open_index(uri, None, info) as again:
        assert await again.count() == 30
        await assert_found(again, vectors(30)[4:6], [(1, 4), (1, 5)])
        await again.drop()


async def test_models_do_not_see_each_others_vectors(index: Index, uri: str, info: DetectorInfo) -> None:
    await index.insert(1, vectors(30))
    other = DetectorInfo(info.name, info.version, uuid.uuid4().hex[:12], DIMENSIONS)
    if uri.startswith("http"):
        async with open_index(uri, None, other) as second:
            assert await second.count() == 0
            await second.drop()
    else:  # one file, one process, one client
        second = index.for_model(other)
        await second.open()
        assert await second.count() == 0


async def test_a_collection_whose_creation_was_interrupted_is_completed(uri: str, info: DetectorInfo) -> None:
    async with open_index(uri, None, info) as first:
        await first.drop()
        await first._milvus.run(first._create_collection)  # killed before the vector index was there
    async with open_index(uri, None, info) as again:
        await again.insert(1, vectors(30))
        await assert_found(again, vectors(30)[:1], [(1, 0)])
        await again.drop()


async def test_processes_that_start_together_create_one_collection(server: str, info: DetectorInfo) -> None:
    async def one(track: int) -> int:
        async with open_index(server, None, info) as opened:
            await opened.insert(track, vectors(10, track))
            return await opened.count()

    assert max(await asyncio.gather(one(1), one(2), one(3))) == 30
    async with open_index(server, None, info) as opened:
        await opened.drop()


# Rows, and a new index that replaces the old one


async def test_the_rows_of_a_range_of_tracks_are_sorted(index: Index) -> None:
    for track in (3, 1, 2, 2**38):
        await index.insert(track, vectors(20, track % 100))
    rows = await index.rows(1, 3)
    assert rows.ids.tolist() == [track << 24 | segment for track in (1, 2) for segment in range(20)]
    assert rows.vectors == pytest.approx(np.concatenate([vectors(20, 1), vectors(20, 2)]))
    assert rows.n_rows == 40
    assert len((await index.rows(3, None)).ids) == 40
    nothing = await index.rows(4, 2**38)
    assert (len(nothing.ids), nothing.vectors.shape, nothing.n_rows) == (0, (0, DIMENSIONS), 0)


async def test_a_duplicate_row_is_counted_and_deleted_with_its_track(index: Index, uri: str) -> None:
    await index.insert(1, vectors(20))
    await index._milvus.call("insert", index._alias, [{"id": 1 << 24, "track": 1, "vector": vectors(1)[0]}])
    rows = await index.rows(1, 2)
    if uri.startswith("http"):  # a server of 2.3.5 returns neither of the two
        assert rows.n_rows == 21 > len(rows.ids)
    else:  # Milvus Lite replaces the first one
        assert rows.n_rows == len(rows.ids) == 20
    await index.delete(1)
    assert await index.count() == 0


async def test_a_new_index_replaces_the_old_one_for_other_processes_too(
    index: Index, uri: str, info: DetectorInfo
) -> None:
    await index.insert(1, vectors(30, 1))
    before = index.collection
    for track in (2, 3):  # twice: the two names are used alternately
        async with index.rebuilding() as new:
            await new.insert(track, vectors(30, track))
            await assert_found(index, vectors(30, track - 1)[:1], [(track - 1, 0)])
        assert await index.count() == 30
        await assert_found(index, vectors(30, track)[4:6], [(track, 4), (track, 5)])
    assert index.collection == before
    await index.insert(4, vectors(10, 4))
    if uri.startswith("http"):
        async with open_index(uri, None, info) as other:
            assert (await other.count(), other.collection) == (40, before)


@pytest.mark.skipif("AIRTRACE_TEST_MILVUS" in os.environ, reason="another server may be able to build it")
async def test_a_kind_that_a_server_cannot_build_is_abandoned_and_the_old_index_stays(
    server: str, info: DetectorInfo
) -> None:
    async with open_index(server, None, info) as index:
        await index.insert(1, vectors(30))
    async with open_index(server, None, info, "DISKANN") as index:  # which the server of the wheel lacks
        with pytest.raises(DependencyError, match=r"5000 vectors that are not indexed.*DISKANN"):
            async with index.rebuilding(stalled_s=3) as new:
                await new.insert(2, vectors(5000))  # fewer need no index
        assert not await index._milvus.call("has_collection", new.collection)
        await assert_found(index, vectors(30)[:1], [(1, 0)])
        await index.drop()


@pytest.mark.parametrize(
    ("setting", "where", "n_vectors", "kind"),
    [
        ("auto", "milvus.db", 0, "FLAT"),
        ("auto", "milvus.db", 10**6, "HNSW"),
        ("auto", "http://milvus:19530", 0, "HNSW"),
        ("IVF_SQ8", "milvus.db", 0, "IVF_SQ8"),
    ],
)
def test_the_kind_of_index_depends_on_the_server_and_the_number_of_vectors(
    setting: str, where: str, n_vectors: int, kind: str
) -> None:
    assert milvus_indexes.choose_kind(setting, where, n_vectors) == kind


# Files and servers that cannot be opened

OPEN = """
import asyncio, sys
from monitor.storage import milvus
from monitor.detect.detector import DetectorInfo
from monitor.errors import DependencyError

async def main():
    async with milvus.open_index(sys.argv[1], None, DetectorInfo("fingerprint", "test", "c0ffee", 16)) as opened:
        print(await opened.count())

try:
    asyncio.run(main())
except DependencyError as error:
    sys.exit(f"airtrace: {error}")
"""


def opened_elsewhere(path: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-c", OPEN, str(path)], capture_output=True, text=True, timeout=60)


async def test_a_second_process_on_the_same_file_prints_one_clear_line(tmp_path: Path) -> None:
    path = tmp_path / "milvus.db"
    async with open_index(str(path), None, DetectorInfo("fingerprint", "test", "c0ffee", 16)) as first:
        await first.insert(1, vectors(20))
        refused = await asyncio.to_thread(opened_elsewhere, path)
    assert refused.returncode == 1
    assert refused.stderr == f"airtrace: {path} cannot be opened: another process has opened it, or it is damaged\n"
    # Closing releases the file at once, not when the process ends.
    after = await asyncio.to_thread(opened_elsewhere, path)
    assert (after.returncode, after.stdout, after.stderr) == (0, "20\n", "")


async def test_a_file_in_a_missing_folder_is_refused(tmp_path: Path, info: DetectorInfo) -> None:
    with pytest.raises(DependencyError, match="cannot be opened"):
        async with open_index(str(tmp_path / "none" / "milvus.db"), None, info):
            pass


def test_the_default_timeouts_are_short_enough_for_a_person() -> None:
    assert milvus_client.CONNECT_TIMEOUT_S <= 12
    assert milvus_client.CALL_TIMEOUT_S <= 30


@pytest.mark.parametrize("who", ["nobody", "someone else"])
async def test_a_server_that_does_not_answer_is_a_dependency_error_in_time(who: str, info: DetectorInfo) -> None:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        if who == "someone else":
            listener.listen()  # accepts connections and never answers
        uri = f"http://admin:hunter2@127.0.0.1:{listener.getsockname()[1]}"
        begun = time.monotonic()
        with pytest.raises(DependencyError, match="AIRTRACE_MILVUS__URI") as caught:
            async with open_index(uri, None, info, connect_timeout_s=1):
                pass
        assert time.monotonic() - begun < 10
    assert "hunter2" not in str(caught.value)


async def test_a_server_that_goes_away_is_a_dependency_error_in_time(
    tmp_path: Path, info: DetectorInfo, capfd: pytest.CaptureFixture[str]
) -> None:
    uri = str(tmp_path / "milvus.db")
    async with open_index(uri, None, info, call_timeout_s=1) as opened:
        await opened.insert(1, vectors(10))
        server_manager_instance.release_server(uri)
        begun = time.monotonic()
        with pytest.raises(DependencyError, match="Milvus"):
            await opened.search(vectors(1), 1)
        assert time.monotonic() - begun < 15
    assert "Traceback" not in capfd.readouterr().err


async def test_without_milvus_lite_the_message_says_which_extra_to_install(
    tmp_path: Path, info: DetectorInfo, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "milvus_lite", None)
    with pytest.raises(DependencyError, match=r"pip install 'airtrace\[embedded\]'.*AIRTRACE_MILVUS__URI"):
        async with open_index(str(tmp_path / "milvus.db"), None, info):
            pass
