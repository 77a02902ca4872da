"""The corpus: splits are disjoint, versions of a recording are one track, and your own folders can replace it."""

from __future__ import annotations

import zipfile
from pathlib import Path

import pytest

from monitor.training import corpus
from monitor.training.errors import TrainingError


def test_no_package_is_in_two_splits() -> None:
    names = [name for split in ("train", "tune", "test") for name in corpus.packages(split)]  # type: ignore[arg-type]
    assert len(names) == len(set(names)) > 200


def test_own_folders_are_searched_recursively(tmp_path: Path) -> None:
    (tmp_path / "album").mkdir()
    for name in ("album/a.ogg", "album/notes.txt", "b.FLAC"):
        (tmp_path / name).touch()
    files = corpus.of_folders([tmp_path], [], [])
    assert [file.path.name for file in files] == ["a.ogg", "b.FLAC"]
    assert {file.kind for file in files} == {"music"}


def test_folders_without_music_are_rejected(tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match="--music"):
        corpus.of_folders([tmp_path], [], [])


def test_a_missing_split_is_an_error_that_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match="--fetch"):
        corpus.of_split("tune", tmp_path)


def test_music_in_a_zip_is_found_and_read(tmp_path: Path) -> None:
    (row,) = [r for r in corpus._table("music.tsv") if r["path"].endswith("AlexFightmare.ogg")]
    outer, member = row["path"].split("!/")
    zipped = tmp_path / row["package"] / outer
    zipped.parent.mkdir(parents=True)
    with zipfile.ZipFile(zipped, "w") as archive:
        archive.writestr(member, b"sound")
    file = next(f for f in corpus.of_split("train", tmp_path) if f.member == member)
    assert corpus.read(file) == b"sound"


def test_a_fast_version_is_the_same_track() -> None:
    tracks = {Path(row["path"]).name: corpus._track(row) for row in corpus._table("music.tsv")}
    assert tracks["celtic_fast.ogg"] == tracks["celtic.ogg"]
    assert tracks["HCMainTitle_UltraSlow.wav"] == tracks["HCMainTitle_Slow.wav"]
    assert tracks["celtic.ogg"] != tracks["cocoa_river.ogg"]


def test_one_recording_in_two_codecs_is_one_track() -> None:
    tracks = {row["path"].rsplit("/", 1)[-1]: corpus._track(row) for row in corpus._table("music.tsv")}
    assert tracks["macroform-cold_day.wav"] == tracks["macroform-cold_day.g722"]
