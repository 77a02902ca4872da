"""The audio files that a model is trained, tuned and tested on: the splits of the corpus, or folders of your own.

The corpus is a list of packages of Debian 12 `main` (tables/). `unpacked` is a folder with one subfolder per package.
"""

from __future__ import annotations

import csv
import re
import zipfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Literal

from monitor.training.errors import TrainingError

Split = Literal["train", "tune", "test"]
Kind = Literal["music", "speech", "noise"]

SUFFIXES = frozenset(
    f".{kind}" for kind in ("aif", "aiff", "au", "flac", "g722", "gsm", "m4a", "mp3", "oga", "ogg", "opus", "wav", "wv")
)
# Marks speech in the paths of packages that hold both speech and effects.
SPEECH_NAMES = re.compile(r"/voices?/|/(en|cs|nl)/|_desc(_[a-z]+)?\.|/speech/")
# A package of effects with a few speech files counts as effects only.
SPEECH_SHARE = 0.3
# Suffixes of variants of one recording. They count as one track, so that none is used as a negative of another.
VARIANT = re.compile(r"[_-](fast|slow|ultraslow|raw|enhanced)$", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class AudioFile:
    """An audio file.

    path: the file, or the zip (`.pk3`) that contains it.
    member: its name within the zip; empty for a plain file.
    track: recordings with the same track name are versions of one another.
    """

    kind: Kind
    path: Path
    track: str
    member: str = ""

    @property
    def name(self) -> str:
        """The file name, or the member's path in the zip."""
        return self.member or self.path.name

    @property
    def is_g722(self) -> bool:
        """Whether it is raw G.722, which has no header."""
        return self.name.endswith(".g722")


def of_folders(music: Iterable[Path], speech: Iterable[Path], noise: Iterable[Path]) -> list[AudioFile]:
    """All audio files in your own folders and their subfolders.

    Raises:
        TrainingError: the folders of music have no audio file.
    """
    folders: tuple[tuple[Kind, Iterable[Path]], ...] = (("music", music), ("speech", speech), ("noise", noise))
    files = [
        AudioFile(kind, path, str(path)) for kind, roots in folders for root in roots for path in _audio_files_in(root)
    ]
    if not any(file.kind == "music" for file in files):
        raise TrainingError("the folders of music contain no audio files: pass others with --music")
    return files


def of_split(split: Split, unpacked: Path) -> list[AudioFile]:
    """The files of a split, of all its packages that are in `unpacked`.

    Raises:
        TrainingError: `unpacked` has none of the packages.
    """
    music = [row for row in _table("music.tsv") if row["split"] == split]
    files: list[AudioFile] = []
    for package in (row for row in _table("packages.tsv") if row["split"] == split):
        root = unpacked / package["package"]
        if root.is_dir():
            known = {row["path"]: _track(row) for row in music if row["package"] == package["package"]}
            files += _of_package(root, package, known)
    if not files:
        raise TrainingError(
            f"{unpacked} contains no package of split {split!r}: pass the folder that does, or add --fetch"
        )
    return files


def packages(split: Split) -> list[str]:
    """The names of a split's packages."""
    return [row["package"] for row in _table("packages.tsv") if row["split"] == split]


def _of_package(root: Path, package: dict[str, str], music: dict[str, str]) -> Iterator[AudioFile]:
    for inside, track in music.items():
        yield _music_file(root, inside, track)
    n_speech, n_effects = int(package["speech_n"] or 0), int(package["sfx_n"] or 0)
    has_speech = n_speech > SPEECH_SHARE * n_effects
    for path in _audio_files_in(root):
        inside = str(path.relative_to(root))
        if inside in music:
            continue
        is_speech = has_speech and (n_effects * 4 < n_speech or bool(SPEECH_NAMES.search(inside)))
        yield AudioFile("speech" if is_speech else "noise", path, f"{root.name}/{inside}")


def _music_file(root: Path, inside: str, track: str) -> AudioFile:
    """Resolves a path of the tables, in which `ZIP!/FILE` is a file in a zip."""
    outer, _, member = inside.partition("!/")
    return AudioFile("music", root / outer, track, member)


def _track(row: dict[str, str]) -> str:
    """The track name, which versions of one recording share."""
    original = row["near_dup_of"].split("(")[0].strip()
    if "__" in original:
        return original.lower()
    is_package = original and not original.startswith("name:")  # another package with the same tracks in another codec
    stem = VARIANT.sub("", Path(row["path"]).stem)
    stem = VARIANT.sub("", stem)
    return f"{original if is_package else row['package']}__{stem}".lower()


def read(file: AudioFile) -> bytes:
    """The file's bytes, extracted from its zip if it is in one."""
    if not file.member:
        return file.path.read_bytes()
    with zipfile.ZipFile(file.path) as zipped:
        return zipped.read(file.member)


def _audio_files_in(root: Path) -> Iterator[Path]:
    if root.is_file():
        yield root
        return
    for path in sorted(root.rglob("*")):
        if path.suffix.lower() in SUFFIXES and path.is_file() and not path.is_symlink():
            yield path


def _table(name: str) -> list[dict[str, str]]:
    text = (resources.files("monitor.training") / "tables" / name).read_text()
    return list(csv.DictReader(text.splitlines(), delimiter="\t", quoting=csv.QUOTE_NONE))
