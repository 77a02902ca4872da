"""The broadcast benchmark's tables and families, and how the output of other systems becomes hits."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from monitor.evaluation.plays import Result, Truth
from monitor.evaluation.score import score
from monitor.training.corpus import AudioFile
from tests.bench.broadcast import Measured, families, tables
from tests.bench.hits import Hit
from tests.bench.peers import listeners
from tests.bench.peers.listeners import AudfprintListener, ChromaprintListener, Listener, OlafListener
from tests.bench.peers.monitor import AirtraceListener
from tests.bench.runs import Speed, once
from tests.bench.sources import Catalog, Reference

TRUTH = [
    Truth("p.flac", "t.flac", 10, 20, 5, 15, 1.0, None, "clear"),
    Truth("p.flac", "u.flac", 20, 30, 0, 10, 1.0, -3, "speech"),
]
RESULTS = [Result("p.flac", "t.flac", 10, 20, 5, 15, 1.0, 0.9), Result("q.flac", "u.flac", 0, 5, 0, 5, 1.0, 0.9)]


def test_tables_have_a_column_per_system_and_list_missing_systems() -> None:
    report = score(TRUTH, RESULTS, {"p.flac": 60, "q.flac": 3600})
    measured = {name: Measured("as it comes", Speed(9, 3, 3), Speed(9, 1, 3), report) for name in ("A", "B")}
    lines = tables(measured, {"C": "not installed"})
    assert lines[0] == "| | A | B |"
    assert all(line.count("|") == 4 for line in lines if line.startswith("|"))
    assert "| plays found | 1 of 2 | 1 of 2 |" in lines
    assert "| false plays in hours of unknown audio | 1 in 1.0 h | 1 in 1.0 h |" in lines
    assert "| recall, music at clear: % (1 plays, 10 s) | 100.0 | 100.0 |" in lines
    assert lines[-1] == "C: not available: not installed"


def test_a_table_without_systems_lists_the_missing_ones() -> None:
    assert tables({}, {"C": "not installed"})[-1] == "C: not available: not installed"


def test_versions_of_a_recording_are_a_family() -> None:
    def reference(name: str, group: str) -> Reference:
        return Reference(name, group, AudioFile("music", Path(name), group))

    catalog = Catalog((reference("a", "1"), reference("a_fast", "1"), reference("b", "2")), (), (reference("c", "3"),))
    assert families(catalog) == {"a": "a", "a_fast": "a", "b": "b", "c": "c"}


def test_a_complete_folder_is_not_made_again(tmp_path: Path) -> None:
    made: list[int] = []
    first = once(tmp_path / "index", 60.0, lambda: made.append(1))
    assert once(tmp_path / "index", 60.0, lambda: made.append(2)) == first
    assert made == [1]


def test_an_incomplete_folder_is_made_again(tmp_path: Path) -> None:
    (tmp_path / "index").mkdir()
    (tmp_path / "index" / "half").touch()
    once(tmp_path / "index", 60.0, lambda: None)
    assert [path.name for path in (tmp_path / "index").iterdir()] == ["complete.json"]


def test_the_output_of_audfprint_becomes_hits() -> None:
    line = json.dumps(["/p/a.flac", 20.0, [["/r/t.flac", 12.0, 18.5, 40.25, 33], ["/r/u.flac", 12.0, 12.0, 1.0, 1]]])
    assert list(listeners._audfprints(line)) == [Hit("a.flac", "t.flac", 12.0, 18.5, 40.25, 33, 20.0)]


def test_the_output_of_olaf_becomes_hits_in_the_time_of_the_recording() -> None:
    printed = "12, 1.50, 9.00, 1, 123, 61.50, 69.00\n0, 0.00, 0.00, , 0, 0.00, 0.00\n"
    (hit,) = listeners._olafs(printed, "a.flac", ["t.flac", "u.flac"], 100.0, 115.0)
    assert hit == Hit("a.flac", "u.flac", 101.5, 109.0, 61.5, 12.0, 115.0)


def test_a_chromaprint_hit_covers_the_matching_part_of_the_window() -> None:
    rng = np.random.default_rng(1)
    window, track = (rng.integers(0, 2**32, 120, np.uint32) for _ in range(2))
    track[40:100] = window[40:100]
    found = ChromaprintListener()._fitting(window, track)
    assert found is not None
    first, end, words = found
    # Averaged over 2 s, an edge is found to within a part of that.
    assert abs(first - 40) <= 8
    assert abs(end - 100) <= 8
    assert words == pytest.approx(60, abs=3)
    assert ChromaprintListener()._fitting(window, rng.integers(0, 2**32, 120, np.uint32)) is None


def test_a_missing_system_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AIRTRACE_PEERS", "/nowhere")
    monkeypatch.setenv("PATH", "/nowhere")

    def no_weights() -> None:
        raise FileNotFoundError("no weights")

    systems: list[Listener] = [AudfprintListener(), OlafListener(), ChromaprintListener()]
    systems.append(AirtraceListener("Airtrace", no_weights))  # type: ignore[arg-type]
    for system in systems:
        assert (why := system.missing()) is not None
        assert "/nowhere" in why or "apt-get" in why or "no weights" in why


def test_the_description_of_a_listener_covers_all_its_settings() -> None:
    description = AudfprintListener().described()
    for fact in (AudfprintListener.settings, "10 s every 5 s", f"a score of at least {AudfprintListener.minimum:g}"):
        assert fact in description
