"""Families through the installed commands: shown with tracks, and with the match of any of them."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from monitor.demo.program import Recording
from tests.acceptance.command import Airtrace
from tests.acceptance.sound import excerpt, write_wav


def test_a_version_of_a_recording_is_seen_as_one_wherever_either_is_shown(
    stocked: Airtrace, catalog: tuple[Recording, ...], tmp_path: Path
) -> None:
    quiet = tmp_path / "quiet version.wav"
    write_wav(quiet, excerpt(catalog[0], 0, 40) / np.float32(3))
    (added,) = stocked.json("tracks", "add", quiet)
    (family,) = stocked.json("tracks", "families")
    original, version = family["tracks"]
    assert (original["title"], version["title"]) == (catalog[0].path.stem, "quiet version")

    listed = {track["id"]: [other["id"] for other in track["family"]] for track in stocked.json("tracks", "list")}
    assert {track: others for track, others in listed.items() if others} == {
        original["id"]: [added["track"]],
        added["track"]: [original["id"]],
    }
    shown = stocked("tracks", "show", added["track"])
    assert shown.out.splitlines()[-1].split() == ["family", f"{original['id']}:", *original["title"].split()]
    heading, *rows = stocked("tracks", "list").out.splitlines()
    assert heading.split() == ["id", "title", "artist", "length", "family", "source"]
    (row,) = [row.split() for row in rows if row.split()[0] == str(original["id"])]
    assert row[-2] == str(added["track"])

    (match,) = stocked.json("scan", quiet)[0]["matches"]
    assert {match["track"]["id"], *(other["id"] for other in match["alternatives"])} == {original["id"], version["id"]}

    stocked("tracks", "delete", original["id"])
    assert stocked.json("tracks", "families") == []
    assert "no two tracks are nearly identical" in stocked("tracks", "families").err
