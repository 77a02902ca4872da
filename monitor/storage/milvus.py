"""The Milvus adapter: candidate positions for vectors. Milvus is derived; PostgreSQL can fill it again at any time."""

from __future__ import annotations

import asyncio
import logging
import os
import time
import warnings
from collections.abc import AsyncIterator, Callable, Collection
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from functools import partial
from importlib.util import find_spec
from typing import Any

import numpy as np
import structlog
from numpy.typing import NDArray

from ingest.redact import redact
from monitor.core.segments import HOP_SAMPLES, Hit
from monitor.detect.detector import DetectorInfo
from monitor.errors import DependencyError
from monitor.storage.milvus_indexes import AUTO, KINDS, IndexKind, _is_file, choose_kind

log = structlog.get_logger(__name__)

# A row's key is track << 24 | segment: 2^24 segments of 0.5 s are 97 days, and 2^39 tracks are left.
SEGMENT_BITS = 24
INSERT_ROWS = 4096  # one gRPC message of 2 MB; larger ones gain nothing
SEARCH_ROWS = 256
DELETE_ROUNDS = 5  # one and a look are what it takes
# For one call. Without it pymilvus tries for minutes, while nothing that waits for this thread could be stopped.
CALL_TIMEOUT_S = 20
CONNECT_TIMEOUT_S = 10
LOAD_TIMEOUT_S = 300  # a server reads all vectors into memory first: 40 s for a million
# A server says nothing until it is done with a file, of 4 million vectors at most: 40 min of a core. One that cannot
# build a kind of index at all tries again for ever.
STALLED_S, SETTLE_POLL_S = 2 * 3600, 0.2
# Milvus Lite goes through each row that is not yet in a file by itself, in every search: 3 s after 200,000 were put in,
# with its own 128 MB. With 2 MB, 3,000 rows, that is 0.05 s, and inserting takes no longer. Read when it is imported.
os.environ.setdefault("MILVUS_LITE_MEMTABLE_MEMORY_LIMIT_BYTES", "2000000")


@dataclass(frozen=True, slots=True)
class Rows:
    """What the index has of a range of tracks.

    ids: int64 (n,), each once, ascending; vectors: float32 (n, dimensions); n_rows: with those that are there twice.
    """

    ids: NDArray[np.int64]
    vectors: NDArray[np.float32]
    n_rows: int


