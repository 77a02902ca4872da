"""The files that a command is to register: found in directories and manifests, and unchanged while they are sent."""

from __future__ import annotations

import io
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from monitor.catalog import manifest
from monitor.catalog.metadata import MetadataFields
from monitor.errors import AudioError

# In a directory, only files with these suffixes are tried. A file given by name is always tried.
_SUFFIXES = (
    ".aac .aax .ac3 .aif .aiff .amr .ape .au .caf .dsf .flac .g722 .gsm .m4a .m4b .m4p .mka .mp2 .mp3 .mp4 .mpc .oga "
    ".ogg .opus .ra .rf64 .snd .spx .tta .voc .w64 .wav .webm .weba .wma .wv"
)
AUDIO_SUFFIXES = frozenset(_SUFFIXES.split())


@dataclass(frozen=True, slots=True)
class FileToAdd:
    """A file to register, with the metadata of its manifest row; or why it cannot be registered."""

    path: Path
    row: int | None = None
    metadata: MetadataFields | None = None
    reason: str | None = None
    error: str | None = None


def from_manifest(path: Path, encoding: str) -> Iterator[FileToAdd]:
    """The files that a manifest names; a manifest that cannot be read is a row with its error."""
    try:
        rows = manifest.read(path, encoding)
    except manifest.ManifestError as error:
        yield FileToAdd(path, None, None, error.reason, str(error))
        return
    for row in rows:
        yield FileToAdd(row.path, row.number, row.metadata, row.reason, row.error)


def from_paths(paths: Sequence[Path]) -> Iterator[FileToAdd]:
    """Every file that is named or in a named directory, once; a path that does not exist is a row with its error."""
    seen: set[Path] = set()
    for path in paths:
        for each in in_directory(path) if path.is_dir() else [_named(path)]:
            if each.path not in seen:
                seen.add(each.path)
                yield each


def in_directory(folder: Path) -> Iterator[FileToAdd]:
    """The audio files in a directory and below it; a directory that cannot be read is a row with its error."""
    failed: list[OSError] = []
    for where, folders, names in os.walk(folder.absolute(), onerror=failed.append):
        folders.sort()
        for name in sorted(names):
            path = Path(where, name)
            if path.suffix.lower() in AUDIO_SUFFIXES and (path.is_file() or path.is_symlink()):
                yield FileToAdd(path)
    for error in failed:
        path = Path(error.filename)
        yield FileToAdd(path, reason="unreadable", error=f"{path.name}: {error.strerror}")


def _named(path: Path) -> FileToAdd:
    if path.exists():
        return FileToAdd(path.absolute())
    return FileToAdd(path.absolute(), reason="missing", error=f"{path.name}: no such file or directory")


class UnchangedFile(io.RawIOBase):
    """A file that fails to read if it changes meanwhile, so that no mixture of two versions is registered.

    It has no fileno(): the HTTP client would look up the length again, which may have changed by then.
    """

    def __init__(self, file: io.BufferedReader, name: str, max_bytes: int) -> None:
        """Raises AudioError if the file is larger than `max_bytes`."""
        self._file = file
        self._name = name
        self._before = os.fstat(file.fileno())
        self._left = self._before.st_size
        if self._left > max_bytes:
            max_mb = max_bytes // 1_000_000
            raise AudioError("too_large", f"{name}: larger than {max_mb} MB; raise api.max_upload_mb to allow it")

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._before.st_size - self._left

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        at = self._file.seek(self._before.st_size if whence == os.SEEK_END else offset)
        self._left = self._before.st_size - at
        return at

    def read(self, size: int = -1) -> bytes:
        """Raises AudioError if the file has changed since it was opened."""
        data = self._file.read(self._left if size < 0 else min(size, self._left))
        self._left -= len(data)
        now = os.fstat(self._file.fileno())
        if (not data and self._left) or (now.st_size, now.st_mtime_ns) != (
            self._before.st_size,
            self._before.st_mtime_ns,
        ):
            raise AudioError("changed", f"{self._name}: the file changed while it was read; add it again when complete")
        return data
