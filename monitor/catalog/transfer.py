"""Exports and imports a catalog as one file, without its audio.

The file has one JSON object per line: a header, then the tracks with their fingerprints, and a trailer with their
number and the SHA-256 of all preceding lines. A file with another checksum is refused. Tracks are recognized by the
hash of their audio, so a file can be imported twice, or again after an interrupted attempt.
"""

from __future__ import annotations

import base64
import binascii
import gzip
import hashlib
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import orjson

from monitor.catalog.metadata import validate_metadata
from monitor.core.segments import SAMPLE_RATE_HZ
from monitor.detect.detector import DetectorInfo
from monitor.errors import AirtraceError
from monitor.storage.records import Excluded, Fingerprint, Metadata, Track
from monitor.storage.storage import Storage

FORMAT = 1
PAGE_TRACKS = 32
MAX_LINE_BYTES = 256_000_000  # a day of audio in three models takes 150 MB
LENGTH_TOLERANCE = 0.02  # half precision changes the length of a unit vector by 0.001


class TransferError(AirtraceError):
    """The catalog file cannot be used."""

    status = 422
    title = "The catalog file cannot be used"

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason = reason


@dataclass(frozen=True, slots=True)
class Imported:
    """The result of one line. status: `added`, `known`, or `failed` with `reason` and `error`."""

    line: int
    title: str | None
    status: str
    track: int | None = None
    reason: str | None = None
    error: str | None = None


@dataclass(frozen=True, slots=True)
class ExportedTrack:
    """A track of an exported file."""

    sha256: bytes
    n_samples: int
    status: str
    metadata: Metadata
    excluded: tuple[Excluded, ...]
    fingerprints: tuple[Fingerprint, ...]


async def export_lines(storage: Storage) -> AsyncIterator[bytes]:
    """Yields the lines of a file with all tracks that are ready or retired, and all their fingerprints.

    Raises:
        DependencyError: PostgreSQL is unreachable.
    """
    digest, n_tracks, last = hashlib.sha256(), 0, 0
    made = {"airtrace_catalog": FORMAT, "made_by": version("airtrace"), "made_at": datetime.now(UTC)}
    yield _hashed_line(made, digest)
    while page := await storage.tracks.list_after(last, PAGE_TRACKS):
        for track in page:
            if track.status in ("ready", "retired"):
                yield _hashed_line(await _line(storage, track), digest)
                n_tracks += 1
        last = page[-1].id
    yield orjson.dumps({"tracks": n_tracks, "sha256": digest.hexdigest()}) + b"\n"


def _hashed_line(value: Mapping[str, Any], digest: Any) -> bytes:
    line = orjson.dumps(value) + b"\n"
    digest.update(line)
    return line


async def _line(storage: Storage, track: Track) -> dict[str, Any]:
    metadata = {name: getattr(track.metadata, name) for name in Metadata.__dataclass_fields__}
    return {
        "audio_sha256": track.sha256.hex(),
        "n_samples": round(track.duration_s * SAMPLE_RATE_HZ),
        "status": track.status,
        **metadata,
        "fields": dict(track.metadata.fields),
        "excluded": [[each.starts, each.ends, each.note] for each in track.excluded],
        "fingerprints": [
            {
                "detector": one.info.name,
                "version": one.info.version,
                "checksum": one.info.checksum,
                "dimensions": one.info.dimensions,
                "vectors": base64.b64encode(blob).decode(),
            }
            for one, blob in await storage.vectors.fingerprints(track.id)
        ],
    }


def check_file(path: Path) -> int:
    """Verifies the checksum of a file and returns its number of tracks.

    Raises:
        TransferError: the file is not an export, is of a newer version, truncated, or damaged.
    """
    digest, n_lines, previous = hashlib.sha256(), 0, b""
    for line in read_lines(path):
        if n_lines == 0:
            _check_header(path, line)
        digest.update(previous)
        previous = line
        n_lines += 1
    try:
        end = orjson.loads(previous)
        is_whole = end["sha256"] == digest.hexdigest() and end["tracks"] == n_lines - 2
    except (ValueError, KeyError, TypeError):
        is_whole = False
    if not is_whole:
        raise TransferError("damaged", f"{path.name}: truncated or damaged: the checksum is wrong")
    return n_lines - 2


