"""Calibration over the HTTP API and by the command, with real parts: peaks, the threshold, and its reset."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx2
import numpy as np
import orjson
import pytest

from monitor.api.matches import calibration as router
from monitor.catalog.catalog import Catalog
from monitor.commands.matching import calibrate as command
from monitor.core.calibration import CATALOG_PLAY_SHARE, Peak
from monitor.detect.detector import DetectorInfo
from monitor.detect.logmel import LogMelDetector
from monitor.errors import Conflict
from monitor.local import home
from monitor.matching.calibration import CalibrationAudio
from monitor.matching.matcher import Matcher
from monitor.parts import Airtrace
from monitor.processes.http_app import create_app
from monitor.processes.http_server import serve_http
from monitor.settings import Settings
from monitor.storage.milvus import Index
from monitor.storage.records import Calibration, Metadata
from monitor.storage.storage import Storage
from tests.songs import SECOND, Songs, seconds, written

API = "/api/v1"
DEFAULT = LogMelDetector.thresholds.open_llr
MIN = DEFAULT / 3
HOUR_S = 3600.0


@pytest.fixture
def parts(
    tmp_path: Path, dsn: str, storage: Storage, index: Index, catalog: Catalog, matcher: Matcher, executor: Any
) -> Airtrace:
    return Airtrace(Settings(home=tmp_path), dsn, storage, index, catalog, matcher, executor)


@pytest.fixture
async def client(parts: Airtrace) -> AsyncIterator[httpx2.AsyncClient]:
    transport = httpx2.ASGITransport(app=create_app(parts), raise_app_exceptions=False)
    async with httpx2.AsyncClient(transport=transport, base_url="http://localhost", timeout=60) as http:
        yield http


@pytest.fixture
async def one(catalog: Catalog, songs: Songs, tmp_path: Path) -> int:
    path = written(tmp_path / "one.wav", songs.one)
    return (await catalog.add(path, Metadata("One", str(path)))).track.id


def problem(response: httpx2.Response, status: int) -> str:
    assert response.status_code == status, response.text
    assert response.headers["content-type"] == "application/problem+json"
    detail: str = response.json()["detail"]
    return detail


# Peaks


async def posted(client: httpx2.AsyncClient, path: Path) -> list[Any]:
    """The lines of the answer."""
    response = await client.post(f"{API}/calibrate", files={"file": (path.name, path.read_bytes())})
    assert response.status_code == 200, response.text
    return [orjson.loads(line) for line in response.text.splitlines()]


async def test_sound_and_peaks_of_a_recording_do_not_depend_on_the_calibration(
    client: httpx2.AsyncClient, parts: Airtrace, one: int, songs: Songs, tmp_path: Path
) -> None:
    pieces = (songs.unknown[: seconds(12)], songs.one[seconds(9.3) : seconds(29.3)], songs.silence[: seconds(30)])
    path = written(tmp_path / "mixed.wav", np.concatenate(pieces))
    *progress, heard = await posted(client, path)
    assert progress
    assert all(set(line) == {"done_s"} for line in progress)
    assert [line["done_s"] for line in progress] == sorted(line["done_s"] for line in progress)
    assert (heard["file"], heard["duration_s"]) == ("mixed.wav", 62)
    assert heard["sound_s"] == pytest.approx(32, abs=1)
    maximum = max(heard["peaks"], key=lambda peak: peak["llr"])
    assert maximum["track"] == one
    assert (maximum["start_s"], maximum["end_s"]) == (pytest.approx(12, abs=1), pytest.approx(32, abs=1))
    assert maximum["llr"] > CATALOG_PLAY_SHARE * DEFAULT, "so much that it is taken for a play"
    assert all(peak["llr"] >= MIN for peak in heard["peaks"])

    parts.matcher.set_open_threshold(1000.0)
    assert (await posted(client, path))[-1] == heard


async def test_a_file_without_audio_is_a_problem_in_the_last_line(client: httpx2.AsyncClient, tmp_path: Path) -> None:
    (tmp_path / "notes.mp3").write_text("no audio")
    (last,) = await posted(client, tmp_path / "notes.mp3")
    assert last["status"] == 422
    assert "notes.mp3" in last["detail"]


# The threshold


def heard(track: int, mean_excess: float = 1.0, hours: float = 4.0, **more: Any) -> dict[str, Any]:
    """A recording with 40 peaks per hour with an exponential tail: its quantiles, instead of random draws."""
    n_peaks = round(40 * hours)
    llrs = MIN - mean_excess * np.log((np.arange(n_peaks) + 0.5) / n_peaks)
    peaks = [
        {"track": track, "start_s": 60 * i, "end_s": 60 * i + 5, "llr": llr} for i, llr in enumerate(llrs.tolist())
    ]
    sound_s = HOUR_S * hours
    return {"file": "a.wav", "duration_s": sound_s, "sound_s": sound_s, "peaks": peaks, **more}


async def set_(client: httpx2.AsyncClient, *recordings: dict[str, Any], **more: Any) -> dict[str, Any]:
    response = await client.put(f"{API}/calibration", json={"recordings": list(recordings), **more})
    assert response.status_code == 200, response.text
    made: dict[str, Any] = response.json()
    return made


async def test_a_calibration_is_in_force_at_once_and_kept_until_it_is_reset(
    client: httpx2.AsyncClient, parts: Airtrace, one: int
) -> None:
    default = parts.matcher.thresholds
    before = (await client.get(f"{API}/calibration")).json()
    assert (before["open_llr"], before["default"], before["minimum"]) == (DEFAULT, DEFAULT, DEFAULT / 2)
    assert (before["calibration"], before["tracks"]) == (None, 1)

    made = await set_(client, heard(one, 2.0), rate_per_1000_h=2.0)
    kept = made["calibration"]
    expected = MIN + 2 * np.log(40 / 0.002)
    assert kept["fitted"]["value"] == pytest.approx(expected, abs=1)
    assert kept["fitted"]["low"] < kept["fitted"]["value"] < kept["fitted"]["high"]
    assert kept["open_llr"] == kept["fitted"]["value"]
    assert (kept["rate_per_1000_h"], kept["sound_s"], kept["peaks"], kept["tracks"]) == (2, 4 * HOUR_S, 160, 1)
    assert made["expected"]["rate_per_1000_h"]["value"] == pytest.approx(2)
    assert made["previous"]["open_llr"] == DEFAULT
    assert made["previous"]["rate_per_1000_h"]["value"] > 2
    assert (made["heavy_tail"], made["catalog_plays"]) == (False, [])
    assert [(place["file"], place["track"]["title"]) for place in made["largest_peaks"]] == [("a.wav", "One")] * 10

    assert parts.matcher.thresholds == replace(default, open_llr=kept["open_llr"])
    shown = (await client.get(f"{API}/calibration")).json()
    assert (shown["open_llr"], shown["calibration"]) == (kept["open_llr"], kept)

    assert (await client.delete(f"{API}/calibration")).status_code == 204
    assert parts.matcher.thresholds == default
    assert (await client.get(f"{API}/calibration")).json() == before


async def test_a_dry_run_changes_nothing(client: httpx2.AsyncClient, parts: Airtrace, one: int) -> None:
    made = await set_(client, heard(one), dry_run=True)
    assert made["calibration"]["made_at"] is None
    assert parts.matcher.thresholds.open_llr == DEFAULT
    assert (await client.get(f"{API}/calibration")).json()["calibration"] is None


async def test_a_threshold_is_at_least_half_of_the_detectors_own(
    client: httpx2.AsyncClient, parts: Airtrace, one: int
) -> None:
    made = await set_(client, heard(one, 0.01))
    assert made["calibration"]["fitted"]["value"] < DEFAULT / 2
    thresholds, default = parts.matcher.thresholds, LogMelDetector.thresholds
    assert made["calibration"]["open_llr"] == thresholds.open_llr == DEFAULT / 2
    assert thresholds.vote_llr == default.vote_llr / 2, "or no line with so little would be looked at"
    assert made["expected"]["open_llr"] == DEFAULT / 2


async def test_plays_of_the_catalog_are_left_out_and_named(client: httpx2.AsyncClient, one: int) -> None:
    alone = await set_(client, heard(one), dry_run=True)
    play = {"track": one, "start_s": 20_000, "end_s": 20_090, "llr": 200.0}
    beside = {"track": 77, "start_s": 20_010, "end_s": 20_020, "llr": 50.0}
    mixed = {"file": "b.wav", "duration_s": 90, "sound_s": 90, "peaks": [play, beside]}
    made = await set_(client, heard(one), mixed, dry_run=True)
    assert made["calibration"] == alone["calibration"]
    (place,) = made["catalog_plays"]
    assert (place["file"], place["start_s"], place["end_s"], place["llr"]) == ("b.wav", 20_000, 20_090, 200)
    assert place["track"]["title"] == "One"


async def test_a_track_that_was_deleted_meanwhile_is_left_empty(client: httpx2.AsyncClient, one: int) -> None:
    made = await set_(client, heard(one + 1), dry_run=True)
    assert made["largest_peaks"][0]["track"] is None


async def test_too_little_is_refused_with_what_to_add(client: httpx2.AsyncClient, parts: Airtrace, one: int) -> None:
    for recordings, words in (
        ([], "0 min of sound"),
        ([heard(one, hours=0.75)], "add recordings until there are 60 min"),
        ([heard(one, peaks=heard(one)["peaks"][:5])], "only 5 peaks"),
    ):
        response = await client.put(f"{API}/calibration", json={"recordings": recordings})
        assert words in problem(response, 422)
    assert parts.matcher.thresholds.open_llr == DEFAULT


@pytest.mark.parametrize(
    ("body", "named"),
    [
        ({}, "recordings"),
        ({"recordings": [], "rate_per_1000_h": 0}, "rate_per_1000_h"),
        ({"recordings": [], "rate_per_1000_h": float("nan")}, "rate_per_1000_h"),
        ({"recordings": [{"file": "a", "duration_s": 1, "sound_s": -1, "peaks": []}]}, "sound_s"),
        ({"recordings": [{"file": "a", "duration_s": 1, "sound_s": 1, "peaks": [{"track": 1}]}]}, "llr"),
    ],
)
async def test_an_invalid_calibration_names_the_field(
    client: httpx2.AsyncClient, body: dict[str, Any], named: str
) -> None:
    headers = {"content-type": "application/json"}
    response = await client.put(f"{API}/calibration", content=_json(body), headers=headers)
    assert named in problem(response, 422)


def _json(value: Any) -> str:
    import json  # orjson writes no NaN, which others do

    return json.dumps(value)


async def test_a_threshold_decides_what_is_reported(
    client: httpx2.AsyncClient, one: int, songs: Songs, tmp_path: Path
) -> None:
    path = written(tmp_path / "short.wav", songs.one[seconds(10) : seconds(20)])

    async def found() -> list[Any]:
        answer = await client.post(f"{API}/identify", files={"file": (path.name, path.read_bytes())})
        matches: list[Any] = answer.json()["matches"]
        return matches

    (match,) = await found()
    made = await set_(client, heard(one, 12.0))
    assert made["calibration"]["open_llr"] > match["llr"]
    assert await found() == []
    await client.delete(f"{API}/calibration")
    assert await found() == [match]


# Storage


async def test_the_newest_calibration_of_the_same_weights_counts(storage: Storage) -> None:
    info = DetectorInfo("fingerprint", "naf-1", "abc", 128)
    older = Calibration(15.0, 15.0, 13.0, 18.0, 1.0, 7200.0, 100, 20, 8.0, 1.1, 5)
    newer = replace(older, open_llr=16.0, fitted=16.0)
    assert await storage.calibrations.newest(info) is None
    kept = [await storage.calibrations.add(each, info) for each in (older, newer)]
    assert all(each.made_at is not None for each in kept)
    assert await storage.calibrations.newest(info) == kept[1]
    for other in (replace(info, name="panns"), replace(info, version="naf-2"), replace(info, checksum="abd")):
        assert await storage.calibrations.newest(other) is None
        await storage.calibrations.delete(other)
    assert await storage.calibrations.newest(info) == kept[1]
    await storage.calibrations.delete(info)
    assert await storage.calibrations.newest(info) is None


# The command


@pytest.fixture
async def connected(parts: Airtrace) -> AsyncIterator[None]:
    """The command finds these parts running in its home."""
    async with serve_http(parts, "127.0.0.1", 0) as url:
        with home.held(parts.settings.home) as held, held.announced(url):
            yield


@pytest.fixture
def hours(monkeypatch: pytest.MonkeyPatch, one: int) -> Callable[[Path], Path]:
    """Makes files that seem to be four hours long, with peaks whose tail is known: real ones would take minutes."""

    async def collect(matcher: Matcher, path: Path) -> AsyncGenerator[CalibrationAudio, None]:
        told = heard(one, 2.0)
        peaks = [
            Peak(each["track"], each["start_s"] * SECOND, each["end_s"] * SECOND, each["llr"]) for each in told["peaks"]
        ]
        if path.name.startswith("mixed"):
            peaks.append(Peak(one, seconds(14_000), seconds(14_060), 300.0))
        samples = seconds(told["sound_s"])
        yield CalibrationAudio(samples // 2, samples // 2)
        yield CalibrationAudio(samples, samples, tuple(peaks))

    def made(path: Path) -> Path:
        path.touch()
        monkeypatch.setattr(router, "collect_peaks", collect)
        return path

    return made


Captured = pytest.CaptureFixture[str]


async def test_the_command_calibrates_shows_and_resets(
    connected: None, parts: Airtrace, hours: Callable[[Path], Path], tmp_path: Path, capsys: Captured
) -> None:
    settings, files = parts.settings, [hours(tmp_path / "a.wav"), hours(tmp_path / "b.wav")]
    assert await command.show(settings, as_json=False) == 0
    assert capsys.readouterr().out == "in force: threshold (llr) 20.0, the detector's default; not calibrated\n"

    assert await command.calibrate(settings, files, rate=1.0, dry_run=True, as_json=False) == 0
    said = capsys.readouterr()
    assert "dry run: nothing changed" in said.out.splitlines()
    assert said.err.splitlines() == ["1/2 a.wav: 160 peaks in 4:00:00", "2/2 b.wav: 160 peaks in 4:00:00"]
    assert parts.matcher.thresholds.open_llr == DEFAULT

    assert await command.calibrate(settings, files, rate=1.0, dry_run=False, as_json=False) == 0
    needed = parts.matcher.thresholds.open_llr
    basis, fitted, expected, in_force, heading, *table = capsys.readouterr().out.splitlines()
    assert basis.startswith("8.0 h of sound, 320 peaks; the 32 largest exceed ")
    assert fitted.startswith(f"for 1 false match per 1,000 h: threshold (llr) {needed:.1f} (95 %: ")
    assert expected.startswith("expected false matches per 1,000 h: 1 (")
    assert "at the previous threshold of 20.0" in expected
    assert in_force == f"in force: threshold (llr) {needed:.1f}"
    assert heading.startswith("largest peaks; ")
    assert [row.split()[3] for row in table] == ["track", *["One"] * 5]

    assert await command.show(settings, as_json=False) == 0
    shown = capsys.readouterr().out.splitlines()
    assert shown[0] == f"in force: threshold (llr) {needed:.1f} (the detector's default: 20.0)"
    assert shown[1].endswith(" UTC, with 1 catalog tracks")
    assert shown[2:] == [basis, fitted]

    assert await command.reset(settings) == 0
    assert capsys.readouterr().err == "in force: threshold (llr) 20.0, the detector's default\n"
    assert parts.matcher.thresholds.open_llr == DEFAULT


async def test_the_command_names_plays_of_the_catalog_and_unusable_files(
    connected: None, parts: Airtrace, hours: Callable[[Path], Path], tmp_path: Path, capsys: Captured
) -> None:
    files = [hours(tmp_path / "mixed.wav"), tmp_path / "none.wav"]
    assert await command.calibrate(parts.settings, files, rate=1.0, dry_run=False, as_json=False) == 1
    said = capsys.readouterr()
    assert "in force: " in said.out
    assert said.out.splitlines()[-1].split() == [str(files[0]), "3:53:20", "1:00", "One", "300.0"]
    assert f"airtrace: {files[1]}: No such file or directory" in said.err
    assert "ignored 1 plays of catalog tracks," in said.err

    assert await command.calibrate(parts.settings, files, rate=1.0, dry_run=True, as_json=True) == 1
    told = orjson.loads(capsys.readouterr().out)
    assert list(told["errors"]) == [str(files[1])]
    assert told["catalog_plays"][0]["file"] == str(files[0])


async def test_the_command_says_when_the_running_process_has_another_threshold(
    connected: None, parts: Airtrace, storage: Storage, one: int, capsys: Captured
) -> None:
    elsewhere = Calibration(15.0, 15.0, 13.0, 18.0, 1.0, 7200.0, 100, 20, 8.0, 1.1, 0)
    await storage.calibrations.add(elsewhere, parts.matcher.detector.info)
    await command.show(parts.settings, as_json=False)
    first, *_, last = capsys.readouterr().out.splitlines()
    assert first == "in force: threshold (llr) 20.0 until airtrace is restarted, then 15.0"
    assert last == "the catalog has grown to 1 tracks, which raises the rate: calibrate again"


async def test_the_command_reads_no_file_for_an_empty_catalog(connected: None, parts: Airtrace, tmp_path: Path) -> None:
    with pytest.raises(Conflict, match="catalog is empty"):
        await command.calibrate(parts.settings, [tmp_path / "none.wav"], rate=1.0, dry_run=False, as_json=True)
