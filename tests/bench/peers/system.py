"""The interface of a fingerprinting system in the retrieval benchmark: it registers files and locates queries."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

MAX_ANSWERS = 5  # answers kept per query


@dataclass(frozen=True, slots=True)
class Answer:
    """A located query: its first sample is position_s seconds into reference number `track`."""

    track: int
    position_s: float
    score: float


class System(Protocol):
    """A fingerprinting system. It answers with its best guess, however weak, if it can work without a threshold."""

    name: str
    settings: str

    def missing(self) -> str | None:
        """How to get the system; None if it can run."""

    def index(self, references: Sequence[Path], folder: Path) -> None:
        """Registers audio files, in this order, into an empty folder."""

    def answers(self, folder: Path, queries: Sequence[Path]) -> list[list[Answer]]:
        """The answers to each query, best first. A query is a 16-bit mono WAV file at 32 kHz."""

    def stored_bytes(self, folder: Path) -> int:
        """The size of its index of the references on disk."""


def checkout(name: str) -> Path:
    """The folder of a system's sources, in AIRTRACE_PEERS."""
    return Path(os.environ.get("AIRTRACE_PEERS", "peers")).expanduser().absolute() / name


def size_of(folder: Path, pattern: str) -> int:
    """The bytes that files in a folder take on disk, without holes in sparse files."""
    return sum(path.stat().st_blocks * 512 for path in folder.glob(pattern))
