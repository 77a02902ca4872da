"""Reads manifests, which list files to register with their metadata: CSV with a header, or JSON objects.

An invalid row is reported with its reason and does not stop the others.
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from monitor.catalog.metadata import MetadataFields, validate_metadata
from monitor.errors import AirtraceError, MetadataError

FILE = "file"
COLUMNS = frozenset({*MetadataFields.model_fields, FILE} - {"fields"})
# Names that other systems use.
ALIASES = {"path": FILE, "filename": FILE, "rightsholder": "rights_holder", "ean": "upc", "id": "own_id"}
MAX_BYTES = 1_000_000_000
csv.field_size_limit(1_000_000)


class ManifestError(AirtraceError):
    """The manifest as a whole cannot be used."""

    status = 422
    title = "The manifest cannot be used"

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason = reason


@dataclass(frozen=True, slots=True)
class Row:
    """One row of a manifest: a file with its metadata, or with the reason why the row is invalid."""

    number: int
    path: Path
    metadata: MetadataFields | None
    reason: str | None = None
    error: str | None = None


def read(path: Path, encoding: str = "utf-8") -> list[Row]:
    """Reads all rows, in order. File names are relative to the folder of the manifest.

    Raises:
        ManifestError: the manifest cannot be read, or has no column `file`.
    """
    try:
        if path.stat().st_size > MAX_BYTES:
            raise ManifestError("too_large", f"{path}: the manifest is larger than {MAX_BYTES // 10**9} GB")
        content = path.read_bytes()
    except OSError as error:
        raise ManifestError("unreadable", f"{path}: {error.strerror}") from error
    text = _text(path, content, encoding)
    rows = _json(path, text) if text.lstrip()[:1] in ("[", "{") else _csv(path, text)
    return list(_without_duplicates(_row(path.parent, number, cells) for number, cells in rows))


def _text(path: Path, content: bytes, encoding: str) -> str:
    """Decodes the content. Bytes that are not valid in the encoding become lone surrogates, which mark their row."""
    if content[:2] in (b"\xff\xfe", b"\xfe\xff"):
        encoding = "utf-16"
    elif content[:3] == b"\xef\xbb\xbf":
        encoding = "utf-8-sig"
    try:
        return content.decode(encoding, errors="replace" if encoding == "utf-16" else "surrogateescape")
    except LookupError as error:
        raise ManifestError("encoding", f"{path}: unknown encoding {encoding!r}") from error


def _csv(path: Path, text: str) -> Iterator[tuple[int, Mapping[str, Any]]]:
    header_line = text.split("\n", 1)[0]
    delimiter = max(",;\t", key=header_line.count)
    lines = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter)
    names = [_name(name) for name in next(lines, [])]
    if FILE not in names:
        raise ManifestError("columns", f"{path}: the first line must name the columns, including `file`")
    if repeated := sorted({name for name in names if name and names.count(name) > 1}):
        raise ManifestError("columns", f"{path}: two columns are named {repeated[0]!r}")
    while True:
        try:
            cells = next(lines)
        except StopIteration:
            return
        except csv.Error as error:
            yield lines.line_num, {"": str(error)}
            continue
        if not any(cells):
            continue
        if len(cells) != len(names):
            yield lines.line_num, {FILE: cells[0], "": f"{len(cells)} cells, but the header has {len(names)}"}
        else:
            yield lines.line_num, dict(zip(names, cells, strict=True))


def _json(path: Path, text: str) -> Iterator[tuple[int, Mapping[str, Any]]]:
    """Parses a list of objects, an object that has such a list as `tracks`, or one object per line."""
    try:
        found = json.loads(text)
    except ValueError as error:
        if text.lstrip()[:1] != "{":
            raise ManifestError("json", f"{path}: not valid JSON ({error})") from error
        yield from _json_lines(text)
        return
    if isinstance(found, dict):
        found = found.get("tracks", [found])
    if not isinstance(found, list):
        raise ManifestError("json", f"{path}: expected a list of objects, each with `file`")
    for number, value in enumerate(found, start=1):
        yield number, _with_known_names(value)


def _json_lines(text: str) -> Iterator[tuple[int, Mapping[str, Any]]]:
    for number, line in enumerate(text.splitlines(), start=1):
        if line.strip():
            try:
                yield number, _with_known_names(json.loads(line))
            except ValueError as error:
                yield number, {"": f"not valid JSON ({error})"}


def _with_known_names(value: Any) -> Mapping[str, Any]:
    """An object's values by the names of our columns; an error is under the empty name."""
    if not isinstance(value, dict):
        return {"": "not an object"}
    named = {_name(name): each for name, each in value.items()}
    return named if len(named) == len(value) else {**named, "": "two fields have the same name"}


def _name(text: str) -> str:
    plain = text.strip().lower().replace(" ", "_").replace("-", "_")
    name = ALIASES.get(plain, plain)
    return name if name in COLUMNS or name == "fields" else text.strip()


def _row(folder: Path, number: int, cells: Mapping[str, Any]) -> Row:
    name = cells.get(FILE)
    path = folder / name if isinstance(name, str) and name.strip() else folder / f"(row {number})"
    if "" in cells:
        return Row(number, path, None, "row", f"row {number}: {cells['']}")
    if path.name == f"(row {number})" or not isinstance(name, str):
        return Row(number, path, None, "columns", f"row {number}: no file is named")
    if "\x00" in name:
        return Row(number, folder / name.replace("\x00", "?"), None, "columns", f"row {number}: NUL in the file name")
    if _is_garbled(json.dumps(cells, ensure_ascii=False)):
        error = f"row {number}: wrong encoding; save the manifest as UTF-8, or name its encoding with --encoding"
        return Row(number, path, None, "encoding", error)
    try:
        return Row(number, path.absolute(), validate_metadata(_metadata(cells)))
    except MetadataError as error:
        return Row(number, path.absolute(), None, error.reason, f"row {number}: {error}")


def _metadata(cells: Mapping[str, Any]) -> dict[str, Any]:
    """Known columns by name, and all others as free fields. Empty cells are left out."""
    filled = {name: value for name, value in cells.items() if value not in ("", None)}
    known = {name: value for name, value in filled.items() if name in COLUMNS and name != FILE}
    free = {name: str(value) for name, value in filled.items() if name not in COLUMNS and name != "fields"}
    own = cells.get("fields") or {}
    if not isinstance(own, dict):
        raise MetadataError("fields", "fields: expected an object")
    fields = {**{str(name): str(value) for name, value in own.items()}, **free}
    return {**known, **({"fields": fields} if fields else {})}


def _is_garbled(text: str) -> bool:
    return "�" in text or any("\ud800" <= character <= "\udfff" for character in text)


def _without_duplicates(rows: Iterable[Row]) -> Iterator[Row]:
    """Refuses every row that repeats the file or the own_id of an earlier row."""
    files: dict[Path, int] = {}
    ids: dict[str, int] = {}
    for row in rows:
        if row.metadata is None:
            yield row
            continue
        own_id = row.metadata.own_id
        if row.path in files:
            error = f"row {row.number}: row {files[row.path]} has the same file"
            yield Row(row.number, row.path, None, "duplicate_file", error)
        elif own_id is not None and own_id in ids:
            error = f"row {row.number}: row {ids[own_id]} has the same own_id {own_id!r}"
            yield Row(row.number, row.path, None, "duplicate_id", error)
        else:
            files[row.path] = row.number
            if own_id is not None:
                ids[own_id] = row.number
            yield row
