"""Kinds of Milvus index, their parameters, and which to build for how many vectors. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class IndexKind:
    """A kind of index: what it is built with, what it is searched with, and which of that may not be below top_k."""

    build: Mapping[str, int]
    search: Mapping[str, int]
    at_least_top_k: str | None = None


# Measured by `make bench-index` (deploy/README.md has the table).
KINDS: dict[str, IndexKind] = {
    "FLAT": IndexKind({}, {}),
    # With ef 64 one in fifteen of the segments with a cosine of .6, as under a voice, miss their place, with 256 one
    # in 250, for half a millisecond of processor time each.
    "HNSW": IndexKind({"M": 16, "efConstruction": 100}, {"ef": 256}, "ef"),
    "IVF_FLAT": IndexKind({"nlist": 1024}, {"nprobe": 128}),
    "IVF_SQ8": IndexKind({"nlist": 1024}, {"nprobe": 128}),
    "IVF_PQ": IndexKind({"nlist": 1024, "m": 32, "nbits": 8}, {"nprobe": 128}),  # Milvus Lite has no PQ
    "DISKANN": IndexKind({}, {"search_list": 64}, "search_list"),  # a server on Linux with a fast disk
}
AUTO = "auto"
# In Milvus Lite a look at all of so many costs a segment 2 ms of processor time, and misses nothing. With fewer, HNSW
# is hardly faster, and takes five times as long to build.
MAX_FLAT_VECTORS = 200_000


def choose_kind(setting: str, uri: str, n_vectors: int) -> str:
    """The kind of index that is built for so many vectors."""
    if setting != AUTO:
        return setting
    return "FLAT" if _is_file(uri) and n_vectors <= MAX_FLAT_VECTORS else "HNSW"


def _is_file(uri: str) -> bool:
    """Whether pymilvus takes it for a file of Milvus Lite."""
    return uri.endswith(".db")
