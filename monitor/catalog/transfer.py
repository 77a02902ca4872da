"""A catalog as one file, to carry it elsewhere without its audio.

A JSON object a line: what wrote it, then the tracks with their fingerprints, at last how many they are and the SHA-256
of all lines before. Nothing is taken from a file whose sum is another. Tracks are known by their audio's hash, so
that a file can be read twice, or after an attempt that was broken off.
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

from monitor.catalog.metadata import checked
from monitor.core.segments import SAMPLE_RATE_HZ
from monitor.detect.detector import DetectorInfo
from monitor.errors import AirtraceError
from monitor.storage.matches import Store
from monitor.storage.records import Excluded, Fingerprint, Metadata, Track

FORMAT = 1
PAGE_TRACKS = 32
MAX_LINE_BYTES = 256_000_000  # a day of audio with three models has 150 MB
LENGTH_TOLERANCE = 0.02  # of a unit vector in half precision: 0.001


class TransferError(AirtraceError):
    """A catalog's file cannot be used."""

    status = 422
    title = "The catalog's file cannot be used"

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason = reason


@dataclass(frozen=True, slots=True)
class Imported:
    """What became of one line: `added`, `known`, or `failed` with why."""

    line: int
    title: str | None
    status: str
    track: int | None = None
    reason: str | None = None
    error: str | None = None


@dataclass(frozen=True, slots=True)
class ExportedTrack:
    """A track of a file."""

    sha256: bytes
    n_samples: int
    status: str
    metadata: Metadata
    excluded: tuple[Excluded, ...]
    fingerprints: tuple[Fingerprint, ...]


async def lines(store: Store) -> AsyncIterator[bytes]:
    """All tracks that are ready or retired, with all their fingerprints."""
    digest, n_tracks, last = hashlib.sha256(), 0, 0
    made = {"airtrace_catalog": FORMAT, "made_by": version("airtrace"), "made_at": datetime.now(UTC)}
    yield _counted(made, digest)
    while page := await store.tracks_after(last, PAGE_TRACKS):
        for track in page:
            if track.status in ("ready", "retired"):
                yield _counted(await _line(store, track), digest)
                n_tracks += 1
        last = page[-1].id
    yield orjson.dumps({"tracks": n_tracks, "sha256": digest.hexdigest()}) + b"\n"


def _counted(value: Mapping[str, Any], digest: Any) -> bytes:
    line = orjson.dumps(value) + b"\n"
    digest.update(line)
    return line


async def _line(store: Store, track: Track) -> dict[str, Any]:
    known = track.metadata
    details = {name: getattr(known, name) for name in Metadata.__dataclass_fields__}
    return {
        "audio_sha256": track.sha256.hex(),
        "n_samples": round(track.duration_s * SAMPLE_RATE_HZ),
        "status": track.status,
        **details,
        "fields": dict(known.fields),
        "excluded": [[each.starts, each.ends, each.note] for each in track.excluded],
        "fingerprints": [
            {
                "detector": one.info.name,
                "version": one.info.version,
                "checksum": one.info.checksum,
                "dimensions": one.info.dimensions,
                "vectors": base64.b64encode(blob).decode(),
            }
            for one, blob in await store.fingerprints(track.id)
        ],
    }


def examined(path: Path) -> int:
    """How many tracks a file has, once its sum is right.

    Raises:
        TransferError: it is none of ours, of a newer version, cut off, or damaged.
    """
    digest, n_lines, previous = hashlib.sha256(), 0, b""
    for line in raw_lines(path):
        if n_lines == 0:
            _check_head(path, line)
        digest.update(previous)
        previous = line
        n_lines += 1
    try:
        end = orjson.loads(previous)
        is_whole = end["sha256"] == digest.hexdigest() and end["tracks"] == n_lines - 2
    except (ValueError, KeyError, TypeError):
        is_whole = False
    if not is_whole:
        raise TransferError("damaged", f"{path.name}: cut off, or damaged: its sum is not the one that it names")
    return n_lines - 2


