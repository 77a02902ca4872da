"""Manifests: valid rows, and every way in which a row can be wrong without stopping the others."""

from __future__ import annotations

import json
from datetime import date
from pathlib import Path

import pytest

from monitor.catalog.manifest import ManifestError, Row, read

HEAD = "file,title,artist,isrc,territories,valid_from,valid_until,own_id,genre"


def manifest(folder: Path, *rows: str, head: str = HEAD, encoding: str = "utf-8", newline: str = "\n") -> Path:
    path = folder / "list.csv"
    path.write_bytes((newline.join([head, *rows]) + newline).encode(encoding))
    return path


def reasons(rows: list[Row]) -> list[str | None]:
    return [row.reason for row in rows]


def test_a_row_is_read_with_all_its_columns(tmp_path: Path) -> None:
    path = manifest(tmp_path, 'a/b.wav,"Night, late",The Owls,DE-A62-21-00001,"DE, AT",2024-01-01,2025-12-31,X-1,Jazz')
    (row,) = read(path)
    assert (row.number, row.path, row.reason) == (2, tmp_path / "a/b.wav", None)
    assert row.metadata is not None
    assert row.metadata.given() == {
        "title": "Night, late",
        "artist": "The Owls",
        "isrc": "DEA622100001",
        "territories": ("DE", "AT"),
        "valid_from": date(2024, 1, 1),
        "valid_until": date(2025, 12, 31),
        "own_id": "X-1",
        "fields": {"genre": "Jazz"},
    }


def test_an_empty_cell_is_left_out(tmp_path: Path) -> None:
    (row,) = read(manifest(tmp_path, "a.wav,,,,,,,,"))
    assert row.metadata is not None
    assert row.metadata.given() == {}


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
def test_unicode_is_read_in_the_usual_encodings(tmp_path: Path, encoding: str) -> None:
    (row,) = read(manifest(tmp_path, "Ünï 🎵 日本.wav,Тишина,,,,,,,", encoding=encoding))
    assert row.path.name == "Ünï 🎵 日本.wav"
    assert row.metadata is not None
    assert row.metadata.title == "Тишина"


def test_another_encoding_fails_the_rows_that_show_it_unless_it_is_named(tmp_path: Path) -> None:
    path = manifest(tmp_path, "a.wav,Nächte,,,,,,,", "b.wav,Plain,,,,,,,", encoding="cp1252")
    wrong, right = read(path)
    assert (wrong.reason, right.reason) == ("encoding", None)
    assert "--encoding" in str(wrong.error)
    named, _ = read(path, "cp1252")
    assert named.metadata is not None
    assert named.metadata.title == "Nächte"
    with pytest.raises(ManifestError, match="unknown encoding 'klingon'"):
        read(path, "klingon")


@pytest.mark.parametrize("delimiter", [";", "\t"])
@pytest.mark.parametrize("newline", ["\n", "\r\n"])
def test_spreadsheets_write_other_delimiters_and_line_ends(tmp_path: Path, delimiter: str, newline: str) -> None:
    head = HEAD.replace(",", delimiter)
    (row,) = read(manifest(tmp_path, delimiter.join(["a.wav", "Night", *[""] * 7]), head=head, newline=newline))
    assert row.metadata is not None
    assert row.metadata.title == "Night"


def test_columns_are_recognized_in_other_spellings(tmp_path: Path) -> None:
    (row,) = read(manifest(tmp_path, "a.wav,Night,4006381333931,Me,7", head="Path,Title,EAN,Rights Holder,id"))
    assert row.metadata is not None
    assert (row.metadata.upc, row.metadata.rights_holder, row.metadata.own_id) == ("4006381333931", "Me", "7")


