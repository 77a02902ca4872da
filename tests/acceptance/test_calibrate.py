"""`airtrace calibrate` for a user: its threshold lasts from one command to the next; bad input is refused."""

from __future__ import annotations

import json
from pathlib import Path
from urllib.request import Request, urlopen

import pytest

from monitor.demo.program import Recording
from tests.acceptance.command import Airtrace
from tests.acceptance.sound import excerpt, write_wav

INPUT, USAGE = 1, 2
SHORT_S = 6.0


@pytest.fixture
def unheard(tmp_path: Path, unknown: Recording) -> Path:
    return write_wav(tmp_path / "unknown.wav", excerpt(unknown, 5, 30))


def put(url: str, body: dict[str, object]) -> None:
    data = json.dumps(body).encode()
    request = Request(f"{url}/api/v1/calibration", data, {"Content-Type": "application/json"}, method="PUT")
    with urlopen(request, timeout=60) as answer:
        assert answer.status == 200


def test_a_calibration_outlives_the_process_that_made_it(
    stocked: Airtrace, catalog: tuple[Recording, ...], tmp_path: Path
) -> None:
    short = write_wav(tmp_path / "short.wav", excerpt(catalog[0], 20, SHORT_S))
    (match,) = stocked.json("scan", short)[0]["matches"]
    peaks = [{"track": 1, "start_s": 60 * i, "end_s": 60 * i + 5, "llr": 15.0 + i} for i in range(30)]
    heard = {"file": "a.wav", "duration_s": 7200, "sound_s": 7200, "peaks": peaks}
    with stocked.running() as run:
        url = json.loads((run.home / "run.json").read_text())["url"]
        put(url, {"recordings": [heard]})
        needed = stocked.json("calibrate", "--show")["open_llr"]
    assert needed > match["llr"]

    shown = stocked.json("calibrate", "--show")
    assert shown["open_llr"] == shown["calibration"]["open_llr"] == needed
    assert stocked.json("scan", short)[0]["matches"] == []
    assert "the detector's default" in stocked("calibrate", "--reset").err
    assert stocked.json("scan", short)[0]["matches"] == [match]


def test_unusable_recordings_are_reported_in_one_clear_line(stocked: Airtrace, unheard: Path) -> None:
    done = stocked("calibrate", unheard, exits=INPUT)
    assert done.err.splitlines()[0].startswith("1/1 unknown.wav: ")
    assert "min of sound" in done.err.splitlines()[1]
    assert "add recordings until there are 60 min" in done.err.splitlines()[1]
    for arguments in ((), ("--show", "--reset"), (unheard, "--show")):
        stocked("calibrate", *arguments, exits=None).complains("give either recordings", code=USAGE)


def test_an_empty_catalog_has_nothing_to_calibrate(airtrace: Airtrace, unheard: Path) -> None:
    airtrace("calibrate", unheard, exits=None).complains("catalog is empty", "airtrace tracks add", code=INPUT)
    assert "not calibrated" in airtrace("calibrate", "--show").out
