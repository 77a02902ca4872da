"""Manifests, reports, and registrations that are disturbed, through the installed command."""

from __future__ import annotations

import csv
import json
import os
import random
import signal
import subprocess
import threading
from contextlib import suppress
from pathlib import Path

import pytest

from monitor.demo.program import Recording
from tests.acceptance.command import Airtrace
from tests.acceptance.sound import excerpt, write_wav

INPUT = 1
ENDING_S = 60


def test_a_manifest_registers_valid_rows_and_reports_each(
    airtrace: Airtrace, catalog: tuple[Recording, ...], tmp_path: Path
) -> None:
    (tmp_path / "Ünï 🎵.ogg").symlink_to(catalog[0].path)
    (tmp_path / "b.ogg").symlink_to(catalog[1].path)
    (tmp_path / "empty.mp3").touch()
    rows = [
        "file,title,artist,isrc,territories,valid_from,valid_until,own_id,genre",
        'Ünï 🎵.ogg,Night,The Owls,DE-A62-21-00001,"DE, AT",2024-01-01,2030-01-01,X-1,Jazz',
        "b.ogg,,,,XX,,,X-2,",
        "none.ogg,,,,,,,X-3,",
        "empty.mp3,,,,,,,X-4,",
        "b.ogg,Fine,,,,,,X-5,",
    ]
    manifest, report = tmp_path / "list.csv", tmp_path / "report.csv"
    manifest.write_text("\n".join(rows))
    done = airtrace("tracks", "add", "--manifest", manifest, "--report", report, exits=INPUT)
    assert done.out == "2 added, 0 already known, 3 failed\n"
    with report.open(encoding="utf-8") as file:
        reported = sorted(csv.DictReader(file), key=lambda row: int(row["row"]))
    assert [(row["row"], row["status"], row["reason"]) for row in reported] == [
        ("2", "added", ""),
        ("3", "failed", "territories"),
        ("4", "failed", "unreadable"),
        ("5", "failed", "empty"),
        ("6", "added", ""),
    ]
    (night,) = airtrace.json("tracks", "list", "owls")
    assert (night["title"], night["isrc"], night["territories"]) == ("Night", "DEA622100001", ["DE", "AT"])
    assert (night["own_id"], night["fields"]) == ("X-1", {"genre": "Jazz"})

    rows[1] = rows[1].replace("The Owls", "Los Búhos")
    manifest.write_text("\n".join([rows[0], rows[1], rows[5]]))
    again = airtrace("tracks", "add", "--manifest", manifest, "--json", "--report", tmp_path / "report.json")
    assert [row["status"] for row in again.json] == ["updated", "known"]
    assert {row["status"] for row in json.loads((tmp_path / "report.json").read_text())} == {"updated", "known"}
    assert [track["artist"] for track in airtrace.json("tracks", "list", "X-1")] == ["Los Búhos"]
    assert airtrace("catalog", "verify").err == "the index matches the catalog\n"


def test_an_unusable_manifest_is_one_row_of_the_report_and_other_files_are_added(
    airtrace: Airtrace, catalog: tuple[Recording, ...], tmp_path: Path
) -> None:
    (tmp_path / "list.csv").write_text("title,artist\nNight,The Owls\n")
    command = ("tracks", "add", catalog[0].path, "--manifest", tmp_path / "list.csv", "--json")
    bad, good = airtrace(*command, exits=INPUT).json
    assert (bad["reason"], good["status"]) == ("columns", "added")


def test_a_file_that_changes_while_it_is_read_fails_alone(
    airtrace: Airtrace, catalog: tuple[Recording, ...], tmp_path: Path
) -> None:
    growing = tmp_path / "growing.wav"
    write_wav(growing, *[excerpt(catalog[0], 0, 60)] * 5)
    ended = threading.Event()

    def grow() -> None:
        with growing.open("ab", buffering=0) as file:
            while not ended.wait(0.002):
                file.write(bytes(64))

    thread = threading.Thread(target=grow)
    thread.start()
    try:
        rows = airtrace("tracks", "add", growing, catalog[1].path, "--json", exits=INPUT).json
    finally:
        ended.set()
        thread.join()
    assert [(row["status"], row["reason"]) for row in rows] == [("failed", "changed"), ("added", None)]
    assert "growing.wav: the file changed while it was read" in rows[0]["error"]
    (again,) = airtrace.json("tracks", "add", growing)
    assert again["status"] == "added"


