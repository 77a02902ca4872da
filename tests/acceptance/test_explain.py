"""`airtrace explain` on real music: of recordings with and without a running monitor, of streams while it runs."""

from __future__ import annotations

from datetime import datetime, timedelta
from pathlib import Path

import pytest

from monitor.demo.program import Recording
from tests.acceptance.command import Airtrace
from tests.acceptance.sound import excerpt, on_air, silence, write_wav

INPUT, USAGE = 1, 2
PNG = b"\x89PNG\r\n"


@pytest.fixture
def mixed(tmp_path: Path, catalog: tuple[Recording, ...], unknown: Recording) -> Path:
    """8 s of unknown music, 15 s of a track from 20 s on, 6 s of silence, 12 s of unknown music."""
    parts = (excerpt(unknown, 5, 8), excerpt(catalog[2], 20, 15), silence(6), excerpt(unknown, 20, 12))
    return write_wav(tmp_path / "mixed.wav", *parts)


def test_a_moment_of_a_recording_is_explained_in_words_figures_and_an_image(
    stocked: Airtrace, mixed: Path, catalog: tuple[Recording, ...], tmp_path: Path
) -> None:
    title, picture = catalog[2].path.stem, tmp_path / "why.png"
    number = {track["title"]: track["id"] for track in stocked.json("tracks", "list")}
    another = number[catalog[0].path.stem]
    said = stocked("explain", mixed, "--at", "0:12", "--for", 5, "--png", picture)
    summary, heading, best = said.out.splitlines()[:3]
    assert (summary, said.err) == (f"played: {title}", "")
    figures = ["speed", "votes", "llr", "left", "cosine", "context"]
    assert heading.split() == ["track", "id", "from", "to", "at", *figures, "why"]
    assert best.split()[:5] == [title, str(number[title]), "0:08", "0:23", "0:20"]
    assert "play: llr" in best
    assert picture.read_bytes().startswith(PNG)

    (match,) = stocked.json("scan", mixed)[0]["matches"]
    with stocked.running():
        found = stocked.json("explain", mixed, "--at", "12", "--for", 5)
        other = stocked.json("explain", mixed, "--at", "12", "--track", another)
    assert "image" not in found
    assert (found["start_s"], found["end_s"], found["summary"]) == (12, 17, summary)
    play = found["hypotheses"][0]
    assert (play["track"]["id"], play["verdict"]) == (match["track"]["id"], "play")
    for name in ("start_s", "end_s", "track_start_s", "track_end_s", "llr"):
        assert play[name] == pytest.approx(match[name], abs=0.01), name
    assert {each["track"]["id"] for each in other["hypotheses"]} == {another}
    assert all(each["verdict"] == "llr_too_low" for each in other["hypotheses"])
    assert all("llr too low: " in each["reason"] for each in other["hypotheses"])


def test_silence_is_reported_and_leaves_nothing_to_draw(stocked: Airtrace, mixed: Path, tmp_path: Path) -> None:
    said = stocked("explain", mixed, "--at", "25", "--for", 3, "--png", tmp_path / "none.png")
    assert said.out.splitlines() == ["silence, which is never searched", "silent: 7 of 7 segments"]
    assert said.err == f"did not draw {tmp_path / 'none.png'}: there is no hypothesis to draw\n"
    assert not (tmp_path / "none.png").exists()


def test_a_moment_of_a_stream_is_explained_while_it_is_monitored(
    stocked: Airtrace, catalog: tuple[Recording, ...], tmp_path: Path
) -> None:
    with on_air(excerpt(catalog[0], 10, 40)) as station, stocked.running() as run:
        stocked("streams", "add", "radio one", station.url)
        run.wait_for(lambda: any(match["track_end_s"] > 25 for match in run.get("matches")))
        (match,) = run.get("matches")
        start = datetime.fromisoformat(match["start"])
        moment = start + timedelta(seconds=5)
        found = stocked.json("explain", "radio one", "--at", moment.isoformat(), "--for", 4)
        drawn = stocked("explain", "radio one", "--at", f"{moment:%H:%M:%S}", "--png", tmp_path / "why.png")
        early = stocked("explain", "radio one", "--at", (start - timedelta(hours=1)).isoformat(), exits=None)
        early.complains("the log of", "after that moment", "airtrace matches --stream", code=INPUT)
    alone = stocked.json("explain", "radio one", "--at", moment.isoformat(), "--for", 4)

    play = found["hypotheses"][0]
    assert (play["track"]["id"], play["verdict"]) == (match["track"]["id"], "play")
    assert datetime.fromisoformat(found["origin"]) == moment
    begins = moment + timedelta(seconds=play["start_s"])
    assert abs(begins - start) < timedelta(seconds=0.05)
    assert play["track_start_s"] == pytest.approx(match["track_start_s"], abs=0.05)
    assert drawn.out.splitlines()[0] == f"played: {catalog[0].path.stem}"
    assert f" {start:%H:%M:%S} " in drawn.out
    assert (tmp_path / "why.png").read_bytes().startswith(PNG)
    assert alone["hypotheses"][0]["verdict"] == "play", "the log is there without a monitor that runs"


def test_what_cannot_be_explained_is_reported_in_one_clear_line(stocked: Airtrace, mixed: Path, tmp_path: Path) -> None:
    (tmp_path / "notes.mp3").write_text("no audio")
    for arguments, words, code in (
        ((mixed, "--at", "noon"), ("'noon'", "83.5 or 1:23.5"), USAGE),
        ((mixed, "--at", "60"), ("mixed.wav", "ends before 60.0 s"), INPUT),
        ((mixed, "--at", "12", "--track", 77), ("no track 77",), INPUT),
        ((mixed, "--at", "12", "--png", tmp_path / "none" / "a.png"), ("a.png", "choose another file"), INPUT),
        ((tmp_path / "notes.mp3", "--at", "1"), ("notes.mp3",), INPUT),
        ((tmp_path, "--at", "1"), (str(tmp_path),), INPUT),
        (("radio", "--at", "83.5"), ("'83.5'", "14:03:07"), USAGE),
        (("radio", "--at", "14:03:07"), ("neither a file nor a stream named 'radio'",), INPUT),
    ):
        stocked("explain", *arguments, exits=None).complains(*words, code=code)
