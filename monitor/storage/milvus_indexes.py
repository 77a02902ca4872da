"""Kinds of Milvus index, their parameters, and which one to build for a number of vectors. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class IndexKind:
    """A kind of index: its parameters for building and for searching.

    at_least_top_k: the search parameter that may not be less than top_k, if there is one.
    """

    build: Mapping[str, int]
    search: Mapping[str, int]
    at_least_top_k: str | None = None


# Measured by `make bench-index` (deploy/README.md has the table).
KINDS: dict[str, IndexKind] = {
    "FLAT": IndexKind({}, {}),
    # With ef 64, a search misses one in 15 segments with a cosine of .6, as below a voice. With 256 it misses one in
    # 250, and takes half a millisecond of processor time for each.
    "HNSW": IndexKind({"M": 16, "efConstruction": 100}, {"ef": 256}, "ef"),
    "IVF_FLAT": IndexKind({"nlist": 1024}, {"nprobe": 128}),
    "IVF_SQ8": IndexKind({"nlist": 1024}, {"nprobe": 128}),
    "IVF_PQ": IndexKind({"nlist": 1024, "m": 32, "nbits": 8}, {"nprobe": 128}),  # not in Milvus Lite
    "DISKANN": IndexKind({}, {"search_list": 64}, "search_list"),  # a server on Linux with a fast disk
}
AUTO = "auto"
# An exhaustive search of this many vectors in Milvus Lite takes 2 ms of processor time for each segment and misses
# nothing. With fewer vectors, HNSW is hardly faster, and takes five times as long to build.
MAX_FLAT_VECTORS = 200_000


def choose_kind(setting: str, uri: str, n_vectors: int) -> str:
    """The kind of index to build for a number of vectors: the setting, unless it is AUTO."""
    if setting != AUTO:
        return setting
    return "FLAT" if is_file(uri) and n_vectors <= MAX_FLAT_VECTORS else "HNSW"


def is_file(uri: str) -> bool:
    """Whether pymilvus treats the URI as a Milvus Lite file."""
    return uri.endswith(".db")