def read_lines(path: Path) -> Iterator[bytes]:
    """Yields a file line by line; the file may be compressed with gzip.

    Raises:
        TransferError: the file cannot be read.
    """
    try:
        with _open(path) as file:
            while line := file.readline(MAX_LINE_BYTES):
                if not line.endswith(b"\n"):
                    raise TransferError("damaged", f"{path.name}: truncated or damaged: the last line is incomplete")
                yield line
    except (OSError, EOFError, ValueError) as error:  # includes the errors of gzip and zlib
        raise TransferError("unreadable", f"{path.name}: cannot be read ({error})") from error


@contextmanager
def _open(path: Path) -> Iterator[BinaryIO]:
    with path.open("rb") as plain:
        if plain.read(2) != b"\x1f\x8b":
            plain.seek(0)
            yield plain
            return
    with gzip.open(path) as packed:
        yield packed  # type: ignore[misc]  # it has the same methods


def pack_lines(tracks: list[bytes]) -> bytes:
    """Makes a separate file from some of the tracks' lines, so that a large file can be sent in parts."""
    digest = hashlib.sha256()
    header = _hashed_line({"airtrace_catalog": FORMAT, "made_by": version("airtrace")}, digest)
    for line in tracks:
        digest.update(line)
    return header + b"".join(tracks) + orjson.dumps({"tracks": len(tracks), "sha256": digest.hexdigest()}) + b"\n"


def _check_header(path: Path, line: bytes) -> None:
    try:
        made = orjson.loads(line)["airtrace_catalog"]
    except (ValueError, KeyError, TypeError) as error:
        raise TransferError("not_a_catalog", f"{path.name}: not a file of `airtrace catalog export`") from error
    if made != FORMAT:
        raise TransferError("version", f"{path.name}: format {made}, but this Airtrace reads format {FORMAT}: upgrade")


def parse_line(line: bytes) -> ExportedTrack:
    """Parses the line of a track.

    Raises:
        TransferError, MetadataError: a value is not valid.
    """
    try:
        values = orjson.loads(line)
        names = set(Metadata.__dataclass_fields__) - {"source", "title"}
        given = {"title": values["title"], **{name: values[name] for name in names if values.get(name)}}
        metadata = validate_metadata(given).given()
        return ExportedTrack(
            bytes.fromhex(values["audio_sha256"]),
            int(values["n_samples"]),
            "retired" if values["status"] == "retired" else "ready",
            Metadata(source=str(values["source"]), **metadata),
            tuple(Excluded(int(starts), int(ends), note) for starts, ends, note in values["excluded"]),
            tuple(_fingerprint(each) for each in values["fingerprints"]),
        )
    except (ValueError, KeyError, TypeError, binascii.Error) as error:
        raise TransferError("line", f"not a track: {type(error).__name__} {error}") from error


def _fingerprint(values: Mapping[str, Any]) -> Fingerprint:
    model = (str(values["detector"]), str(values["version"]), str(values["checksum"]))
    info = DetectorInfo(*model, int(values["dimensions"]))
    blob = np.frombuffer(base64.b64decode(values["vectors"], validate=True), "<f2")
    vectors = blob.reshape(-1, info.dimensions).astype(np.float32)
    lengths = np.linalg.norm(vectors, axis=1)
    # Comparisons with NaN are false, so NaN is refused, too.
    if not len(vectors) or not np.all((lengths == 0) | (np.abs(lengths - 1) < LENGTH_TOLERANCE)):
        raise TransferError("vectors", "the vectors do not have unit length")
    return Fingerprint(info, vectors)


async def import_track(storage: Storage, exported: ExportedTrack, info: DetectorInfo) -> tuple[int | None, bool]:
    """Stores a track as pending, or as retired if it was.

    Returns:
        The track's id, None if another process deleted it meanwhile; and whether the catalog had its audio already.

    Raises:
        TransferError: the track has no vectors of this model.
        IdTaken: another track has its own_id.
    """
    used = [one for one in exported.fingerprints if (one.info.name, one.info.checksum) == (info.name, info.checksum)]
    if not used or used[0].info.dimensions != info.dimensions:
        models = ", ".join(f"{one.info.version} ({one.info.checksum})" for one in exported.fingerprints)
        raise TransferError(
            "other_model",
            f"its vectors are of {models}, not of {info.version} ({info.checksum}): register its audio",
        )
    others = tuple(one for one in exported.fingerprints if one is not used[0])
    track = await storage.tracks.add(
        exported.sha256,
        exported.n_samples,
        exported.metadata,
        used[0],
        exported.excluded,
        others,
        "retired" if exported.status == "retired" else "pending",
    )
    if track is not None:
        return track, False
    known = await storage.tracks.by_audio_hash(exported.sha256)
    return known.id if known else None, True