BAD = {
    "a.wav,,,US12,,,,,": "isrc",
    "a.wav,,,,XX,,,,": "territories",
    "a.wav,,,,,2025-01-01,2024-01-01,,": "dates",
    "a.wav,,,,,31.12.2024,,,": "valid_from",
    "a.wav,,,,,,2024-02-30,,": "valid_until",
    ",Night,,,,,,,": "columns",
    "a.wav,Night": "row",
    "a.wav,,,,,,,,,,": "row",
    f"a.wav,{'x' * 501},,,,,,,": "title",
    "a.wav,a\x07b,,,,,,,": "title",
    "a\x00.wav,,,,,,,,": "columns",
}


@pytest.mark.parametrize("bad", BAD)
def test_a_bad_row_is_refused_with_its_number_and_reason_and_the_next_is_read(tmp_path: Path, bad: str) -> None:
    first, last = read(manifest(tmp_path, bad, "z.wav,Fine,,,,,,,"))
    assert (first.number, first.reason, first.metadata) == (2, BAD[bad], None)
    assert first.error is not None
    assert first.error.startswith("row 2: ")
    assert (last.number, last.reason) == (3, None)


def test_a_row_that_repeats_a_file_or_an_own_id_is_refused(tmp_path: Path) -> None:
    rows = read(
        manifest(tmp_path, *(f"{name}.wav,,,,,,,{own}," for name, own in (("a", 1), ("b", 1), ("a", 2), ("c", 3))))
    )
    assert reasons(rows) == [None, "duplicate_id", "duplicate_file", None]
    assert "row 2" in str(rows[1].error)


def test_a_refused_row_reserves_no_own_id(tmp_path: Path) -> None:
    rows = read(manifest(tmp_path, "a.wav,,,bad,,,,X-1,", "b.wav,,,,,,,X-1,"))
    assert reasons(rows) == ["isrc", None]


@pytest.mark.parametrize(
    ("head", "reason"), [("title,artist", "columns"), ("file,title,Title", "columns"), ("", "columns")]
)
def test_a_manifest_without_usable_columns_is_refused_as_a_whole(tmp_path: Path, head: str, reason: str) -> None:
    with pytest.raises(ManifestError) as caught:
        read(manifest(tmp_path, "a,b,c", head=head))
    assert caught.value.reason == reason


def test_a_missing_manifest_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ManifestError, match="No such file"):
        read(tmp_path / "none.csv")


@pytest.mark.parametrize("form", ["list", "object", "lines"])
def test_json_is_read_as_a_list_an_object_or_lines(tmp_path: Path, form: str) -> None:
    values = [
        {"file": "a.wav", "title": "Night", "territories": ["DE", "AT"], "fields": {"genre": "Jazz"}, "mood": "calm"},
        {"file": "b.wav", "isrc": "bad"},
        {"title": "no file"},
        "nonsense",
    ]
    text = {
        "list": json.dumps(values),
        "object": json.dumps({"tracks": values}),
        "lines": "\n".join(json.dumps(each) for each in values),
    }[form]
    (tmp_path / "list.json").write_text(text)
    rows = read(tmp_path / "list.json")
    assert reasons(rows) == [None, "isrc", "columns", "row"]
    assert rows[0].metadata is not None
    assert rows[0].metadata.territories == ("DE", "AT")
    assert rows[0].metadata.fields == {"genre": "Jazz", "mood": "calm"}


def test_json_of_the_wrong_types_fails_its_row(tmp_path: Path) -> None:
    values = [
        {"file": 7},
        {"file": "a.wav", "title": ["x"]},
        {"file": "b.wav", "fields": [1]},
        {"file": "c.wav", "isrc": 5},
    ]
    (tmp_path / "list.json").write_text(json.dumps(values))
    assert reasons(read(tmp_path / "list.json")) == ["columns", "title", "fields", "isrc"]


def test_invalid_json_is_refused(tmp_path: Path) -> None:
    (tmp_path / "list.json").write_text('[{"file": ')
    with pytest.raises(ManifestError, match="not valid JSON"):
        read(tmp_path / "list.json")
