"""Gets the demo's music: Debian packages, downloaded and unpacked into a cache. Installs nothing, needs no root."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import tempfile
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import platformdirs

from monitor.demo import media
from monitor.demo.apt import Apt, NotAvailable
from monitor.demo.errors import DemoError
from monitor.demo.packages import PACKAGES, Package
from monitor.demo.processes import run
from monitor.demo.program import Recording

INDEX = "airtrace-index.json"  # one rename puts the complete folder of a package in place, including this file
INDEX_VERSION = 1
MIN_MUSIC_S = 25.0  # shorter files in a music folder are effects
MIN_SPEECH_S = 2.0  # shorter prompts are beeps and single words
MAX_OWN = 40  # files of a user's directory: enough for a demo, and registered within a minute
MAX_PROBES = 4  # ffmpeg processes at a time
STALE_S = 3600.0  # an older work folder was left by a run that was killed
OWN_SUFFIXES = frozenset(
    [".aac", ".aif", ".aiff", ".flac", ".g722", ".m4a", ".mp3", ".oga", ".ogg", ".opus", ".wav", ".wma"]
)


@dataclass(frozen=True, slots=True)
class SoundSet:
    """The demo's sounds by kind."""

    music: tuple[Recording, ...]
    speech: tuple[Recording, ...] = ()
    effects: tuple[Recording, ...] = ()
    repeating: frozenset[Path] = frozenset()  # music that repeats itself, so positions in it are ambiguous


@dataclass(frozen=True, slots=True)
class Step:
    """The progress of one package."""

    package: str
    number: int
    total: int
    download_mb: int
    state: Literal["downloading", "unpacking", "ready", "unavailable"]

    def __str__(self) -> str:
        size = f", {self.download_mb} MB" if self.state == "downloading" else ""
        return f"{self.number}/{self.total} {self.package}: {self.state}{size}"


Progress = Callable[[Step], None]


def cache_folder(environment: Mapping[str, str] = os.environ) -> Path:
    """Where the music is cached: AIRTRACE_MUSIC_CACHE, or a folder in the user's cache directory."""
    chosen = environment.get("AIRTRACE_MUSIC_CACHE")
    return Path(chosen).expanduser().absolute() if chosen else Path(platformdirs.user_cache_dir("airtrace")) / "music"


async def fetch(cache: Path, progress: Progress, packages: Sequence[Package] = PACKAGES) -> SoundSet:
    """The demo's sounds. Packages that are already in the cache are not downloaded again.

    Raises:
        DemoError: this is not Debian or Ubuntu, the network is unavailable, or the cache cannot be written.
    """
    try:
        cache.mkdir(parents=True, exist_ok=True)
        _sweep(cache)
        apt = Apt(cache / ".apt")
        indices = [await _ready(cache, package, progress, packages, apt) for package in packages]
    except OSError as error:
        raise DemoError(f"the music cannot be stored in {cache} ({error}): set AIRTRACE_MUSIC_CACHE") from error
    return SoundSet(
        music=tuple(recording for index in indices for recording in index.music),
        speech=tuple(recording for index in indices for recording in index.speech),
        effects=tuple(recording for index in indices for recording in index.effects),
        repeating=frozenset(
            p for package in packages for r in package.repeating for p in (cache / package.name).glob(r)
        ),
    )


async def from_directory(folder: Path) -> SoundSet:
    """A user's own music: at most MAX_OWN audio files, spread over a directory. There is no speech.

    Raises:
        DemoError: there is no such directory, or no audio in it.
    """
    if not folder.is_dir():
        raise DemoError(f"{folder} is not a directory: give one with music files, MUSIC=dir make demo")
    files = sorted(p for p in folder.resolve().rglob("*") if p.suffix.lower() in OWN_SUFFIXES and p.is_file())
    music = await _recordings(_spread(files, MAX_OWN))
    if not music:
        raise DemoError(f"no audio files in {folder} ({' '.join(sorted(OWN_SUFFIXES))})")
    return SoundSet(music)