def raw_lines(path: Path) -> Iterator[bytes]:
    """Line by line, also of a file that gzip has packed.

    Raises:
        TransferError: it cannot be read.
    """
    try:
        with _opened(path) as file:
            while line := file.readline(MAX_LINE_BYTES):
                if not line.endswith(b"\n"):
                    raise TransferError("damaged", f"{path.name}: cut off, or damaged: its last line does not end")
                yield line
    except (OSError, EOFError, ValueError) as error:  # gzip's and zlib's are among them
        raise TransferError("unreadable", f"{path.name}: cannot be read ({error})") from error


@contextmanager
def _opened(path: Path) -> Iterator[BinaryIO]:
    with path.open("rb") as plain:
        if plain.read(2) != b"\x1f\x8b":
            plain.seek(0)
            yield plain
            return
    with gzip.open(path) as packed:
        yield packed  # type: ignore[misc]  # it reads the same


def packed_lines(tracks: list[bytes]) -> bytes:
    """Lines of tracks as a file of their own: a large file travels in several."""
    digest = hashlib.sha256()
    head = _counted({"airtrace_catalog": FORMAT, "made_by": version("airtrace")}, digest)
    for line in tracks:
        digest.update(line)
    return head + b"".join(tracks) + orjson.dumps({"tracks": len(tracks), "sha256": digest.hexdigest()}) + b"\n"


def _check_head(path: Path, line: bytes) -> None:
    try:
        made = orjson.loads(line)["airtrace_catalog"]
    except (ValueError, KeyError, TypeError) as error:
        raise TransferError("not_a_catalog", f"{path.name}: no catalog that `airtrace catalog export` made") from error
    if made != FORMAT:
        raise TransferError("version", f"{path.name}: of version {made}, this Airtrace knows {FORMAT}: upgrade")


def parsed(line: bytes) -> ExportedTrack:
    """A track's line.

    Raises:
        TransferError, DetailsError: something in it is not valid.
    """
    try:
        said = orjson.loads(line)
        names = set(Metadata.__dataclass_fields__) - {"source", "title"}
        details = checked({"title": said["title"], **{name: said[name] for name in names if said.get(name)}}).given()
        return ExportedTrack(
            bytes.fromhex(said["audio_sha256"]),
            int(said["n_samples"]),
            "retired" if said["status"] == "retired" else "ready",
            Metadata(source=str(said["source"]), **details),
            tuple(Excluded(int(starts), int(ends), note) for starts, ends, note in said["excluded"]),
            tuple(_fingerprint(each) for each in said["fingerprints"]),
        )
    except (ValueError, KeyError, TypeError, binascii.Error) as error:
        raise TransferError("line", f"not a track: {type(error).__name__} {error}") from error


def _fingerprint(said: Mapping[str, Any]) -> Fingerprint:
    info = DetectorInfo(str(said["detector"]), str(said["version"]), str(said["checksum"]), int(said["dimensions"]))
    blob = np.frombuffer(base64.b64decode(said["vectors"], validate=True), "<f2")
    vectors = blob.reshape(-1, info.dimensions).astype(np.float32)
    lengths = np.linalg.norm(vectors, axis=1)
    # Comparisons with NaN are false, so that it is refused, too.
    if not len(vectors) or not np.all((lengths == 0) | (np.abs(lengths - 1) < LENGTH_TOLERANCE)):
        raise TransferError("vectors", "its vectors are not of length one")
    return Fingerprint(info, vectors)


async def import_track(store: Store, carried: ExportedTrack, info: DetectorInfo) -> tuple[int | None, bool]:
    """Stores a track as pending; its id, and whether it was there before.

    Raises:
        TransferError: it has no vectors of this model.
        IdTaken: another track has its own_id.
    """
    used = [one for one in carried.fingerprints if (one.info.name, one.info.checksum) == (info.name, info.checksum)]
    if not used or used[0].info.dimensions != info.dimensions:
        models = ", ".join(f"{one.info.version} ({one.info.checksum})" for one in carried.fingerprints)
        raise TransferError(
            "other_model", f"it has no vectors of {info.version} ({info.checksum}), but of {models}: register its audio"
        )
    others = tuple(one for one in carried.fingerprints if one is not used[0])
    track = await store.add_track(
        carried.sha256,
        carried.n_samples,
        carried.metadata,
        used[0],
        carried.excluded,
        others,
        "retired" if carried.status == "retired" else "pending",
    )
    if track is not None:
        return track, False
    known = await store.track_by_sha256(carried.sha256)
    return known.id if known else None, True