@pytest.mark.timeout(1200)
@pytest.mark.parametrize("seed", [1, pytest.param(2, marks=pytest.mark.deep)])
def test_a_registration_killed_at_any_moment_is_completed_by_the_next(
    airtrace: Airtrace, catalog: tuple[Recording, ...], tmp_path: Path, seed: int
) -> None:
    drawn = random.Random(seed)
    pieces = [tmp_path / f"{number}.wav" for number in range(12)]
    for number, piece in enumerate(pieces):
        write_wav(piece, excerpt(catalog[number % 3], number // 3 * 12, 12))
    for _ in range(3):
        adding = airtrace.start("tracks", "add", *pieces)
        if drawn.random() < 0.8:  # otherwise before the first is added
            n_lines = drawn.randrange(1, 6)
            adding.wait_for(lambda adding=adding, n=n_lines: f"{n}/12" in adding.log or adding.process.poll() == 0)
        with suppress(subprocess.TimeoutExpired):
            adding.process.wait(drawn.uniform(0, 0.5))
        if adding.process.poll() is None:
            os.killpg(adding.process.pid, signal.SIGKILL)
            adding.process.wait(ENDING_S)
        adding.was_killed = True
    done = airtrace("tracks", "add", *pieces)
    assert done.out.endswith(", 0 failed\n")
    assert airtrace.json("catalog", "verify") == []
    tracks = airtrace.json("tracks", "list")
    assert len(tracks) == 12
    assert {track["status"] for track in tracks} == {"ready"}
    about = airtrace.json("catalog", "about")
    assert about["vectors_indexed"] == about["vectors_wanted"] > 0


def test_a_catalog_moves_to_another_home_without_its_audio(
    airtrace: Airtrace, catalog: tuple[Recording, ...], tmp_path: Path
) -> None:
    file, other = tmp_path / "catalog.ndjson.gz", {"AIRTRACE_HOME": str(tmp_path / "other")}
    with airtrace.running():
        (added,) = airtrace.json("tracks", "add", catalog[0].path)
        number = added["track"]
        assert airtrace("tracks", "exclude", number, "0:00-0:05").err == "track 1 has 1 excluded interval\n"
        assert airtrace("tracks", "edit", number, "--title", "Night").err == f"changed track {number}\n"
        assert airtrace("catalog", "export", file).err.startswith("exported 1 tracks to ")
    assert airtrace("catalog", "import", file, **other).out == "1 added, 0 already known, 0 failed\n"
    assert airtrace("catalog", "import", file, **other).out == "0 added, 1 already known, 0 failed\n"
    clip = write_wav(tmp_path / "clip.wav", excerpt(catalog[0], 20, 10))
    (scanned,) = airtrace("scan", clip, "--json", **other).json
    assert [match["track"]["title"] for match in scanned["matches"]] == ["Night"]
    (tmp_path / "cut").write_bytes(file.read_bytes()[:-9])
    airtrace("catalog", "import", tmp_path / "cut", exits=None, **other).complains("cannot be read", code=INPUT)


def test_a_retired_recording_is_not_found_until_it_is_restored(
    stocked: Airtrace, catalog: tuple[Recording, ...], tmp_path: Path
) -> None:
    clip = write_wav(tmp_path / "clip.wav", excerpt(catalog[2], 20, 10))
    with stocked.running():
        (track,) = stocked.json("tracks", "list", catalog[2].path.stem)
        stocked("tracks", "retire", track["id"])
        assert "retired" in stocked("tracks", "list", "--status", "retired").out
        assert stocked.json("scan", clip)[0]["matches"] == []
        assert stocked("tracks", "restore", track["id"]).err == f"track {track['id']} is ready\n"
        (match,) = stocked.json("scan", clip)[0]["matches"]
    assert match["track"]["id"] == track["id"]
