"""The Milvus adapter: candidate positions for vectors. Milvus is derived; PostgreSQL can fill it again at any time."""

from __future__ import annotations

import asyncio
import logging
import warnings
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from typing import Any

import numpy as np
from numpy.typing import NDArray

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
SEARCH = {"metric_type": "IP", "params": {"ef": 64}}


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

    async def search(self, vectors: NDArray[np.float32], top_k: int) -> list[tuple[Hit, ...]]:
        """The best candidates of every query, shape (n, dimensions), best first."""
        found: list[tuple[Hit, ...]] = []
        for first in range(0, len(vectors), SEARCH_ROWS):
            part = vectors[first : first + SEARCH_ROWS]
            rows = await self._call("search", self.collection, data=list(part), limit=top_k, search_params=SEARCH)
            found.extend(tuple(_hit(row) for row in hits) for hits in rows)
        return found

    async def count(self) -> int:
        """How many vectors are in."""
        rows = await self._call("query", self.collection, filter="", output_fields=["count(*)"])
        return int(rows[0]["count(*)"])

    async def recreate(self) -> None:
        """Throws the collection away and makes an empty one."""
        await self._call("drop_collection", self.collection)
        await self._guard(self._create)

    async def open(self) -> None:
        """Makes the collection if it is not there, and loads it."""
        await self._guard(self._open)

    def _open(self) -> None:
        if not self._client.has_collection(self.collection):
            self._create()
        self._client.load_collection(self.collection)

    def _create(self) -> None:
        from pymilvus import DataType

        schema = self._client.create_schema(auto_id=False, description=f"{self._info}")
        schema.add_field("id", DataType.INT64, is_primary=True)
        schema.add_field("track", DataType.INT64)
        schema.add_field("vector", DataType.FLOAT_VECTOR, dim=self._info.dimensions)
        params = self._client.prepare_index_params()
        params.add_index("vector", **INDEX)
        self._client.create_collection(self.collection, schema=schema, index_params=params)
        self._client.load_collection(self.collection)

    async def _call(self, method: str, *arguments: Any, **options: Any) -> Any:
        return await self._guard(lambda: getattr(self._client, method)(*arguments, **options))

    async def _guard(self, action: Callable[[], Any]) -> Any:
        from pymilvus.exceptions import MilvusException

        try:
            return await self._run(action)
        except MilvusException as error:
            raise DependencyError(f"Milvus: {error.message}") from error


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
            await run(client.close)
    finally:
        executor.shutdown(wait=True)


def _connect(uri: str, token: str | None) -> Any:
    from pymilvus import MilvusClient  # a second of import: only where it is used
    from pymilvus.exceptions import MilvusException

    # Milvus Lite's server inside this process logs a traceback for a call that it lacks and pymilvus does without, and
    # warns where a system has no runtime directory.
    logging.getLogger("grpc._server").setLevel(logging.CRITICAL)
    warnings.filterwarnings("ignore", message="XDG_RUNTIME_DIR")
    try:
        return MilvusClient(uri, token=token or "", timeout=10)
    except MilvusException as error:
        raise DependencyError(f"Milvus at {uri} cannot be opened: {error.message}") from error
