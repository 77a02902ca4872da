"""What the benchmark asks of a fingerprinter: to register files and to say where in them a query comes from."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

MAX = 5  # answers to one query that are kept


@dataclass(frozen=True, slots=True)
class Answer:
    """Reference number `track` is heard; the query's first sample lies position_s seconds into it."""

    track: int
    position_s: float
    score: float


class System(Protocol):
    """A fingerprinter. It answers with its best guess, however weak, if it can do without a threshold."""

    name: str
    settings: str

    def missing(self) -> str | None:
        """None where it can run; or else how to get it."""

    def index(self, references: Sequence[Path], folder: Path) -> None:
        """Registers audio files, in this order, into an empty folder."""

    def answers(self, folder: Path, queries: Sequence[Path]) -> list[list[Answer]]:
        """Best first, for each query: a mono WAV file of 16 bit at 32 kHz."""

    def stored_bytes(self, folder: Path) -> int:
        """What it keeps of the references, as it keeps it on disk."""


def checkout(name: str) -> Path:
    """Where a peer's sources would be: a folder of AIRTRACE_PEERS."""
    return Path(os.environ.get("AIRTRACE_PEERS", "peers")).expanduser().absolute() / name


def size_of(folder: Path, pattern: str) -> int:
    """Bytes that files of a folder take on disk; holes in them take none."""
    return sum(path.stat().st_blocks * 512 for path in folder.glob(pattern))
