"""The Milvus adapter: finds candidate positions for vectors. The index can be rebuilt from PostgreSQL at any time."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Collection
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import structlog
from numpy.typing import NDArray

from monitor.core.segments import Hit
from monitor.detect.detector import DetectorInfo
from monitor.errors import DependencyError
from monitor.storage.candidate_search import SEGMENT_BITS, hit_of, row_id
from monitor.storage.milvus_client import (
    CALL_TIMEOUT_S,
    CONNECT_TIMEOUT_S,
    LOAD_TIMEOUT_S,
    MilvusConnection,
    open_connection,
)
from monitor.storage.milvus_indexes import AUTO, KINDS, IndexKind, choose_kind

log = structlog.get_logger(__name__)

INSERT_ROWS = 4096  # one gRPC message of 2 MB; larger ones are not faster
SEARCH_ROWS = 256
MAX_DELETE_ROUNDS = 5  # one round and a check usually suffice
# A server reports no progress within a file, which has up to 4 million vectors: 40 minutes of one core. A server that
# cannot build a kind of index at all retries forever.
STALLED_S, INDEXED_POLL_S = 2 * 3600, 0.2


@dataclass(frozen=True, slots=True)
class Rows:
    """The rows of a range of tracks in the index.

    ids: int64 (n,), unique, ascending; vectors: float32 (n, dimensions); n_rows: including duplicates.
    """

    ids: NDArray[np.int64]
    vectors: NDArray[np.float32]
    n_rows: int


class Index:
    """The vectors of one model. It is opened by `open`, or else by the first call.

    Searches use an alias. It stands for one of two collections: a new index is built in the other one, which then takes
    its place while searches continue. All methods raise DependencyError if Milvus refuses a call or does not answer.
    """

    def __init__(
        self,
        milvus: MilvusConnection,
        info: DetectorInfo,
        choose: Callable[[int], str] = lambda n_vectors: "HNSW",
    ) -> None:
        """`choose`: the kind of index to build for a number of vectors."""
        self._milvus = milvus
        self._info = info
        self._choose = choose
        self.kind = choose(0)  # once it is open: the kind that exists
        first = f"airtrace_{info.name}_{info.checksum}"
        self._names = (first, f"{first}_2")
        self._alias = f"{first}_now"
        self._target = self._alias
        self._is_open = False
        self.collection = first

    def for_model(self, info: DetectorInfo) -> Index:
        """The index of another model over the same connection; call its `open` before use."""
        return Index(self._milvus, info, self._choose)

    async def insert(self, track: int, vectors: NDArray[np.float32]) -> None:
        """Inserts a track's vectors, float32 (k, dimensions), except rows of zeros, which are silence. Idempotent."""
        audible = np.flatnonzero(vectors.any(axis=1))
        for part in np.array_split(audible, range(INSERT_ROWS, len(audible), INSERT_ROWS)):
            rows = [{"id": row_id(track, int(segment)), "track": track, "vector": vectors[segment]} for segment in part]
            if rows:
                await self._call("upsert", self._target, rows)

    async def delete(self, track: int) -> None:
        """Deletes a track's vectors."""
        # By keys that were looked up: a delete by filter may miss rows that a server inserted a moment ago.
        options: dict[str, Any] = {
            "filter": _range(track, track + 1),
            "output_fields": ["id"],
            "consistency_level": "Strong",
        }
        # Repeat until there are none: a server does not return all keys if one exists twice.
        for _ in range(MAX_DELETE_ROUNDS):
            ids = [int(row["id"]) for row in await self._call("query", self._target, **options)]
            if not ids:
                return
            for first in range(0, len(ids), INSERT_ROWS):
                await self._call("delete", self._target, ids=ids[first : first + INSERT_ROWS])
        raise DependencyError(f"Milvus still returns track {track} after deletion: check its log and retry")

    async def search(
        self, vectors: NDArray[np.float32], top_k: int, but: Collection[int] = ()
    ) -> list[tuple[Hit, ...]]:
        """See `CandidateSearch`. With `but`, it also sees what other processes just inserted, and is slower."""
        found: list[tuple[Hit, ...]] = []
        options: dict[str, Any] = {"limit": top_k}
        options["search_params"] = {"metric_type": "IP", "params": self._search_params(top_k)}
        if but:
            options |= {"filter": f"track not in {sorted(but)}", "consistency_level": "Strong"}
        for first in range(0, len(vectors), SEARCH_ROWS):
            part = vectors[first : first + SEARCH_ROWS]
            rows = await self._call("search", self._target, data=list(part), **options)
            found.extend(tuple(hit_of(row["id"], float(row["distance"])) for row in hits) for hits in rows)
        return found

    async def count(self) -> int:
        """The number of vectors in the index."""
        return await self._count("")

    async def rows(self, first: int, beyond: int | None) -> Rows:
        """The rows of the tracks starting at `first`, up to but excluding `beyond` if that is given."""
        within = _range(first, beyond)
        options: dict[str, Any] = {"filter": within, "output_fields": ["id", "vector"], "consistency_level": "Strong"}
        found = sorted(await self._call("query", self._target, **options), key=lambda row: int(row["id"]))
        ids = np.array([row["id"] for row in found], np.int64)
        vectors = np.array([row["vector"] for row in found], np.float32).reshape(-1, self._info.dimensions)
        return Rows(ids, vectors, await self._count(within))

    async def open(self) -> None:
        """Creates the collection if it does not exist, and loads it."""
        await self._milvus.run(self._open)

    async def recreate(self) -> None:
        """Deletes everything and creates an empty collection."""
        await self.drop()
        await self.open()

    async def drop(self) -> None:
        """Deletes everything."""
        await self._milvus.run(self._drop)

    @asynccontextmanager
    async def rebuilding(self, n_vectors: int = 0, stalled_s: float = STALLED_S) -> AsyncIterator[Index]:
        """Yields an empty index, which replaces this one if the block succeeds.

        The caller holds the catalog's lock, so that nothing is inserted into this one in the meantime.

        Args:
            n_vectors: how many it will have, which decides its kind.
            stalled_s: see `wait_until_indexed`.
        """
        await self._milvus.run(self._open_once)
        current, name = self.collection, next(name for name in self._names if name != self.collection)
        new = self.for_model(self._info)
        new.kind = self._choose(n_vectors)
        new.collection = new._target = name
        await self._milvus.run(new._create_empty)
        try:
            yield new
            await new.wait_until_indexed(stalled_s)
        except DependencyError:
            with suppress(DependencyError):  # otherwise a server continues to build it
                await self._call("drop_collection", name)
            raise
        await self._call("alter_alias", name, self._alias)
        self.collection, self.kind = name, new.kind
        await self._call("drop_collection", current)

    async def wait_until_indexed(self, stalled_s: float = STALLED_S) -> None:
        """Waits until all inserted vectors are indexed, because searches are slower until then.

        Raises:
            DependencyError: Milvus indexed no vector for `stalled_s` seconds.
        """
        await self._call("flush", self._target, timeout_s=LOAD_TIMEOUT_S)
        before, since_s = -1, time.monotonic()
        while (pending := await self._count_pending()) > 0:
            if pending != before:
                before, since_s = pending, time.monotonic()
            if time.monotonic() - since_s > stalled_s:
                raise DependencyError(
                    f"Milvus makes no progress with {pending} vectors that are not indexed: check in its log whether "
                    f"it can build {self.kind} at all, or choose another kind with AIRTRACE_MILVUS__INDEX"
                )
            await asyncio.sleep(INDEXED_POLL_S)

    def suggest_kind(self, n_vectors: int) -> None:
        """Logs a suggestion if a rebuild would choose another kind of index for this number of vectors."""
        if self._is_open and self.kind != (better := self._choose(n_vectors)):
            log.info("index.other_kind", there=self.kind, better=better, next="airtrace catalog rebuild")

    async def _call(self, method: str, *arguments: Any, **options: Any) -> Any:
        def call() -> Any:
            self._open_once()
            return self._milvus.call_now(method, *arguments, **options)

        return await self._milvus.run(call)

    # In the connection's thread

    def _open_once(self) -> None:
        if not self._is_open:
            self._open()

    def _open(self) -> None:
        self.collection = self._current()
        self._create_if_missing()
        if not self._has(self._alias):
            self._create_alias()
        self._is_open = True

    def _has(self, name: str) -> bool:
        return bool(self._milvus.call_now("has_collection", name))

    def _current(self) -> str:
        """The collection that the alias stands for, or will stand for once it is created."""
        if self._has(self._alias):
            return str(self._milvus.call_now("describe_alias", self._alias)["collection_name"])
        return self._names[0]

    def _create_alias(self) -> None:
        from pymilvus.exceptions import MilvusException

        try:
            self._milvus.call_now("create_alias", self.collection, self._alias)
        except MilvusException:
            if not self._has(self._alias):  # else another process created it first
                raise

    def _create_empty(self) -> None:
        """Creates the collection in place of any that an interrupted attempt left."""
        if self._has(self.collection):
            self._milvus.call_now("drop_collection", self.collection)
        self._create_if_missing()
        self._is_open = True

    def _create_if_missing(self) -> None:
        call = self._milvus.call_now
        if not self._has(self.collection):
            self._create_collection()
        if not call("list_indexes", self.collection):  # it is new, or its creation was interrupted
            # With sync, pymilvus would wait half a second for an index that has no vectors yet.
            call("create_index", self.collection, self._index_params(), sync=False)
        self.kind = str(call("describe_index", self.collection, "vector")["index_type"])
        call("load_collection", self.collection, timeout_s=LOAD_TIMEOUT_S)

    def _create_collection(self) -> None:
        from pymilvus import DataType, MilvusClient

        schema = MilvusClient.create_schema(auto_id=False, description=f"{self._info}")
        schema.add_field("id", DataType.INT64, is_primary=True)
        schema.add_field("track", DataType.INT64)
        schema.add_field("vector", DataType.FLOAT_VECTOR, dim=self._info.dimensions)
        self._milvus.call_now("create_collection", self.collection, schema=schema)

    def _index_params(self) -> Any:
        from pymilvus import MilvusClient

        params = MilvusClient.prepare_index_params()
        build = dict(KINDS[self.kind].build)
        params.add_index("vector", index_type=self.kind, metric_type="IP", params=build)
        return params

    def _drop(self) -> None:
        self._is_open = False
        if self._has(self._alias):
            self._milvus.call_now("drop_alias", self._alias)  # first, as newer servers require
        for name in self._names:
            if self._has(name):
                self._milvus.call_now("drop_collection", name)

    # Parameters and counts

    def _search_params(self, top_k: int) -> dict[str, int]:
        kind = KINDS.get(self.kind, IndexKind({}, {}))
        params = dict(kind.search)
        if kind.at_least_top_k is not None:  # a server refuses less than top_k
            params[kind.at_least_top_k] = max(params[kind.at_least_top_k], top_k)
        return params

    async def _count(self, within: str) -> int:
        options: dict[str, Any] = {"filter": within, "output_fields": ["count(*)"], "consistency_level": "Strong"}
        rows = await self._call("query", self._target, **options)
        return int(rows[0]["count(*)"])

    async def _count_pending(self) -> int:
        described = await self._call("describe_index", self.collection, "vector")
        return int(described["pending_index_rows"])


