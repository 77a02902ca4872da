"""Manifests: which files to register, and what is known of them. CSV with a header, or a JSON list of objects.

A row that is wrong is refused with its reason, and none stops the others.
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from monitor.catalog.metadata import Details, checked
from monitor.errors import AirtraceError, MetadataError

FILE = "file"
COLUMNS = frozenset({*Details.model_fields, FILE} - {"fields"})
# What other systems call the same.
ALIASES = {"path": FILE, "filename": FILE, "rightsholder": "rights_holder", "ean": "upc", "id": "own_id"}
MAX_BYTES = 1_000_000_000
csv.field_size_limit(1_000_000)


class ManifestError(AirtraceError):
    """A manifest as a whole cannot be used."""

    status = 422
    title = "The manifest cannot be used"

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason = reason


@dataclass(frozen=True, slots=True)
class Row:
    """One line of a manifest: `path` with `details`, or with why it cannot be used."""

    number: int
    path: Path
    details: Details | None
    reason: str | None = None
    error: str | None = None


def read(path: Path, encoding: str = "utf-8") -> list[Row]:
    """All rows, in order; the files' names are relative to the manifest's folder.

    Raises:
        ManifestError: it cannot be read, or has no column `file`.
    """
    try:
        if path.stat().st_size > MAX_BYTES:
            raise ManifestError("too_large", f"{path}: a manifest of more than {MAX_BYTES // 10**9} GB")
        content = path.read_bytes()
    except OSError as error:
        raise ManifestError("unreadable", f"{path}: {error.strerror}") from error
    text = _text(path, content, encoding)
    rows = _json(path, text) if text.lstrip()[:1] in ("[", "{") else _csv(path, text)
    return list(_without_doubles(_row(path.parent, number, said) for number, said in rows))


def _text(path: Path, content: bytes, encoding: str) -> str:
    """What is not valid in the encoding becomes lone surrogates, by which its row is known."""
    if content[:2] in (b"\xff\xfe", b"\xfe\xff"):
        encoding = "utf-16"
    elif content[:3] == b"\xef\xbb\xbf":
        encoding = "utf-8-sig"
    try:
        return content.decode(encoding, errors="replace" if encoding == "utf-16" else "surrogateescape")
    except LookupError as error:
        raise ManifestError("encoding", f"{path}: there is no encoding {encoding!r}") from error


def _csv(path: Path, text: str) -> Iterator[tuple[int, Mapping[str, Any]]]:
    header_line = text.split("\n", 1)[0]
    delimiter = max(",;\t", key=header_line.count)
    lines = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter)
    names = [_name(name) for name in next(lines, [])]
    if FILE not in names:
        raise ManifestError("columns", f"{path}: its first line must name its columns, `file` among them")
    if doubled := sorted({name for name in names if name and names.count(name) > 1}):
        raise ManifestError("columns", f"{path}: two columns are called {doubled[0]!r}")
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
    """A list of objects, an object with such a list as `tracks`, or an object a line."""
    try:
        found = json.loads(text)
    except ValueError as error:
        if text.lstrip()[:1] != "{":
            raise ManifestError("json", f"{path}: no JSON ({error})") from error
        yield from _json_lines(text)
        return
    if isinstance(found, dict):
        found = found.get("tracks", [found])
    if not isinstance(found, list):
        raise ManifestError("json", f"{path}: a list of objects is needed, each with `file`")
    for number, said in enumerate(found, start=1):
        yield number, _named(said)


def _json_lines(text: str) -> Iterator[tuple[int, Mapping[str, Any]]]:
    for number, line in enumerate(text.splitlines(), start=1):
        if line.strip():
            try:
                yield number, _named(json.loads(line))
            except ValueError as error:
                yield number, {"": f"no JSON ({error})"}


def _named(said: Any) -> Mapping[str, Any]:
    if not isinstance(said, dict):
        return {"": "not an object"}
    named = {_name(name): value for name, value in said.items()}
    return named if len(named) == len(said) else {**named, "": "it has two fields of one name"}


def _name(text: str) -> str:
    plain = text.strip().lower().replace(" ", "_").replace("-", "_")
    name = ALIASES.get(plain, plain)
    return name if name in COLUMNS or name == "fields" else text.strip()


def _row(folder: Path, number: int, said: Mapping[str, Any]) -> Row:
    name = said.get(FILE)
    path = folder / name if isinstance(name, str) and name.strip() else folder / f"(row {number})"
    if "" in said:
        return Row(number, path, None, "row", f"row {number}: {said['']}")
    if path.name == f"(row {number})" or not isinstance(name, str):
        return Row(number, path, None, "columns", f"row {number}: it names no file")
    if "\x00" in name:
        return Row(number, folder / name.replace("\x00", "?"), None, "columns", f"row {number}: NUL in the file's name")
    if _is_garbled(json.dumps(said, ensure_ascii=False)):
        error = f"row {number}: not valid in the manifest's encoding; save it as UTF-8, or name it with --encoding"
        return Row(number, path, None, "encoding", error)
    try:
        return Row(number, path.absolute(), checked(_details(said)))
    except MetadataError as error:
        return Row(number, path.absolute(), None, error.reason, f"row {number}: {error}")


def _details(said: Mapping[str, Any]) -> dict[str, Any]:
    """Known columns by their names, all others as free fields; an empty cell says nothing."""
    filled = {name: value for name, value in said.items() if value not in ("", None)}
    known = {name: value for name, value in filled.items() if name in COLUMNS and name != FILE}
    free = {name: str(value) for name, value in filled.items() if name not in COLUMNS and name != "fields"}
    own = said.get("fields") or {}
    if not isinstance(own, dict):
        raise MetadataError("fields", "fields: an object is needed")
    fields = {**{str(name): str(value) for name, value in own.items()}, **free}
    return {**known, **({"fields": fields} if fields else {})}


def _is_garbled(text: str) -> bool:
    return "�" in text or any("\ud800" <= character <= "\udfff" for character in text)


def _without_doubles(rows: Iterable[Row]) -> Iterator[Row]:
    """Of rows with the same file, or the same own id, only the first can be meant."""
    files: dict[Path, int] = {}
    ids: dict[str, int] = {}
    for row in rows:
        if row.details is None:
            yield row
            continue
        own_id = row.details.own_id
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
