"""`airtrace scan --results` and `airtrace evaluate` on recordings of known content."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest

from monitor.demo.program import Recording
from tests.acceptance.command import Airtrace
from tests.acceptance.sound import excerpt, write_wav

HEADER = "recording,track,start_s,end_s,track_start_s,track_end_s,speed"
INPUT = 1


@pytest.fixture
def recordings(tmp_path: Path, catalog: tuple[Recording, ...], unknown: Recording) -> Path:
    """One recording with two plays between unknown music, and one of unknown music alone."""
    folder = tmp_path / "recordings"
    folder.mkdir()
    other = excerpt(unknown, 5, 8)
    first, second = excerpt(catalog[1], 20, 15), excerpt(catalog[3], 10, 12)
    write_wav(folder / "mixed.wav", other, first, other, second)
    write_wav(folder / "alien.wav", excerpt(unknown, 0, 20))
    return folder


@pytest.fixture
def truth(tmp_path: Path, catalog: tuple[Recording, ...]) -> Path:
    path = tmp_path / "truth.csv"
    rows = [
        f"mixed.wav,{catalog[1].path.name},8,23,20,35,1,,clear",
        f"mixed.wav,{catalog[3].path.name},31,43,10,22,1,,clear",
    ]
    path.write_text("\n".join([f"{HEADER},snr_db,kind", *rows]))
    return path


def test_a_scan_and_its_table_are_scored_alike_with_and_without_airtrace_run(
    stocked: Airtrace, recordings: Path, truth: Path, catalog: tuple[Recording, ...], tmp_path: Path
) -> None:
    table = tmp_path / "out.csv"
    stocked("scan", recordings / "mixed.wav", recordings / "alien.wav", "--results", table)
    with table.open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert table.read_text().startswith(f"{HEADER},score")
    assert [(row["recording"], row["track"]) for row in rows] == [
        ("mixed.wav", catalog[1].path.name),
        ("mixed.wav", catalog[3].path.name),
    ]
    assert float(rows[0]["start_s"]) == pytest.approx(8, abs=1)

    given = stocked.json("evaluate", recordings, truth, "--results", table)
    with stocked.running():
        scanned = stocked.json("evaluate", recordings, truth)
        wrong = tmp_path / "wrong.csv"
        wrong.write_text(truth.read_text().replace(catalog[1].path.name, "nosuch.ogg"))
        warned = stocked("evaluate", recordings, wrong).err
    assert scanned["warnings"] == []
    assert "warning: wrong.csv names tracks that are not in the catalog: nosuch.ogg; use file names" in warned
    alone = stocked("evaluate", recordings, truth)
    assert (given["all"]["plays"], given["all"]["found"], given["false_plays"]) == (2, 2, [])
    assert given["all"]["f1"] > 0.9
    assert given["position"]["median_s"] < 0.5
    assert given["unknown_s"] == pytest.approx(20, abs=0.1)
    assert given["left_out"] == {}
    assert scanned["all"] == {name: pytest.approx(value, abs=0.01) for name, value in given["all"].items()}
    assert alone.out.splitlines()[1].split()[:4] == ["all", "2", "2", "1.0000"]
    assert alone.err.splitlines() == ["1/2 alien.wav: 0 found in 0:20", "2/2 mixed.wav: 2 found in 0:43"]


def test_what_cannot_be_evaluated_is_reported_in_one_clear_line(
    airtrace: Airtrace, recordings: Path, truth: Path
) -> None:
    absent = airtrace("evaluate", recordings / "alien.wav", truth, exits=None)
    absent.complains("truth: mixed.wav is not among the recordings", code=INPUT)
    swapped = airtrace("evaluate", truth, recordings / "alien.wav", exits=None)
    swapped.complains(str(recordings / "alien.wav"), "the file is not UTF-8", code=INPUT)
    truth.write_text(f"{HEADER},snr_db,kind\nmixed.wav,x.ogg,8,later,20,35,1,,clear\n")
    airtrace("evaluate", recordings, truth, exits=None).complains("line 2, column end_s: 'later'", code=INPUT)
    assert not airtrace.home.exists()