def _range(first: int, beyond: int | None) -> str:
    """A filter for the rows of the tracks starting at `first`, up to but excluding `beyond` if that is given."""
    low, high = first << SEGMENT_BITS, None if beyond is None else beyond << SEGMENT_BITS
    # Milvus Lite and servers accept keys up to 2^63 - 1.
    return f"id >= {low}" if high is None or high >= 1 << 63 else f"id >= {low} and id < {high}"


@asynccontextmanager
async def open_index(
    uri: str,
    token: str | None,
    info: DetectorInfo,
    kind: str = AUTO,
    *,
    connect_timeout_s: float = CONNECT_TIMEOUT_S,
    call_timeout_s: float = CALL_TIMEOUT_S,
    on_first_call: bool = False,
) -> AsyncIterator[Index]:
    """Connects to a Milvus server, or opens a Milvus Lite file, and opens the index of a model.

    Args:
        uri: http://host:port, or the path of a file that ends in .db.
        token: of the server, if it asks for one.
        info: the model.
        kind: AUTO or a key of KINDS, for an index that is built; an existing index keeps its kind.
        connect_timeout_s: for connecting.
        call_timeout_s: for each call.
        on_first_call: connect and open when it is used: Milvus Lite alone takes a second and 150 MB of memory.

    Raises:
        DependencyError: the server is unreachable, or another process has opened the file.
    """
    async with open_connection(
        uri,
        token,
        connect_timeout_s=connect_timeout_s,
        call_timeout_s=call_timeout_s,
        on_first_call=on_first_call,
    ) as milvus:
        index = Index(milvus, info, partial(choose_kind, kind, uri))
        if not on_first_call:
            await index.open()
        yield index
