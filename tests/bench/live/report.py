"""What a measurement says: streams that keep up, plays found, and a table for people. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from tests.bench.live.catalogs import MADE
from tests.bench.live.delays import opened_after_s, spread, strays
from tests.bench.live.programs import Play
from tests.bench.live.watching import Watched

Cell = Mapping[str, Any]


def kept_up(watched: Watched) -> dict[str, Any]:
    """How many streams keep up, and how far they are behind."""
    streams = watched.delays.values()
    growth_s = sorted(each.growth_s for each in streams)
    return {
        "streams_keeping_up": sum(each.keeps_up for each in streams),
        "streams_without_progress": sum(not each.samples for each in streams),
        "delay_s": spread([delay for each in streams for _, delay in each.samples]),
        "delay_growth_s": {"median": round(growth_s[len(growth_s) // 2], 2), "max": round(growth_s[-1], 2)},
    }


def found(watched: Watched, plays: Mapping[int, Sequence[Play]]) -> dict[str, Any]:
    """How many plays were found, and how soon."""
    waits_s = opened_after_s(plays, watched.matches, watched.began_s, watched.ended_s)
    others = strays(plays, watched.matches)
    waited_s = [wait_s for wait_s in waits_s if wait_s is not None]
    return {
        "plays": len(waits_s),
        "plays_found": len(waited_s),
        "air_to_match_s": spread(waited_s),
        "other_matches": len(others),
        "other_matches_of": dict(Counter(match.source.rsplit("/", 1)[-1] for match in others).most_common(5)),
        "matches_of_made_tracks": sum(match.source.startswith(MADE) for match in others),
    }


COLUMNS = (
    ("streams", lambda cell: cell["streams"]),
    ("tracks", lambda cell: cell["tracks"]),
    ("keep up", lambda cell: cell["streams_keeping_up"]),
    ("delay median", lambda cell: cell["delay_s"].get("median", "-")),
    ("95 %", lambda cell: cell["delay_s"].get("p95", "-")),
    ("max", lambda cell: cell["delay_s"].get("max", "-")),
    ("growth", lambda cell: cell["delay_growth_s"]["median"]),
    ("air to match", lambda cell: cell["air_to_match_s"].get("median", "-")),
    ("95 %", lambda cell: cell["air_to_match_s"].get("p95", "-")),
    ("found", lambda cell: f"{cell['plays_found']}/{cell['plays']}"),
    ("cores", lambda cell: cell["cores"]),
    ("ffmpeg", lambda cell: cell["cores_by_part"].get("ffmpeg", 0)),
    ("postgres", lambda cell: cell["cores_by_part"].get("postgres", 0)),
    ("others' cores", lambda cell: cell["cores_of_everything_else"]),
    ("MB (PSS)", lambda cell: round(sum(each["pss"] for each in cell["memory_mb"].values()))),
)


def table(cells: Sequence[Cell]) -> str:
    """One row per measurement."""
    rows = [[name for name, _ in COLUMNS], *([str(value(cell)) for _, value in COLUMNS] for cell in cells)]
    widths = [max(len(row[i]) for row in rows) for i in range(len(COLUMNS))]
    lines = [" | ".join(text.rjust(width) for text, width in zip(row, widths, strict=True)) for row in rows]
    return "\n".join([lines[0], "-" * len(lines[0]), *lines[1:]])


def line(cell: Cell) -> str:
    """The most important of a measurement, in a sentence."""
    delay_s, wait_s = cell["delay_s"], cell["air_to_match_s"]
    return (
        f"{cell['streams_keeping_up']} of {cell['streams']} streams keep up with {cell['tracks']} tracks: delay "
        f"{delay_s.get('median', '-')} s (median), {delay_s.get('p95', '-')} s (95 %), {cell['cores']} cores, "
        f"{cell['plays_found']} of {cell['plays']} plays found, {wait_s.get('median', '-')} s after their start"
    )
