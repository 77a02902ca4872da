"""Reads metadata from a file's tags (ID3, Vorbis comments, MP4 and others) with mutagen."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import structlog

from monitor.catalog.metadata import MAX_TEXT, validate_metadata
from monitor.errors import MetadataError

log = structlog.get_logger(__name__)

# mutagen's common names, and the names of the same tags in Vorbis comments.
NAMES: Mapping[str, tuple[str, ...]] = {
    "title": ("title",),
    "artist": ("artist", "albumartist"),
    "album": ("album",),
    "label": ("organization", "label", "publisher"),
    "isrc": ("isrc",),
    "upc": ("barcode", "upc", "ean"),
}
CONTROL = re.compile(r"[\x00-\x1f\x7f]+")


def read(path: Path) -> dict[str, Any]:
    """The valid values among the tags title, artist, album, label, isrc and upc. Never fails."""
    found: dict[str, Any] = {}
    for name, text in _texts(path).items():
        try:
            found |= {name: value for name, value in validate_metadata({name: text}).given().items() if value}
        except MetadataError as error:  # nobody entered it, so nobody needs to know
            log.debug("tags.invalid", file=path.name, tag=name, reason=str(error))
    return found


def _texts(path: Path) -> dict[str, str]:
    import mutagen  # takes 0.1 s, and only registration needs it

    try:
        file = mutagen.File(path, easy=True)
        tags = dict(file.tags or {}) if file is not None else {}
    except Exception as error:  # mutagen parses dozens of formats, and the files come from anywhere
        log.debug("tags.unreadable", file=path.name, reason=f"{type(error).__name__}: {error}")
        return {}
    lower = {str(name).lower(): value for name, value in tags.items()}
    found = {
        name: next(filter(None, (_text(lower.get(each)) for each in others)), "") for name, others in NAMES.items()
    }
    return {name: text for name, text in found.items() if text}


def _text(value: Any) -> str:
    """The first of several values, without control characters, at most MAX_TEXT characters long."""
    if isinstance(value, list | tuple):
        value = value[0] if value else ""
    return CONTROL.sub(" ", str(value or "")).strip()[:MAX_TEXT]
