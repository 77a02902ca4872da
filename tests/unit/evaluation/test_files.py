"""The tables of an evaluation: a round trip keeps every row, and errors name the line and the column."""

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

# Any name that a file can have: valid Unicode without slashes and zero bytes.
_names = st.text(st.characters(exclude_characters="/\x00", exclude_categories=("Cs",)), min_size=1, max_size=12)
_times = st.integers(0, 10_000_000).map(lambda ms: ms / 1000)
_place = st.tuples(_names, _names, _times, _times, _times, _times, st.sampled_from([0.92, 1.0, 1.05]))


def _ordered(row: tuple[Any, ...]) -> tuple[Any, ...]:
    recording, track, start_s, length_s, *rest = row
    return recording, track, start_s, round(start_s + length_s + 0.001, 3), *rest


@given(
    st.lists(st.tuples(_place.map(_ordered), st.sampled_from([None, 0.0, -12.5]), st.sampled_from(["bed", "a b, c"])))
)
def test_a_truth_table_survives_a_round_trip(rows: list[tuple[tuple[Any, ...], float | None, str]]) -> None:
    truth = [Truth(*place, snr_db=snr_db, kind=kind) for place, snr_db, kind in rows]
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "truth.csv"
        files.write_truth(path, truth)
        assert files.read_truth(path) == truth


@given(st.lists(st.tuples(_place.map(_ordered), st.sampled_from([0.5, 123.4567, -1.0]), st.none() | _times)))
def test_a_results_table_survives_a_round_trip(rows: list[tuple[tuple[Any, ...], float, float | None]]) -> None:
    results = [Result(*place, score=score, reported_s=reported_s) for place, score, reported_s in rows]
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "results.csv"
        files.write_results(path, results)
        assert files.read_results(path) == results


def test_tables_are_written_in_the_documented_form(tmp_path: Path) -> None:
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


def test_a_byte_order_mark_empty_lines_and_any_order_of_columns_are_accepted(tmp_path: Path) -> None:
    path = tmp_path / "truth.csv"
    path.write_bytes(
        b"\xef\xbb\xbfkind,snr_db,recording,track,start_s,end_s,track_start_s,track_end_s,speed\r\n"
        b'bed,-6,a.wav,"x, live.ogg",1,2,3,4,1\r\n\r\n'
    )
    (row,) = files.read_truth(path)
    assert (row.track, row.snr_db, row.kind) == ("x, live.ogg", -6, "bed")


def test_a_table_with_only_a_header_has_no_plays(tmp_path: Path) -> None:
    path = tmp_path / "truth.csv"
    path.write_text(TRUTH_HEADER + "\n")
    assert files.read_truth(path) == []


@pytest.mark.parametrize(
    ("text", "line", "column", "words"),
    [
        ("", 1, "recording", "the column is missing: the header must be recording,track,start_s"),
        (ROW + ",0.8", 1, "recording", "the column is missing"),
        (RESULTS_HEADER.replace("score", "confidence"), 1, "score", "the column is missing"),
        (RESULTS_HEADER + ",reported", 1, "reported", "unknown column"),
        (RESULTS_HEADER + ",score", 1, "score", "the column appears twice"),
        (f"{RESULTS_HEADER}\n{ROW},0.8\n{ROW}", 3, None, "7 cells in a table of 8 columns"),
        (f"{RESULTS_HEADER}\n\n{ROW},high", 3, "score", "'high' is not a number"),
        (f"{RESULTS_HEADER}\n{ROW},nan", 2, "score", "'nan' is not a finite number"),
        (f"{RESULTS_HEADER}\n{ROW},", 2, "score", "'' is not a number"),
        (f"{RESULTS_HEADER}\n,x.ogg,1,2,3,4,1,0.8", 2, "recording", "the cell is empty"),
        (f"{RESULTS_HEADER}\na.wav,music/x.ogg,1,2,3,4,1,0.8", 2, "track", "is a path"),
        (f"{RESULTS_HEADER}\na.wav,x.ogg,2,2,3,4,1,0.8", 2, "end_s", "2 is not after start_s, 2"),
        (f"{RESULTS_HEADER}\na.wav,x.ogg,1,2,3,4,0,0.8", 2, "speed", "0 is not positive"),
        (f'{RESULTS_HEADER}\n"a.wav,x.ogg,1,2,3,4,1,0.8', 2, None, "the file is not valid CSV"),
    ],
)
def test_an_error_names_its_line_and_column(
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


def test_a_play_without_a_kind_is_rejected(tmp_path: Path) -> None:
    path = tmp_path / "truth.csv"
    path.write_text(f"{TRUTH_HEADER}\n{ROW},, ")
    with pytest.raises(TableError, match="line 2, column kind: the cell is empty"):
        files.read_truth(path)


def test_an_unreadable_file_is_reported_with_the_reason(tmp_path: Path) -> None:
    with pytest.raises(TableError, match="No such file"):
        files.read_truth(tmp_path / "missing.csv")
    with pytest.raises(TableError, match="Is a directory"):
        files.read_truth(tmp_path)
    (tmp_path / "latin.csv").write_bytes(RESULTS_HEADER.encode() + b"\ncaf\xe9.wav,x.ogg,1,2,3,4,1,0.8")
    with pytest.raises(TableError, match="not UTF-8"):
        files.read_results(tmp_path / "latin.csv")


def test_a_track_can_have_only_one_family(tmp_path: Path) -> None:
    path = tmp_path / "families.csv"
    path.write_text("track,family\nx.ogg,1\nx edit.ogg,1\nx.ogg,1\n")
    assert files.read_families(path) == {"x.ogg": "1", "x edit.ogg": "1"}
    path.write_text("track,family\nx.ogg,1\nx.ogg,2\n")
    with pytest.raises(TableError, match=r"line 3, column family: x\.ogg is in 1 and in 2"):
        files.read_families(path)


def test_an_unwritable_table_is_detected_before_the_work(tmp_path: Path) -> None:
    files.check_writable(tmp_path / "new.csv")
    with pytest.raises(TableError, match="is a directory"):
        files.check_writable(tmp_path)
    with pytest.raises(TableError, match="create it first"):
        files.check_writable(tmp_path / "nowhere" / "new.csv")
    with pytest.raises(TableError, match="No such file"):
        files.write_results(tmp_path / "nowhere" / "new.csv", [])


def test_recordings_with_the_same_name_are_rejected(tmp_path: Path) -> None:
    files.check_names([tmp_path / "a.wav", tmp_path / "b.wav"])
    with pytest.raises(EvaluationError, match="the same name"):
        files.check_names([tmp_path / "a.wav", tmp_path / "deeper" / "a.wav"])
