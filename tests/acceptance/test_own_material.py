"""A user's own music and stream through the installed commands, with and without a running `airtrace run`."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path

import pytest

from monitor.demo.program import Recording
from tests.acceptance.command import Airtrace, Running
from tests.acceptance.sound import at_s, excerpt, on_air, write_wav

NEAR_S = 1.0


def test_a_users_own_music_and_stream_take_five_commands(
    airtrace: Airtrace, catalog: tuple[Recording, ...], tmp_path: Path
) -> None:
    album = tmp_path / "album"
    album.mkdir()
    for track in catalog[:2]:
        (album / track.path.name).symlink_to(track.path)
    (album / "cover.txt").write_text("not music, and not tried")
    with on_air(excerpt(catalog[0], 10, 12)) as station:
        added = airtrace("tracks", "add", album)
        with airtrace.running() as run:
            said = airtrace("streams", "add", "radio", station.url)
            run.wait_for(lambda: run.get("matches", state="closed"))
            (match,) = airtrace.json("matches")
            table = airtrace("matches")
            (stream,) = airtrace.json("streams", "list")

    assert added.out == "2 added, 0 already known, 0 failed\n"
    assert len(added.err.splitlines()) == 2
    assert (said.out, said.err) == ("", f"added radio ({station.url}); `airtrace run` monitors it while it runs\n")
    assert match["track"]["title"] == catalog[0].path.stem
    assert match["stream"]["name"] == "radio"
    begins_s, ends_s = at_s(station, match["start"]), at_s(station, match["end"])
    assert (begins_s, ends_s) == (pytest.approx(0, abs=NEAR_S), pytest.approx(12, abs=NEAR_S))
    assert match["track_start_s"] == pytest.approx(10 + begins_s, abs=NEAR_S)
    assert match["track_end_s"] == pytest.approx(10 + ends_s, abs=NEAR_S)
    heading, row = table.out.splitlines()
    assert heading.split() == ["start", "(UTC)", "length", "stream", "track", "position", "score", "state"]
    assert "radio" in row
    assert catalog[0].path.stem in row
    assert row.split()[-1] == "closed"
    assert (stream["name"], stream["url"]) == ("radio", station.url)


def test_a_track_is_recognized_within_seconds_of_being_added_and_not_after_it_is_deleted(
    stocked: Airtrace, unknown: Recording
) -> None:
    length_s = 55
    whole = excerpt(unknown, 0, length_s)
    with on_air(whole, whole) as station, stocked.running() as run:
        stocked("streams", "add", "radio", station.url)
        run.wait_for(lambda: _covered_s(run) > 6)
        assert run.get("matches") == []

        (added,) = stocked.json("tracks", "add", unknown.path)
        match = run.wait_for(lambda: run.get("matches"))[0]
        assert (match["track"]["id"], match["track"]["title"]) == (added["track"], unknown.path.stem)
        assert match["track_start_s"] == pytest.approx(at_s(station, match["start"]) % length_s, abs=NEAR_S)
        assert [alert["match_id"] for alert in stocked.json("alerts", "--state", "open")] == [match["id"]]

        said = stocked("tracks", "delete", added["track"])
        assert said.err == f"deleted track {added['track']}; its past matches are kept\n"
        heard_s = _covered_s(run)
        run.wait_for(lambda: _covered_s(run) > heard_s + 8)
        (ended,) = run.wait_for(lambda: run.get("matches", state="closed"))
        assert ended["id"] == match["id"]
        assert run.get("matches", state="open") == []
        assert at_s(station, ended["end"]) < station.elapsed_s - 4, "it went on after its track was deleted"


def test_streams_and_tracks_are_listed_and_removed(stocked: Airtrace, catalog: tuple[Recording, ...]) -> None:
    with stocked.running():
        assert stocked("streams", "list").err == "no streams yet: airtrace streams add NAME URL\n"
        stocked("streams", "add", "radio one", "http://user:secret@127.0.0.1:9/live.mp3")
        stocked("streams", "add", "radio one", "http://127.0.0.1:9/", exits=None).complains("remove it first", code=1)
        listed = stocked("streams", "list").out
        assert "radio one" in listed
        assert "secret" not in listed
        assert stocked("streams", "remove", "radio one").err == "removed radio one; its matches and coverage are kept\n"
        stocked("streams", "remove", "radio one", exits=None).complains("there is no stream", code=1)

        tracks = stocked.json("tracks", "list")
        assert {track["source"] for track in tracks} == {str(track.path) for track in catalog}
        table = stocked("tracks", "list", catalog[2].path.stem).out.splitlines()
        assert len(table) == 2
        assert str(catalog[2].path) in table[1]
        stocked("tracks", "delete", tracks[0]["id"])
        stocked("tracks", "delete", tracks[0]["id"], exits=None).complains("there is no track", code=1)
        assert tracks[0]["id"] not in [track["id"] for track in stocked.json("tracks", "list")]
        assert stocked("tracks", "list", "no such title").err == "no track matches 'no such title'\n"


def test_streams_and_tracks_are_kept_without_a_running_monitor(stocked: Airtrace) -> None:
    stocked("streams", "add", "radio", "http://127.0.0.1:9/")
    tracks = stocked.json("tracks", "list")
    stocked("tracks", "delete", tracks[0]["id"])
    with stocked.running() as run:
        assert [stream["name"] for stream in run.get("streams")] == ["radio"]
        assert run.get("tracks") == tracks[1:]
    stocked("streams", "remove", "radio")
    assert stocked.json("streams", "list") == []


@pytest.mark.parametrize("with_run", [True, False], ids=["with airtrace run", "without"])
def test_a_scan_reports_where_a_track_is_in_a_recording_and_nothing_about_unknown_music(
    stocked: Airtrace, catalog: tuple[Recording, ...], unknown: Recording, tmp_path: Path, with_run: bool
) -> None:
    known, other = catalog[2], excerpt(unknown, 5, 8)
    mixed = write_wav(tmp_path / "mixed [take 1].wav", other, excerpt(known, 20.3, 15), other)
    alien = write_wav(tmp_path / "alien.wav", excerpt(unknown, 0, 20))
    with _perhaps_running(stocked, with_run):
        found, nothing = stocked.json("scan", mixed, alien)
        table = stocked("scan", mixed, alien)

    assert (found["file"], found["error"]) == (str(mixed), None)
    assert found["duration_s"] == pytest.approx(31, abs=0.1)
    (match,) = found["matches"]
    assert match["track"]["source"] == str(known.path)
    assert match["start_s"] == pytest.approx(8, abs=NEAR_S)
    assert match["end_s"] == pytest.approx(23, abs=NEAR_S)
    assert match["track_start_s"] == pytest.approx(20.3 + match["start_s"] - 8, abs=NEAR_S)
    assert (nothing["file"], nothing["matches"], nothing["error"]) == (str(alien), [], None)
    (row,) = table.out.splitlines()[1:]
    assert "mixed [take 1].wav" in row
    assert known.path.stem in row
    assert table.err.splitlines() == ["1/2 mixed [take 1].wav: 1 found in 0:31", "2/2 alien.wav: 0 found in 0:20"]


def test_matches_of_a_stopped_monitor_are_still_listed(stocked: Airtrace, catalog: tuple[Recording, ...]) -> None:
    with on_air(excerpt(catalog[2], 5, 40)) as station, stocked.running() as run:
        stocked("streams", "add", "radio", station.url)
        opened = run.wait_for(lambda: run.get("matches", state="open"))[0]
    (match,) = stocked.json("matches")
    assert (match["id"], match["state"]) == (opened["id"], "closed")
    assert match["track"]["title"] == catalog[2].path.stem
    newest = stocked.json("coverage", "--stream", "radio", "--limit", 1)[0]
    assert newest["state"] == "covered"
    assert newest["end"] >= match["end"]
    assert "radio" in stocked("coverage").out
    (row,) = stocked("alerts", "--state", "open").out.splitlines()[1:]
    assert catalog[2].path.stem in row
    stocked("matches", "--stream", "rádio", exits=None).complains("there is no stream named 'rádio'", code=1)


def test_with_an_empty_home_commands_say_what_to_do(airtrace: Airtrace) -> None:
    with airtrace.running():
        for command, said in {
            ("tracks", "list"): "no tracks yet: airtrace tracks add FILE...",
            ("streams", "list"): "no streams yet: airtrace streams add NAME URL",
            ("matches",): "no matches yet",
            ("coverage",): "no stream has been monitored yet",
            ("alerts",): "no alerts",
        }.items():
            done = airtrace(*command)
            assert (done.out, done.err) == ("", f"{said}\n")
    assert airtrace.json("matches") == []


@contextmanager
def _perhaps_running(airtrace: Airtrace, with_run: bool) -> Iterator[None]:
    if not with_run:
        yield
        return
    with airtrace.running():
        yield


def _covered_s(run: Running) -> float:
    """Seconds of coverage so far."""
    rows = [row for row in run.get("coverage") if row["state"] == "covered"]
    return sum(
        (datetime.fromisoformat(row["end"]) - datetime.fromisoformat(row["start"])).total_seconds() for row in rows
    )
