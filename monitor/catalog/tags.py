"""What a file says of itself in its tags (ID3, Vorbis comments, MP4 and others), through mutagen."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import structlog

from monitor.catalog.metadata import MAX_TEXT, checked
from monitor.errors import MetadataError

log = structlog.get_logger(__name__)

# mutagen's common names, and what Vorbis comments call the same.
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
    """What the tags say and what can be right, of: title, artist, album, label, isrc, upc. Never fails."""
    said: dict[str, Any] = {}
    for name, text in _texts(path).items():
        try:
            said |= {name: value for name, value in checked({name: text}).given().items() if value}
        except MetadataError as error:  # nobody has asked for it
            log.debug("tags.not_usable", file=path.name, tag=name, reason=str(error))
    return said


def _texts(path: Path) -> dict[str, str]:
    import mutagen  # 0.1 s: only where files are registered

    try:
        file = mutagen.File(path, easy=True)
        tags = dict(file.tags or {}) if file is not None else {}
    except Exception as error:  # parsers of dozens of formats, on files from anywhere
        log.debug("tags.not_readable", file=path.name, reason=f"{type(error).__name__}: {error}")
        return {}
    lower = {str(name).lower(): value for name, value in tags.items()}
    found = {
        name: next(filter(None, (_text(lower.get(each)) for each in others)), "") for name, others in NAMES.items()
    }
    return {name: text for name, text in found.items() if text}


def _text(value: Any) -> str:
    """The first of several; no longer and of no other characters than is kept."""
    if isinstance(value, list | tuple):
        value = value[0] if value else ""
    return CONTROL.sub(" ", str(value or "")).strip()[:MAX_TEXT]
