"""The tables: what is written is read again, and what is wrong in a file is told with its line and column."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from monitor.evaluation import files
from monitor.evaluation.errors import EvaluationError, TableError
from monitor.evaluation.plays import Result, Truth
from tests.unit.evaluation.rows import play, result

TRUTH_HEADER = "recording,track,start_s,end_s,track_start_s,track_end_s,speed,snr_db,kind"
RESULTS_HEADER = "recording,track,start_s,end_s,track_start_s,track_end_s,speed,score"
ROW = "a.wav,x.ogg,1,2,3,4,1"

# Anything that a file may be called: no slash, no zero byte, and valid Unicode.
_names = st.text(st.characters(exclude_characters="/\x00", exclude_categories=("Cs",)), min_size=1, max_size=12)
_times = st.integers(0, 10_000_000).map(lambda ms: ms / 1000)
_place = st.tuples(_names, _names, _times, _times, _times, _times, st.sampled_from([0.92, 1.0, 1.05]))


def _ordered(row: tuple[Any, ...]) -> tuple[Any, ...]:
    recording, track, start_s, length_s, *rest = row
    return recording, track, start_s, round(start_s + length_s + 0.001, 3), *rest


@given(
    st.lists(st.tuples(_place.map(_ordered), st.sampled_from([None, 0.0, -12.5]), st.sampled_from(["bed", "a b, c"])))
)
def test_truth_is_read_as_it_was_written(rows: list[tuple[tuple[Any, ...], float | None, str]]) -> None:
    truth = [Truth(*place, snr_db=snr_db, kind=kind) for place, snr_db, kind in rows]
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "truth.csv"
        files.write_truth(path, truth)
        assert files.read_truth(path) == truth


@given(st.lists(st.tuples(_place.map(_ordered), st.sampled_from([0.5, 123.4567, -1.0]), st.none() | _times)))
def test_results_are_read_as_they_were_written(rows: list[tuple[tuple[Any, ...], float, float | None]]) -> None:
    results = [Result(*place, score=score, reported_s=reported_s) for place, score, reported_s in rows]
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "results.csv"
        files.write_results(path, results)
        assert files.read_results(path) == results


def test_what_is_written_is_the_published_form(tmp_path: Path) -> None:
    path = tmp_path / "table.csv"
    files.write_truth(path, [play(1, 2.5, at_s=3), play(5, 7, snr_db=-6, kind="bed")])
    assert (
        path.read_text() == f"{TRUTH_HEADER}\na.wav,x.ogg,1,2.5,3,4.5,1.0,,music\na.wav,x.ogg,5,7,0.0,2.0,1.0,-6,bed\n"
    )
    files.write_results(path, [result(1, 2.3456789, at_s=3)])
    assert path.read_text() == f"{RESULTS_HEADER}\na.wav,x.ogg,1,2.346,3,4.346,1.0,0.8\n"
    files.write_results(path, [result(1, 2, reported_s=1.5), result(3, 4)])
    assert path.read_text().splitlines()[0] == f"{RESULTS_HEADER},reported_s"
    assert [line.split(",")[-1] for line in path.read_text().splitlines()[1:]] == ["1.5", ""]


def test_a_spreadsheets_mark_line_ends_empty_lines_and_order_of_columns_are_taken(tmp_path: Path) -> None:
    path = tmp_path / "truth.csv"
    path.write_bytes(
        b"\xef\xbb\xbfkind,snr_db,recording,track,start_s,end_s,track_start_s,track_end_s,speed\r\n"
        b'bed,-6,a.wav,"x, live.ogg",1,2,3,4,1\r\n\r\n'
    )
    (row,) = files.read_truth(path)
    assert (row.track, row.snr_db, row.kind) == ("x, live.ogg", -6, "bed")


def test_a_header_alone_is_nothing_played(tmp_path: Path) -> None:
    path = tmp_path / "truth.csv"
    path.write_text(TRUTH_HEADER + "\n")
    assert files.read_truth(path) == []


@pytest.mark.parametrize(
    ("text", "line", "column", "words"),
    [
        ("", 1, "recording", "it is missing: the header must be recording,track,start_s"),
        (ROW + ",0.8", 1, "recording", "it is missing"),
        (RESULTS_HEADER.replace("score", "confidence"), 1, "score", "it is missing"),
        (RESULTS_HEADER + ",reported", 1, "reported", "it is not known"),
        (RESULTS_HEADER + ",score", 1, "score", "it is there twice"),
        (f"{RESULTS_HEADER}\n{ROW},0.8\n{ROW}", 3, None, "7 cells under 8 columns"),
        (f"{RESULTS_HEADER}\n\n{ROW},high", 3, "score", "'high' is no number"),
        (f"{RESULTS_HEADER}\n{ROW},nan", 2, "score", "'nan' is no number to calculate with"),
        (f"{RESULTS_HEADER}\n{ROW},", 2, "score", "'' is no number"),
        (f"{RESULTS_HEADER}\n,x.ogg,1,2,3,4,1,0.8", 2, "recording", "it is empty"),
        (f"{RESULTS_HEADER}\na.wav,music/x.ogg,1,2,3,4,1,0.8", 2, "track", "is a path"),
        (f"{RESULTS_HEADER}\na.wav,x.ogg,2,2,3,4,1,0.8", 2, "end_s", "2 is not behind start_s, 2"),
        (f"{RESULTS_HEADER}\na.wav,x.ogg,1,2,3,4,0,0.8", 2, "speed", "0 is no speed"),
        (f'{RESULTS_HEADER}\n"a.wav,x.ogg,1,2,3,4,1,0.8', 2, None, "it is no CSV"),
    ],
)
def test_what_is_wrong_is_told_with_its_place(
    tmp_path: Path, text: str, line: int, column: str | None, words: str
) -> None:
    path = tmp_path / "results.csv"
    path.write_text(text)
    with pytest.raises(TableError) as caught:
        files.read_results(path)
    error = caught.value
    assert (error.file, error.line, error.column) == (path, line, column)
    assert str(error).startswith(f"{path}, line {line}" + (f", column {column}: " if column else ": "))
    assert words in str(error)


def test_truth_without_a_kind_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "truth.csv"
    path.write_text(f"{TRUTH_HEADER}\n{ROW},, ")
    with pytest.raises(TableError, match="line 2, column kind: it is empty"):
        files.read_truth(path)


def test_a_file_that_cannot_be_read_says_why(tmp_path: Path) -> None:
    with pytest.raises(TableError, match="No such file"):
        files.read_truth(tmp_path / "missing.csv")
    with pytest.raises(TableError, match="Is a directory"):
        files.read_truth(tmp_path)
    (tmp_path / "latin.csv").write_bytes(RESULTS_HEADER.encode() + b"\ncaf\xe9.wav,x.ogg,1,2,3,4,1,0.8")
    with pytest.raises(TableError, match="not UTF-8"):
        files.read_results(tmp_path / "latin.csv")


def test_families_are_read_and_a_track_is_of_one_only(tmp_path: Path) -> None:
    path = tmp_path / "families.csv"
    path.write_text("track,family\nx.ogg,1\nx edit.ogg,1\nx.ogg,1\n")
    assert files.read_families(path) == {"x.ogg": "1", "x edit.ogg": "1"}
    path.write_text("track,family\nx.ogg,1\nx.ogg,2\n")
    with pytest.raises(TableError, match=r"line 3, column family: x\.ogg is of 1 and of 2"):
        files.read_families(path)


def test_a_table_that_could_not_be_written_is_told_before_the_work(tmp_path: Path) -> None:
    files.check_writable(tmp_path / "new.csv")
    with pytest.raises(TableError, match="is a directory"):
        files.check_writable(tmp_path)
    with pytest.raises(TableError, match="make it first"):
        files.check_writable(tmp_path / "nowhere" / "new.csv")
    with pytest.raises(TableError, match="No such file"):
        files.write_results(tmp_path / "nowhere" / "new.csv", [])


def test_recordings_of_one_name_are_refused(tmp_path: Path) -> None:
    files.check_names([tmp_path / "a.wav", tmp_path / "b.wav"])
    with pytest.raises(EvaluationError, match="the same name"):
        files.check_names([tmp_path / "a.wav", tmp_path / "deeper" / "a.wav"])
