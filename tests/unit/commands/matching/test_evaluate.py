"""`airtrace evaluate` on a result file: it runs nothing, measures the recordings, and says what does not fit."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import pytest
import soundfile

from monitor.commands.matching.evaluate import evaluate
from monitor.commands.matching.scan import reported, scan
from monitor.evaluation import files
from monitor.evaluation.errors import EvaluationError, TableError
from monitor.evaluation.plays import Result, Truth
from monitor.settings import load
from tests.unit.evaluation.rows import play, result

Evaluate = Callable[..., Any]


@pytest.fixture
def recordings(tmp_path: Path) -> Path:
    """Two short recordings and a file that is not one, in a directory."""
    folder = tmp_path / "recordings"
    (folder / "deeper").mkdir(parents=True)
    for path, length_s in ((folder / "a.wav", 30), (folder / "deeper" / "b.flac", 20.5)):
        soundfile.write(path, np.zeros(round(8000 * length_s)), 8000)
    (folder / "notes.txt").touch()
    return folder


@pytest.fixture
def evaluated(tmp_path: Path, recordings: Path) -> Evaluate:
    """Evaluates tables that are made of rows; anything else goes to the command."""

    async def run(truth: list[Truth], found: list[Result], *paths: Path, **options: Any) -> int:
        files.write_truth(tmp_path / "truth.csv", truth)
        files.write_results(tmp_path / "results.csv", found)
        options = {"results": tmp_path / "results.csv", "families": None, "as_json": True} | options
        settings = load(home=tmp_path / "home")
        code = await evaluate(settings, paths or [recordings], tmp_path / "truth.csv", **options)
        assert not (tmp_path / "home").exists(), "nothing is run for a result file"
        return code

    return run


async def test_a_result_file_is_scored_over_the_lengths_of_the_recordings(
    evaluated: Evaluate, capsys: pytest.CaptureFixture[str]
) -> None:
    assert await evaluated([play(0, 20)], [result(0, 19), result(1, 3, recording="b.flac")]) == 0
    values = orjson.loads(capsys.readouterr().out)
    assert (values["recordings"], values["duration_s"], values["unknown_s"]) == (2, 50.5, 20.5)
    assert values["false_plays_per_hour"] == pytest.approx(3600 / 20.5)
    assert values["all"]["recall"] == 0.95
    assert values["left_out"] == {}


async def test_the_table_is_for_people(evaluated: Evaluate, capsys: pytest.CaptureFixture[str]) -> None:
    kind = "music\x1b[31m"
    assert await evaluated([play(0, 20, kind=kind)], [result(0, 19)], as_json=False) == 0
    out, err = capsys.readouterr()
    assert out.startswith("2 recordings, 0.01 h  plays  found")
    assert "kind music?[31m" in out
    assert err == ""


async def test_files_are_named_as_well_as_directories(
    evaluated: Evaluate, recordings: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert await evaluated([], [], recordings / "deeper" / "b.flac", recordings / "deeper") == 0
    assert orjson.loads(capsys.readouterr().out)["duration_s"] == 20.5


async def test_a_length_that_no_header_counts_is_decoded(
    evaluated: Evaluate, recordings: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    soundfile.write(recordings / "c.mp3", np.zeros(12 * 32000), 32000)
    assert await evaluated([], [], recordings / "c.mp3") == 0
    assert orjson.loads(capsys.readouterr().out)["duration_s"] == pytest.approx(12, abs=0.1)


async def test_families_are_one_track(evaluated: Evaluate, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "families.csv").write_text("track,family\nx.ogg,f\ny.ogg,f\n")
    await evaluated([play(0, 20)], [result(0, 20, "y.ogg")], families=tmp_path / "families.csv")
    assert orjson.loads(capsys.readouterr().out)["all"]["f1"] == 1


async def test_a_recording_that_cannot_be_used_is_left_out_and_reported(
    evaluated: Evaluate, recordings: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (recordings / "torn.wav").write_text("Dear radio")
    truth, found = [play(0, 20), play(0, 9, recording="torn.wav")], [result(0, 20), result(0, 9, recording="torn.wav")]
    assert await evaluated(truth, found) == 1
    values = orjson.loads(capsys.readouterr().out)
    assert (values["recordings"], values["all"]["plays"], values["results"]) == (2, 1, 1)
    assert "no readable audio" in values["left_out"]["torn.wav"]

    assert await evaluated(truth, found, as_json=False) == 1
    out, err = capsys.readouterr()
    assert out.splitlines()[-1] == "left out: 1 of 3 recordings could not be used"
    assert err.startswith(f"airtrace: {recordings / 'torn.wav'}: no readable audio")


async def test_tracks_that_nothing_can_match_are_a_warning(
    evaluated: Evaluate, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    truth = [play(10 * i, 10 * i + 5, name, recording="b.flac") for i, name in enumerate("ab")]
    truth += [play(5 * i, 5 * i + 4, name) for i, name in enumerate(["c", "d", "e", "x.ogg"])]
    warning = (
        "truth.csv names tracks that are not in results.csv: a, b, c (+2 more); "
        "use file names as `airtrace scan --results` writes them"
    )
    assert await evaluated(truth, [result(15, 19)]) == 0
    assert orjson.loads(capsys.readouterr().out)["warnings"] == [warning]
    assert await evaluated(truth, [result(15, 19)], as_json=False) == 0
    assert capsys.readouterr().err == f"warning: {warning}\n"

    (tmp_path / "families.csv").write_text("track,family\n" + "".join(f"{name},f\n" for name in ["x.ogg", *"abcde"]))
    assert await evaluated(truth, [result(15, 19)], families=tmp_path / "families.csv") == 0
    assert orjson.loads(capsys.readouterr().out)["warnings"] == []


async def test_a_missing_table_and_a_single_recording_are_named_plainly(
    evaluated: Evaluate, recordings: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(TableError, match=r"nosuch\.csv: No such file or directory$"):
        await evaluated([], [], families=tmp_path / "nosuch.csv")
    assert await evaluated([], [], recordings / "a.wav", as_json=False) == 0
    assert capsys.readouterr().out.startswith("1 recording, ")


async def test_tables_and_recordings_that_do_not_fit_together_are_refused(
    evaluated: Evaluate, recordings: Path, tmp_path: Path
) -> None:
    with pytest.raises(EvaluationError, match=r"truth: z\.wav is not among the recordings"):
        await evaluated([play(0, 1, recording="z.wav")], [])
    with pytest.raises(EvaluationError, match=r"results: z\.wav is not among"):
        await evaluated([], [result(0, 1, recording="z.wav")])
    (tmp_path / "empty").mkdir()
    with pytest.raises(EvaluationError, match="no recordings found"):
        await evaluated([], [], tmp_path / "empty")
    shutil.copy(recordings / "a.wav", recordings / "deeper")
    with pytest.raises(EvaluationError, match="the same name"):
        await evaluated([], [])


async def test_a_scan_that_could_not_write_its_table_does_not_begin(tmp_path: Path, recordings: Path) -> None:
    settings = load(home=tmp_path / "home")
    with pytest.raises(TableError, match="create it first"):
        await scan(settings, [recordings / "a.wav"], results=tmp_path / "nowhere" / "out.csv", as_json=True)
    with pytest.raises(EvaluationError, match="the same name"):
        await scan(settings, [recordings / "a.wav"] * 2, results=tmp_path / "out.csv", as_json=True)
    assert not (tmp_path / "home").exists()


def test_a_scan_names_plays_by_their_files() -> None:
    times = {"start_s": 1.0, "end_s": 9.0, "track_start_s": 20.0, "track_end_s": 28.4, "score": 0.75}
    matches = [
        {"track": {"title": "X", "source": "/music/x.ogg"}, **times},
        {"track": {"title": "Y", "source": ""}, **times, "speed": 1.05, "reported_s": 4.5},
    ]
    assert list(reported({"file": "/recordings/a.wav", "matches": matches})) == [
        Result("a.wav", "x.ogg", 1.0, 9.0, 20.0, 28.4, 1.0, 0.75),
        Result("a.wav", "Y", 1.0, 9.0, 20.0, 28.4, 1.05, 0.75, 4.5),
    ]
