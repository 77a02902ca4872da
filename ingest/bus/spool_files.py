"""The files of a spool: the frame of a record, and which records there are in a file that exists."""

from __future__ import annotations

import json
import os
import struct
import zlib
from dataclasses import dataclass
from pathlib import Path

import structlog

from ingest.errors import WireError
from ingest.wire import Encoded, Record, decode

log = structlog.get_logger(__name__)

# A record on disk is a frame: checksum of the rest, lengths of head and value, head (key and headers as JSON), value.
PREFIX = struct.Struct("<III")


@dataclass(slots=True)
class LogFile:
    """One file. Its record i lies between the bytes bounds[i] and bounds[i + 1]."""

    path: Path
    first: int
    bounds: list[int]

    @property
    def next_offset(self) -> int:
        return self.first + len(self.bounds) - 1


def frame_parts(encoded: Encoded) -> tuple[bytes, bytes, bytes]:
    """The frame of a record, as it is stored on disk: prefix, head and value."""
    headers = [(name, value.decode("latin-1")) for name, value in encoded.headers]
    head = json.dumps({"key": encoded.key.decode("latin-1"), "headers": headers}).encode()
    prefix = PREFIX.pack(0, len(head), len(encoded.value))
    checksum = zlib.crc32(encoded.value, zlib.crc32(head, zlib.crc32(prefix[4:])))
    return checksum.to_bytes(4, "little") + prefix[4:], head, encoded.value


def _is_whole(frame: bytes) -> bool:
    return zlib.crc32(memoryview(frame)[4:]) == int.from_bytes(frame[:4], "little")


def decode_frame(frame: bytes) -> Record:
    """The record in a frame.

    Raises:
        WireError: it is damaged, or not a record of ours.
    """
    if len(frame) < PREFIX.size or not (head_bytes := PREFIX.unpack_from(frame)[1]):
        raise WireError("damaged on disk: it is empty")
    if not _is_whole(frame):
        raise WireError("damaged on disk: the checksum is wrong")
    value_at = PREFIX.size + head_bytes
    head = json.loads(frame[PREFIX.size : value_at])
    headers = [(name, value.encode("latin-1")) for name, value in head["headers"]]
    return decode(head["key"].encode("latin-1"), headers, frame[value_at:])


def recover(path: Path, next_first: int | None) -> LogFile:
    """Opens an existing file.

    next_first: the first offset of the next file, where this one ends whatever is behind it. None for the last file: it
    can end within a record, and that is cut off. A damaged record before whole ones stays, so that they keep their
    offsets; its reader rejects it.
    """
    size, first = path.stat().st_size, int(path.stem)
    bounds = _bounds(path, size, is_last=next_first is None)
    if next_first is not None:
        del bounds[next_first - first + 1 :]
    if bounds[-1] < size:
        log.warning("spool.torn", file=path.name, lost_bytes=size - bounds[-1])
        if next_first is None:
            os.truncate(path, bounds[-1])
    return LogFile(path, first, bounds)


def _bounds(path: Path, size: int, *, is_last: bool) -> list[int]:
    """Where the records of a file start, and its last one ends. Of the last file, up to the last whole record."""
    bounds, n_kept = [0], 0
    with path.open("rb") as file:
        while bounds[-1] + PREFIX.size <= size:
            file.seek(bounds[-1])
            prefix = file.read(PREFIX.size)
            _, head_bytes, value_bytes = PREFIX.unpack(prefix)
            end = bounds[-1] + PREFIX.size + head_bytes + value_bytes
            if not head_bytes or end > size:  # every record has a head: these are zeros
                break
            bounds.append(end)
            if not is_last or _is_whole(prefix + file.read(head_bytes + value_bytes)):
                n_kept = len(bounds) - 1
    return bounds[: n_kept + 1]


def number_in(content: bytes) -> int:
    """The number that a file contains: 0 if it is empty, as before the first one is written; -1 if it is damaged."""
    digits = content.strip() or b"0"
    return int(digits) if digits.isdigit() else -1