class Index:
    """The vectors of one model. All calls run one after the other in a thread of its own (rule 10).

    Everybody goes by an alias. It stands for one of two collections: a new index is built in the other one, which then
    takes its place, while searches go on.
    """

    def __init__(
        self,
        client: Any,
        info: DetectorInfo,
        run: Callable[..., Any],
        choose: Callable[[int], str] = lambda n_vectors: "HNSW",
    ) -> None:
        """`choose`: the kind to build for a number of vectors."""
        self._client = client
        self._info = info
        self._run = run
        self._choose = choose
        self.kind = choose(0)  # once it is open: what there is
        first = f"airtrace_{info.name}_{info.checksum}"
        self._names = (first, f"{first}_2")
        self._alias = f"{first}_now"
        self._target = self._alias
        self.collection = first

    def beside(self, info: DetectorInfo) -> Index:
        """The index of another model over the same connection; the caller opens it."""
        return Index(self._client, info, self._run, self._choose)

    async def insert(self, track: int, vectors: NDArray[np.float32]) -> None:
        """Puts a track's vectors in, shape (k, dimensions); rows of zeros are silence and left out. Idempotent."""
        audible = np.flatnonzero(vectors.any(axis=1))
        for part in np.array_split(audible, range(INSERT_ROWS, len(audible), INSERT_ROWS)):
            rows = [
                {"id": track << SEGMENT_BITS | int(segment), "track": track, "vector": vectors[segment]}
                for segment in part
            ]
            if rows:
                await self._call("upsert", self._target, rows)

    async def delete(self, track: int) -> None:
        """Takes a track out."""
        # By keys that were looked up: what a filter finds on a server may lack what was put in a moment ago.
        options = {"filter": _range(track, track + 1), "output_fields": ["id"], "consistency_level": "Strong"}
        # And again until there is none: a server does not name all of them where one is there twice.
        for _ in range(DELETE_ROUNDS):
            ids = [int(row["id"]) for row in await self._call("query", self._target, **options)]
            if not ids:
                return
            for first in range(0, len(ids), INSERT_ROWS):
                await self._call("delete", self._target, ids=ids[first : first + INSERT_ROWS])
        raise DependencyError(f"Milvus does not let go of track {track}: see its log, and try again")

    async def search(
        self, vectors: NDArray[np.float32], top_k: int, but: Collection[int] = ()
    ) -> list[tuple[Hit, ...]]:
        """The best candidates of every query, shape (n, dimensions), best first.

        Where tracks are left out by `but`, what another process has just put in is found, too, which takes longer.
        """
        found: list[tuple[Hit, ...]] = []
        options: dict[str, Any] = {"limit": top_k}
        options["search_params"] = {"metric_type": "IP", "params": self._search_params(top_k)}
        if but:
            options |= {"filter": f"track not in {sorted(but)}", "consistency_level": "Strong"}
        for first in range(0, len(vectors), SEARCH_ROWS):
            part = vectors[first : first + SEARCH_ROWS]
            rows = await self._call("search", self._target, data=list(part), **options)
            found.extend(tuple(_hit(row) for row in hits) for hits in rows)
        return found

    async def count(self) -> int:
        """How many vectors are in."""
        return await self._count("")

    async def rows(self, first: int, beyond: int | None) -> Rows:
        """What is in of tracks from `first` on; up to `beyond`, which is not among them."""
        within = _range(first, beyond)
        options = {"filter": within, "output_fields": ["id", "vector"], "consistency_level": "Strong"}
        found = sorted(await self._call("query", self._target, **options), key=lambda row: int(row["id"]))
        ids = np.array([row["id"] for row in found], np.int64)
        vectors = np.array([row["vector"] for row in found], np.float32).reshape(-1, self._info.dimensions)
        return Rows(ids, vectors, await self._count(within))

    async def recreate(self) -> None:
        """Throws everything away and makes an empty collection."""
        await self.drop()
        await self._guard(self._open)

    async def drop(self) -> None:
        """Throws everything away."""
        await self._guard(self._drop)

    @asynccontextmanager
    async def building(self, n_vectors: int = 0) -> AsyncIterator[Index]:
        """An empty index beside this one, of the kind for so many vectors, which takes its place when all went well.

        The caller holds the catalog's lock, so that nobody puts anything into this one meanwhile.
        """
        current, name = self.collection, next(name for name in self._names if name != self.collection)
        new = Index(self._client, self._info, self._run, self._choose)
        new.kind = self._choose(n_vectors)
        new.collection = new._target = name
        await self._guard(new._begin)
        try:
            yield new
            await new.settle()
        except DependencyError:
            with suppress(DependencyError):  # a server would go on with it
                await self._guard(lambda: self._client.drop_collection(name, timeout=CALL_TIMEOUT_S))
            raise
        await self._guard(lambda: self._client.alter_alias(name, self._alias, timeout=CALL_TIMEOUT_S))
        self.collection, self.kind = name, new.kind
        await self._guard(lambda: self._client.drop_collection(current, timeout=CALL_TIMEOUT_S))

    async def settle(self) -> None:
        """Waits until everything that was put in is in the index itself: only then it is as fast as it gets.

        Raises:
            DependencyError: Milvus gets no further with it.
        """
        await self._guard(lambda: self._client.flush(self._target, timeout=LOAD_TIMEOUT_S))
        before, since_s = -1, time.monotonic()
        while (waiting := await self._guard(self._waiting)) > 0:
            if waiting != before:
                before, since_s = waiting, time.monotonic()
            if time.monotonic() - since_s > STALLED_S:
                raise DependencyError(
                    f"Milvus gets no further with {waiting} vectors that are not indexed: see its log, whether it can "
                    f"build {self.kind} at all, and build another with AIRTRACE_MILVUS__INDEX if not"
                )
            await asyncio.sleep(SETTLE_POLL_S)

    def _waiting(self) -> int:
        described = self._client.describe_index(self.collection, "vector", timeout=CALL_TIMEOUT_S)
        return int(described["pending_index_rows"])

    async def open(self) -> None:
        """Makes the collection if it is not there, and loads it."""
        await self._guard(self._open)

    def advise(self, n_vectors: int) -> None:
        """Says so where another kind of index would be built for so many vectors."""
        if self.kind != (better := self._choose(n_vectors)):
            log.info("index.other_kind", there=self.kind, better=better, next="airtrace catalog rebuild")

    def _open(self) -> None:
        self.collection = self._current()
        self._prepare()
        if not self._client.has_collection(self._alias, timeout=CALL_TIMEOUT_S):
            self._name()

    def _current(self) -> str:
        """The collection that the alias stands for, or is going to."""
        if self._client.has_collection(self._alias, timeout=CALL_TIMEOUT_S):
            described = self._client.describe_alias(self._alias, timeout=CALL_TIMEOUT_S)
            return str(described["collection_name"])
        return self._names[0]

    def _name(self) -> None:
        from pymilvus.exceptions import MilvusException

        try:
            self._client.create_alias(self.collection, self._alias, timeout=CALL_TIMEOUT_S)
        except MilvusException:
            if not self._client.has_collection(self._alias, timeout=CALL_TIMEOUT_S):  # else another process was faster
                raise

    def _begin(self) -> None:
        """An empty collection, whatever an attempt that was broken off has left under its name."""
        if self._client.has_collection(self.collection, timeout=CALL_TIMEOUT_S):
            self._client.drop_collection(self.collection, timeout=CALL_TIMEOUT_S)
        self._prepare()

    def _prepare(self) -> None:
        if not self._client.has_collection(self.collection, timeout=CALL_TIMEOUT_S):
            self._create()
        if not self._client.list_indexes(self.collection, timeout=CALL_TIMEOUT_S):  # new, or making it was interrupted
            params = self._client.prepare_index_params()
            build = dict(KINDS[self.kind].build)
            params.add_index("vector", index_type=self.kind, metric_type="IP", params=build)
            # There is nothing in yet, so there is nothing to wait for: not half a second, as pymilvus does.
            self._client.create_index(self.collection, params, sync=False, timeout=CALL_TIMEOUT_S)
        described = self._client.describe_index(self.collection, "vector", timeout=CALL_TIMEOUT_S)
        self.kind = str(described["index_type"])
        self._client.load_collection(self.collection, timeout=LOAD_TIMEOUT_S)

    def _drop(self) -> None:
        if self._client.has_collection(self._alias, timeout=CALL_TIMEOUT_S):
            self._client.drop_alias(self._alias, timeout=CALL_TIMEOUT_S)  # first: newer servers insist on it
        for name in self._names:
            if self._client.has_collection(name, timeout=CALL_TIMEOUT_S):
                self._client.drop_collection(name, timeout=CALL_TIMEOUT_S)

    def _create(self) -> None:
        from pymilvus import DataType

        schema = self._client.create_schema(auto_id=False, description=f"{self._info}")
        schema.add_field("id", DataType.INT64, is_primary=True)
        schema.add_field("track", DataType.INT64)
        schema.add_field("vector", DataType.FLOAT_VECTOR, dim=self._info.dimensions)
        self._client.create_collection(self.collection, schema=schema, timeout=CALL_TIMEOUT_S)

    def _search_params(self, top_k: int) -> dict[str, int]:
        kind = KINDS.get(self.kind, IndexKind({}, {}))
        params = dict(kind.search)
        if kind.at_least_top_k is not None:  # a server refuses fewer than are asked for
            params[kind.at_least_top_k] = max(params[kind.at_least_top_k], top_k)
        return params

    async def _count(self, within: str) -> int:
        options = {"filter": within, "output_fields": ["count(*)"], "consistency_level": "Strong"}
        rows = await self._call("query", self._target, **options)
        return int(rows[0]["count(*)"])

    async def _call(self, method: str, *arguments: Any, **options: Any) -> Any:
        options["timeout"] = CALL_TIMEOUT_S
        return await self._guard(lambda: getattr(self._client, method)(*arguments, **options))

    async def _guard(self, action: Callable[[], Any]) -> Any:
        from grpc import RpcError  # type: ignore[import-untyped]
        from pymilvus.exceptions import MilvusException

        try:
            return await self._run(action)
        except MilvusException as error:
            raise DependencyError(f"Milvus: {error.message}") from error
        except RpcError as error:  # pymilvus lets some through, a time-out among them
            raise DependencyError(f"Milvus: {error.code().name} {error.details()}") from error