def _spread(files: Sequence[Path], maximum: int) -> list[Path]:
    """At most `maximum` of the files, evenly spaced."""
    return list(files) if len(files) <= maximum else [files[i * len(files) // maximum] for i in range(maximum)]


async def _ready(cache: Path, package: Package, progress: Progress, packages: Sequence[Package], apt: Apt) -> SoundSet:
    def report(state: Literal["downloading", "unpacking", "ready", "unavailable"]) -> None:
        progress(Step(package.name, packages.index(package) + 1, len(packages), package.download_mb, state))

    target = cache / package.name
    if (index := _read_index(target)) is not None:
        return index
    with tempfile.TemporaryDirectory(prefix=".new-", dir=cache) as work:
        root = Path(work) / "root"
        root.mkdir()
        try:
            report("downloading")
            archive = await apt.download(package.name, Path(work))
            report("unpacking")
            await _unpack(archive, root)
        except NotAvailable:  # another distribution may lack a package; the demo uses the others
            report("unavailable")
        index = await _make_index(root, package)
        _write_index(root, index)
        _move(root, target)
    if index.music or index.speech or index.effects:
        report("ready")
    return _read_index(target) or index


async def _unpack(archive: Path, root: Path) -> None:
    done = await run(["dpkg-deb", "-x", str(archive), str(root)])
    if done.status:
        raise DemoError(
            f"{archive.name} cannot be unpacked ({done.err.strip()}): check the disk space and run it again"
        )


async def _make_index(root: Path, package: Package) -> SoundSet:
    without = {path for pattern in package.without for path in root.glob(pattern)}
    music, speech, effects = [
        await _recordings(path for path in _files(root, patterns) if path not in without)
        for patterns in (package.music, package.speech, package.effects)
    ]
    return SoundSet(
        music=tuple(r for r in music if r.duration_s >= MIN_MUSIC_S),
        speech=tuple(r for r in speech if r.duration_s >= MIN_SPEECH_S),
        effects=tuple(r for r in music if r.duration_s < MIN_MUSIC_S) + effects,
    )


def _files(root: Path, patterns: Iterable[str]) -> list[Path]:
    found = {path for pattern in patterns for path in root.glob(pattern)}
    return sorted(path for path in found if path.is_file() and not path.is_symlink())


async def _recordings(paths: Iterable[Path]) -> tuple[Recording, ...]:
    """The files that contain audio, with their durations."""
    turns = asyncio.Semaphore(MAX_PROBES)

    async def probe(path: Path) -> Recording | None:
        async with turns:
            duration_s = await media.duration_s(path)
        return Recording(path, duration_s) if duration_s else None

    async with asyncio.TaskGroup() as group:
        probes = [group.create_task(probe(path), name=f"probe {path.name}") for path in paths]
    return tuple(recording for task in probes if (recording := task.result()) is not None)


def _write_index(root: Path, index: SoundSet) -> None:
    def rows(recordings: Iterable[Recording]) -> list[tuple[str, float]]:
        return [(str(r.path.relative_to(root)), round(r.duration_s, 3)) for r in recordings]

    content = {
        "version": INDEX_VERSION,
        "music": rows(index.music),
        "speech": rows(index.speech),
        "effects": rows(index.effects),
    }
    (root / INDEX).write_text(json.dumps(content, indent=1))


def _read_index(folder: Path) -> SoundSet | None:
    """The sounds in a package's folder; None if the package must be downloaded (again)."""
    try:
        content = json.loads((folder / INDEX).read_text())
        if content["version"] != INDEX_VERSION:
            return None
        music, speech, effects = (
            tuple(Recording(folder / path, float(duration_s)) for path, duration_s in content[kind])
            for kind in ("music", "speech", "effects")
        )
    except (FileNotFoundError, NotADirectoryError, KeyError, ValueError, TypeError):
        return None
    index = SoundSet(music, speech, effects)
    return index if all(r.path.is_file() for r in (*music, *speech, *effects)) else None


def _move(root: Path, target: Path) -> None:
    """Moves a complete folder into place, unless another run was faster."""
    if _read_index(target) is not None:
        return
    shutil.rmtree(target, ignore_errors=True)
    root.chmod(0o755)
    try:
        root.rename(target)
    except OSError:
        if _read_index(target) is None:
            raise


def _sweep(cache: Path) -> None:
    for left in cache.glob(".new-*"):
        if time.time() - left.stat().st_mtime > STALE_S:
            shutil.rmtree(left, ignore_errors=True)


def main() -> int:
    """`make music`: prints one line per step."""
    import sys

    try:
        sounds = asyncio.run(fetch(cache_folder(), lambda step: print(step, flush=True)))
    except DemoError as error:
        print(f"airtrace: {error}", file=sys.stderr)
        return error.exit_code
    except KeyboardInterrupt:
        return 130
    hours = sum(recording.duration_s for recording in sounds.music) / 3600
    print(f"{len(sounds.music)} recordings, {hours:.1f} h of music, in {cache_folder()}")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
