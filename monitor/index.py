"""The Milvus adapter: candidate positions for vectors. Milvus is derived; PostgreSQL can fill it again at any time."""

from __future__ import annotations

import asyncio
import logging
import os
import warnings
from collections.abc import AsyncIterator, Callable, Collection
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ingest.redact import redact
from monitor.core.match import Hit
from monitor.core.segments import HOP_SAMPLES
from monitor.detect.detector import DetectorInfo
from monitor.errors import DependencyError

# A row's key is track << 24 | segment: 2^24 segments of 0.5 s are 97 days, and 2^39 tracks are left.
SEGMENT_BITS = 24
INSERT_ROWS = 4096  # one gRPC message of 2 MB; larger ones gain nothing
SEARCH_ROWS = 256
# Measured on Milvus Lite: HNSW M16 ef64 finds what FLAT finds at half the time; all servers have it.
INDEX = {"index_type": "HNSW", "metric_type": "IP", "params": {"M": 16, "efConstruction": 100}}
EF = 64
# For one call. Without it pymilvus tries for minutes, while nothing that waits for this thread could be stopped.
CALL_TIMEOUT_S = 20
CONNECT_TIMEOUT_S = 10
LOAD_TIMEOUT_S = 300  # a server reads all vectors into memory first: 40 s for a million
# Milvus Lite goes through each row that is not yet in a file by itself, in every search: 3 s after 200,000 were put in,
# with its own 128 MB. With 2 MB, 3,000 rows, that is 0.05 s, and inserting takes no longer. Read when it is imported.
os.environ.setdefault("MILVUS_LITE_MEMTABLE_MEMORY_LIMIT_BYTES", "2000000")


class Index:
    """One collection, for one model. All calls run one after the other in a thread of its own (rule 10)."""

    def __init__(self, client: Any, info: DetectorInfo, run: Callable[..., Any]) -> None:
        self._client = client
        self._info = info
        self._run = run
        self.collection = f"airtrace_{info.name}_{info.checksum}"

    async def insert(self, track: int, vectors: NDArray[np.float32]) -> None:
        """Puts a track's vectors in, shape (k, dimensions); rows of zeros are silence and left out. Idempotent."""
        audible = np.flatnonzero(vectors.any(axis=1))
        for part in np.array_split(audible, range(INSERT_ROWS, len(audible), INSERT_ROWS)):
            rows = [
                {"id": track << SEGMENT_BITS | int(segment), "track": track, "vector": vectors[segment]}
                for segment in part
            ]
            if rows:
                await self._call("upsert", self.collection, rows)

    async def delete(self, track: int) -> None:
        """Takes a track out."""
        await self._call("delete", self.collection, filter=f"track == {track}")

    async def search(
        self, vectors: NDArray[np.float32], top_k: int, but: Collection[int] = ()
    ) -> list[tuple[Hit, ...]]:
        """The best candidates of every query, shape (n, dimensions), best first.

        Where tracks are left out by `but`, what another process has just put in is found, too, which takes longer.
        """
        found: list[tuple[Hit, ...]] = []
        options: dict[str, Any] = {"limit": top_k}
        # A server refuses fewer than are asked for.
        options["search_params"] = {"metric_type": "IP", "params": {"ef": max(EF, top_k)}}
        if but:
            options |= {"filter": f"track not in {sorted(but)}", "consistency_level": "Strong"}
        for first in range(0, len(vectors), SEARCH_ROWS):
            part = vectors[first : first + SEARCH_ROWS]
            rows = await self._call("search", self.collection, data=list(part), **options)
            found.extend(tuple(_hit(row) for row in hits) for hits in rows)
        return found

    async def count(self) -> int:
        """How many vectors are in."""
        options = {"filter": "", "output_fields": ["count(*)"], "consistency_level": "Strong"}
        rows = await self._call("query", self.collection, **options)
        return int(rows[0]["count(*)"])

    async def recreate(self) -> None:
        """Throws the collection away and makes an empty one."""
        await self._call("drop_collection", self.collection)
        await self._guard(self._open)

    async def open(self) -> None:
        """Makes the collection if it is not there, and loads it."""
        await self._guard(self._open)

    def _open(self) -> None:
        if not self._client.has_collection(self.collection, timeout=CALL_TIMEOUT_S):
            self._create()
        if not self._client.list_indexes(self.collection, timeout=CALL_TIMEOUT_S):  # new, or making it was interrupted
            params = self._client.prepare_index_params()
            params.add_index("vector", **INDEX)
            # There is nothing in yet, so there is nothing to wait for: not half a second, as pymilvus does.
            self._client.create_index(self.collection, params, sync=False, timeout=CALL_TIMEOUT_S)
        self._client.load_collection(self.collection, timeout=LOAD_TIMEOUT_S)

    def _create(self) -> None:
        from pymilvus import DataType

        schema = self._client.create_schema(auto_id=False, description=f"{self._info}")
        schema.add_field("id", DataType.INT64, is_primary=True)
        schema.add_field("track", DataType.INT64)
        schema.add_field("vector", DataType.FLOAT_VECTOR, dim=self._info.dimensions)
        self._client.create_collection(self.collection, schema=schema, timeout=CALL_TIMEOUT_S)

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


def _hit(row: Any) -> Hit:
    track, segment = row["id"] >> SEGMENT_BITS, row["id"] & ((1 << SEGMENT_BITS) - 1)
    return Hit(track=track, position=segment * HOP_SAMPLES, score=float(row["distance"]))


@asynccontextmanager
async def opened(uri: str, token: str | None, info: DetectorInfo) -> AsyncIterator[Index]:
    """Connects to a Milvus server, or opens a Milvus Lite file.

    Raises:
        DependencyError: it is not there, or another process has the file.
    """
    executor = ThreadPoolExecutor(1, thread_name_prefix="milvus")
    loop = asyncio.get_running_loop()

    async def run(action: Callable[[], Any]) -> Any:
        return await loop.run_in_executor(executor, action)

    try:
        client = await run(lambda: _connect(uri, token))
        index = Index(client, info, run)
        try:
            await index.open()
            yield index
        finally:
            await run(lambda: _disconnect(client, uri))
    finally:
        executor.shutdown(wait=True)


def _connect(uri: str, token: str | None) -> Any:
    from pymilvus import MilvusClient  # a second of import: only where it is used
    from pymilvus.exceptions import MilvusException

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


def _is_file(uri: str) -> bool:
    """Whether pymilvus takes it for a file of Milvus Lite."""
    return uri.endswith(".db")