def _range(first: int, beyond: int | None) -> str:
    """The rows of tracks from `first` on, as a filter."""
    low, high = first << SEGMENT_BITS, None if beyond is None else beyond << SEGMENT_BITS
    # Milvus Lite and servers take keys up to 2^63 - 1.
    return f"id >= {low}" if high is None or high >= 1 << 63 else f"id >= {low} and id < {high}"


def _hit(row: Any) -> Hit:
    track, segment = row["id"] >> SEGMENT_BITS, row["id"] & ((1 << SEGMENT_BITS) - 1)
    return Hit(track=track, position=segment * HOP_SAMPLES, score=float(row["distance"]))


@asynccontextmanager
async def open_index(uri: str, token: str | None, info: DetectorInfo, kind: str = AUTO) -> AsyncIterator[Index]:
    """Connects to a Milvus server, or opens a Milvus Lite file. `kind`, AUTO or of KINDS, is for what is built anew.

    Raises:
        DependencyError: it is not there, or another process has the file.
    """
    executor = ThreadPoolExecutor(1, thread_name_prefix="milvus")
    loop = asyncio.get_running_loop()

    async def run(action: Callable[[], Any]) -> Any:
        return await loop.run_in_executor(executor, action)

    try:
        client = await run(lambda: _connect(uri, token))
        index = Index(client, info, run, partial(choose_kind, kind, uri))
        try:
            await index.open()
            yield index
        finally:
            await run(lambda: _disconnect(client, uri))
    finally:
        executor.shutdown(wait=True)


def import_client() -> None:
    """Imports pymilvus, which takes a second: call this in a thread while other parts start."""
    import pymilvus  # noqa: F401


def _require_lite() -> None:
    if find_spec("milvus_lite") is None:
        raise DependencyError(
            "Milvus Lite is not installed: pip install 'airtrace[embedded]', or name a server in AIRTRACE_MILVUS__URI"
        )


def _connect(uri: str, token: str | None) -> Any:
    from pymilvus import MilvusClient  # a second of import: only where it is used
    from pymilvus.exceptions import MilvusException

    if _is_file(uri):
        _require_lite()

    # All three log a traceback for every failed call, which we raise as an error anyway, and Milvus Lite's server for
    # each that it lacks and pymilvus does without; it warns where a system has no runtime directory.
    for name in ("pymilvus", "grpc._server", "milvus_lite.server_manager"):
        logging.getLogger(name).setLevel(logging.CRITICAL)
    warnings.filterwarnings("ignore", message="XDG_RUNTIME_DIR")
    try:
        return MilvusClient(uri, token=token or "", timeout=CONNECT_TIMEOUT_S)
    except MilvusException as error:
        if _is_file(uri):
            raise DependencyError(f"{uri} cannot be opened: another process has it, or it is damaged") from error
        raise DependencyError(
            f"Milvus at {redact(uri)} cannot be reached: see that it runs, or set AIRTRACE_MILVUS__URI"
        ) from error


def _disconnect(client: Any, uri: str) -> None:
    client.close()
    if _is_file(uri):
        # pymilvus leaves this to the end of the process, when the home may be another's already.
        from milvus_lite.server_manager import server_manager_instance  # type: ignore[import-untyped]

        server_manager_instance.release_server(uri)
